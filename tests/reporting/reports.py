"""What the tests of the report share: runs on rows of several kinds, and the page taken apart."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from conftest import some_pairs, write_rows

CHARTS = ("loss", "metrics", "lr", "grad_norm", "length", "reliability", "confidence", "values", "errors")
OF_TRAINING, OF_CLASSES = {"loss", "metrics", "lr", "grad_norm"}, {"length", "reliability", "confidence"}
OF_VALUES = {"length", "values", "errors"}
SHORT = ("--max-steps", 6, "--eval-every", 3, "--log-every", 1, "--report")
CUSTOM = ("--task", "custom", "--text-columns")
KINDS = {  # the text columns, a row's label, and the flags
    "three": ("sentence1,sentence2", lambda row: ["no", "maybe", "yes"][row % 3]),
    "many": ("sentence1", lambda row: f"class {row % 16}"),
    "multi-label": ("sentence1,sentence2", lambda row: [[], ["a"], ["a", "b"], ["c"]][row % 4]),
    "regression": ("sentence1,sentence2", lambda row: row % 8 / 2 + 0.25),
}
NASTY = (
    "<script>document.title='gone'</script><img src=x onerror=\"document.title='gone'\">",
    "</style></svg>&amp;\u202etxet desrever\u0007 {{ 7 * 7 }} $\\frac{1}{2}$",
)
NASTY_NAMES = ("<b>no</b>&lt;", "$yes_\u202e\"'")


def data_of(folder: Path, kind: str) -> tuple[Any, ...]:
    """Write rows of one of KINDS. Returns the flags that train on them."""
    columns, label = KINDS[kind]
    for split, number in (("train", 32), ("validation", 32)):
        rows = [{**row, "label": label(index)} for index, row in enumerate(some_pairs(split, number))]
        write_rows(folder / f"{split}.jsonl", rows)
    return ("--data", folder, *CUSTOM, columns)


def nasty_data(folder: Path) -> tuple[Any, ...]:
    """Write rows whose sentences, classes and columns are markup. Returns the flags that train on them."""
    for split in ("train", "validation"):
        rows = [
            {"<i>a</i>": f"{NASTY[0]} {number}", "b": f"{NASTY[1]} {number}", "label": NASTY_NAMES[number % 2]}
            for number in range(16)
        ]
        write_rows(folder / f"{split}.jsonl", rows)
    return ("--data", folder, *CUSTOM, "<i>a</i>,b", "--positive-class", NASTY_NAMES[1])


class Page(HTMLParser):
    """Tags, ids, attributes and visible text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, Any]] = []
        self.inside: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, Any]]) -> None:
        self.tags.append(tag)
        self.words += [] if tag in ("mark", "bdi") else [" "]
        self.attributes += attrs
        if tag not in ("meta", "link"):
            self.inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self.inside and self.inside.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "style" not in self.inside:
            self.words.append(data)

    def values(self, attribute: str) -> list[str]:
        return [value for name, value in self.attributes if name == attribute]

    @property
    def charts(self) -> set[str]:
        return {name for name in self.values("id") if name in CHARTS}

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.words))


def page_of(run: Path) -> Page:
    return Page((run / "report.html").read_text(encoding="utf-8"))
