"""The documents say what the code does: generated parts, files, flags, targets, links and names."""

import ast
import re
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from test_layout import MODULES


def test_generated_parts_of_the_documents_are_current():
    sys.path.insert(0, str(ROOT / "docs"))
    import generate

    for name, parts in generate.parts().items():
        text = (ROOT / name).read_text(encoding="utf-8")
        assert set(re.findall(r"<!-- ([a-z]+):[^>]*python docs/generate.py -->", text)) == set(parts), name
        assert generate.current(text, parts) == text, f"{name}: run python docs/generate.py"


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_the_design_names_every_file():
    design = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    for path in MODULES:
        if path.stem != "__init__":
            assert path.name in design, path.name


DOCUMENTS = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]


def quoted(path: Path) -> set[str]:
    """What a document has in backticks, on one line."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return set(re.findall(r"`([^`\n]+)`", text))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_files_flags_and_targets_of_the_documents_exist(path):
    from torch.distributed.run import get_args_parser

    from pairft import compare, explain, export, flags, predict_args, push, report, sweep

    text = path.read_text(encoding="utf-8")
    diagrams = re.findall(r"^```mermaid$.*?^```$", text, flags=re.DOTALL | re.MULTILINE)
    files = {word for code in quoted(path) for word in code.split() if word.endswith(".py")}
    files |= set(re.findall(r"\w+\.py", "".join(diagrams)))
    names = {path.name for path in MODULES}
    assert not {name for name in files if name not in names and not (ROOT / name).exists()}
    flag = re.compile(r"(?<![\w-])--(?:no-)?([a-z][a-z0-9-]*)")
    others = [(ROOT / "Makefile"), *ROOT.glob("benchmarks/*.py")]
    known = {name for other in others for name in flag.findall(other.read_text(encoding="utf-8"))}
    known |= {name[2:] for name, _, _ in flags.flag_rows()}
    commands = (predict_args, push, export, compare, explain, report, sweep)
    parsers = (*(command.parser() for command in commands), get_args_parser())
    known |= {f[2:] for parser in parsers for f in parser._option_string_actions}
    assert not set(flag.findall(text)) - known
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert not set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE)) - targets


def anchors(path: Path) -> set[str]:
    """Of a document's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_of_the_documents_lead_somewhere(path):
    for target, anchor in re.findall(r"\]\(([^)#:]*)#?([^):]*)\)", path.read_text(encoding="utf-8")):
        found = path.parent / target if target else path
        assert found.exists(), target
        if found.suffix == ".py" and anchor:
            assert 1 <= int(anchor.removeprefix("L")) <= len(found.read_text(encoding="utf-8").splitlines()), target
        else:
            assert not anchor or anchor in anchors(found), (target, anchor)


def test_every_document_is_linked_from_the_readme_or_another_one():
    texts = {path: path.read_text(encoding="utf-8") for path in DOCUMENTS}
    for path in DOCUMENTS[1:]:
        link = re.compile(rf"\((docs/)?{re.escape(path.name)}[)#]")
        assert any(link.search(text) for other, text in texts.items() if other != path), path.name


@pytest.mark.parametrize("name", ["design.md", "parity.md"])
def test_names_in_the_documents_are_names_in_the_code(name):
    known = {"DataLoader"}  # torch's
    for path in [*MODULES, ROOT / "train.py"]:
        known |= {path.stem, path.parent.name}
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            held = [getattr(node, key, None) for key in ("name", "id", "attr", "arg", "value")]
            known |= {part for text in held if isinstance(text, str) for part in text.split(".")}
    found = [re.fullmatch(r"([A-Za-z_][\w.]*)(\(.*\))?", code) for code in quoted(ROOT / "docs" / name)]
    words = {match[1] for match in found if match}
    files = {word for word in words if word.endswith((".py", ".json", ".jsonl", ".safetensors"))}
    assert not {word for word in words - files if not set(word.split(".")) <= known}


def test_the_documents_name_every_key_of_the_results():
    tree = ast.parse((ROOT / "pairft" / "runs" / "results.py").read_text(encoding="utf-8"))
    function = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "results_of")
    found = next(node.value for node in ast.walk(function) if isinstance(node, ast.Return))
    assert isinstance(found, ast.Dict)
    text = (ROOT / "docs" / "run-directory.md").read_text(encoding="utf-8")
    row = next(line for line in text.splitlines() if line.startswith("| `results.json` |"))
    for key in found.keys:
        assert isinstance(key, ast.Constant) and f"`{key.value}`" in row, ast.dump(key)


def test_the_documents_say_what_may_change_on_resume():
    from pairft.config import MAY_CHANGE
    from pairft.parsing import flag_of

    text = (ROOT / "docs" / "flags.md").read_text(encoding="utf-8")
    [said] = re.findall(r"These may change: (.*?) Any other change", text, re.DOTALL)
    assert set(re.findall(r"--[a-z-]+", said)) - {"--seeds", "--folds"} == {flag_of(name) for name in MAY_CHANGE}


@pytest.mark.parametrize("name", ["README.md", "docs/benchmarks.md"])
def test_the_documents_name_the_architectures_that_are_padding_free(name):
    from pairft.speed.last_layer import LAST_LAYERS

    text = (ROOT / name).read_text(encoding="utf-8")
    [said] = re.findall(r"(?:Padding-free on the CPU:|For) (BERT\b[\w\s,-]*?)(?:;| on the CPU)", text)
    assert set(re.findall(r"[\w-]+", said.replace(" and ", ", ").lower())) == set(LAST_LAYERS)


def example(name: str) -> dict[str, object]:
    """An entry of a table that docs/contributing.md shows, as the code would read it."""
    from pairft.speed.last_layer import BERT
    from pairft.tasks import Task

    text = (ROOT / "docs" / "contributing.md").read_text(encoding="utf-8")
    found = re.search(rf"<!-- example: {name} -->\n```python\n(.*?)```", text, re.DOTALL)
    assert found
    return eval("{" + found[1] + "}", {"Task": Task, "BERT": BERT})


def test_the_examples_for_contributors_fit_the_code():
    from transformers import CONFIG_MAPPING

    from pairft.speed.last_layer import LAST_LAYERS
    from pairft.tasks import SINGLE_LABEL, TASKS, metrics_of
    from pairft.training.metrics import MODULES

    [(name, task)] = example("task").items()
    assert name not in TASKS
    metrics, main_metric = metrics_of(task, SINGLE_LABEL)
    assert main_metric in metrics and set(metrics) <= set(MODULES)
    [(name, row)] = example("architecture").items()
    assert name in CONFIG_MAPPING and name not in LAST_LAYERS
    assert row in LAST_LAYERS.values()
