"""Tables with two text columns, a and b, and a label column y, and what loading them gives."""

import csv
from pathlib import Path
from typing import Any

import pytest

from pairft.config import Config
from pairft.data.pairs import Pairs, load_pairs
from pairft.errors import UserError


def write_csv(path: Path, labels: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("a", "b", "y"), *((f"a{i}", f"b{i}", label) for i, label in enumerate(labels))])
    return path


def load(path: Path, **settings: Any) -> Pairs:
    given = {"task": "custom", "text_columns": ("a", "b"), "label_column": "y", **settings}
    return load_pairs(Config(data=str(path), **given))


def message_of(path: Path, **settings: Any) -> str:
    with pytest.raises(UserError) as caught:
        load(path, **settings)
    return str(caught.value)


def folder(path: Path, labels: list[Any], validation: list[Any] | None = None) -> Path:
    write_csv(path / "train.csv", labels)
    write_csv(path / "validation.csv", labels if validation is None else validation)
    return path
