"""Write what `python -m pairft.explain` prints into docs/explain.md:

    python docs/explanation.py

It runs the packaged encoder. `docs/generate.py` only brings the line numbers up to date.
"""

import contextlib
import io
import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

DOCUMENT = ROOT / "docs" / "explain.md"
PAIR = ("The company bought its rival in May for 3 million dollars.", "In May, the firm acquired its competitor.")
LANGUAGES = {"english": "en", "french": "fr"}
PLACES = re.compile(r" +(pairft/[\w/.]+:\d+(?:, pairft/[\w/.]+:\d+)*)$", re.MULTILINE)  # at the end of a heading


def part(name: str) -> str:
    """What docs/explain.md has in one language, with the current line numbers."""
    from pairft.explaining.places import places
    from pairft.explaining.terminal import WIDEST

    text = DOCUMENT.read_text(encoding="utf-8")
    [held] = re.findall(rf"<!-- {name}:[^>]*-->\n(.*?)<!-- /{name} -->", text, re.DOTALL)
    current = iter(places().values())
    lines = []
    for line in str(held).splitlines():
        if PLACES.search(line):
            title, place = PLACES.sub("", line), next(current)
            line = title + place.rjust(WIDEST - len(title))
        lines.append(line)
    return "\n".join(lines) + "\n"


def output(name: str) -> str:
    """What the command prints on a terminal of 100 columns."""
    from pairft import explain

    os.environ["COLUMNS"] = "100"
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        code = explain.main(["--language", LANGUAGES[name], *PAIR])
    assert code == 0, code
    return f"```text\n{printed.getvalue()}```\n"


if __name__ == "__main__":
    for language in LANGUAGES:
        old = DOCUMENT.read_text(encoding="utf-8")
        begin, end = f"<!-- {language}:", f"<!-- /{language} -->"
        head, rest = old.split(begin)
        mark, tail = rest.split("-->\n", 1)[0], rest.split(end)[1]
        DOCUMENT.write_text(head + begin + mark + "-->\n" + output(language) + end + tail, encoding="utf-8")
