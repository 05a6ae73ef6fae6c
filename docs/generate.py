"""Writes the parts of the README that come from the code: python docs/generate.py. A test keeps them current."""

import ast
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import compare_trainer  # noqa: E402
import recipes  # noqa: E402

from pairft.flags import flag_rows  # noqa: E402


def source_of(path: str, function: str) -> str:
    """A function of a file as it stands there."""
    text = (ROOT / path).read_text(encoding="utf-8")
    found = next(node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef) and node.name == function)
    return "```python\n" + "\n".join(text.splitlines()[found.lineno - 1 : found.end_lineno]) + "\n```\n"


def flag_table() -> str:
    rows = ["| flag | default | meaning |", "|---|---|---|"]
    rows += [f"| `{flag}` | {default} | {meaning} |" for flag, default, meaning in flag_rows()]
    return "\n".join(rows) + "\n"


def current(readme: str) -> str:
    """The README with its generated parts as the code has them now."""
    parts = {
        "loop": source_of("pairft/loop.py", "fit"),
        "update": source_of("pairft/step.py", "update"),
        "flags": flag_table(),
    }
    results = ROOT / "benchmarks" / "results"
    tables = {"speed": compare_trainer.table, "mrpc": compare_trainer.table, "seeds": recipes.table}
    files = {"speed": "cpu-speed.json", "mrpc": "cpu-mrpc.json", "seeds": "recipes.json"}
    for name, file in files.items():
        parts[name] = tables[name](json.loads((results / file).read_text(encoding="utf-8")))
    for name, content in parts.items():
        pattern = re.compile(rf"(<!-- {name}:[^>]*-->\n).*?(<!-- /{name} -->)", re.DOTALL)
        readme, count = pattern.subn(lambda found, content=content: found[1] + content + found[2], readme)  # type: ignore[misc]
        assert count == 1, (name, count)
    return readme


if __name__ == "__main__":
    path = ROOT / "README.md"
    path.write_text(current(path.read_text(encoding="utf-8")), encoding="utf-8")
