"""The glossaries, from docs/glossary.yaml, and links to lines of code that stay right when lines move."""

import json
import re
import unicodedata
from functools import cache
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
# The keys of a theme's name and a term's text in glossary.yaml, and two words of the document.
LANGUAGES = {"en": ("theme", "text", "Code", "line"), "fr": ("thème", "texte", "Code ", "ligne")}
# A link whose title is a piece of the line: [step.py, line 57](../pairft/training/step.py#L57 "def update(").
LINK = re.compile(r'\[[\w.]+, line \d+\]\(\.\./([\w/.-]+)#L\d+ "([^"]+)"\)')


@cache
def line_of(path: str, piece: str) -> int:
    """The number of the first line of a file that holds `piece`. Raises LookupError if none does."""
    for number, line in enumerate((ROOT / path).read_text(encoding="utf-8").splitlines(), 1):
        if piece in line:
            return number
    raise LookupError(f"{path} has no line with {piece}")


def themes() -> Any:
    return yaml.safe_load((ROOT / "docs" / "glossary.yaml").read_text(encoding="utf-8"))


def heading(term: dict[str, str], language: str) -> str:
    """A term in its language; in French with the English one in brackets, where that is another."""
    own, english = term[language], term["en"]
    return own if own == english or own.startswith(english.split(",")[0] + ",") else f"{own} ({english})"


def anchor(title: str) -> str:
    """Of a heading, as GitHub makes it."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def index(language: str) -> str:
    """All terms in alphabetical order, each a link."""
    titles = [heading(term, language) for theme in themes() for term in theme["terms"]]
    return ", ".join(f"[{escaped(title)}](#{anchor(title)})" for title in sorted(titles, key=sort_key)) + "\n"


def sort_key(title: str) -> str:
    """The term without brackets, case, accents and marks, so that étiquette comes after epoch."""
    plain = unicodedata.normalize("NFD", title.split(" (", maxsplit=1)[0].lower())
    return re.sub(r"[^a-z0-9 ]", "", plain)


def escaped(title: str) -> str:
    return title.replace("[", "\\[").replace("]", "\\]")


def terms(language: str) -> str:
    """The definitions by theme, each with a link to its line of code."""
    theme_key, text_key, code, line = LANGUAGES[language]
    parts = []
    for theme in themes():
        parts.append(f"## {theme[theme_key]}\n")
        for term in theme["terms"]:
            path, piece = term["code"].split(" | ", 1)
            number = line_of(path, piece)
            link = f"[{Path(path).name}, {line} {number}](../{path}#L{number})"
            parts.append(f"### {escaped(heading(term, language))}\n\n{term[text_key]}\n{code}: {link}\n")
    return "\n".join(parts)


def relinked(text: str) -> str:
    """Markdown whose links to code have the current line numbers."""

    def link(found: re.Match[str]) -> str:
        path, piece = found.groups()
        number = line_of(path, piece)
        return f'[{Path(path).name}, line {number}](../{path}#L{number} "{piece}")'

    return LINK.sub(link, text)


def relinked_notebook(text: str) -> str:
    """The same for the Markdown cells of a notebook's JSON."""
    notebook = json.loads(text)
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = relinked("".join(cell["source"])).splitlines(keepends=True)
    return json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
