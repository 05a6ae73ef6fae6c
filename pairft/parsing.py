"""Values and names of settings as text: parse, spell, find the closest."""

import csv
import difflib
import io
import types
import typing
from collections.abc import Sequence
from typing import Any

from pairft.errors import UserError

Interval = int | str  # a number of steps, "epoch" or "never"


def columns_in(text: str) -> tuple[str, ...]:
    """The column names in a comma-separated text; a name that contains a comma is in double quotes. Raises csv.Error if
    quotes don't match."""
    return tuple(column.strip() for column in next(csv.reader([text], skipinitialspace=True, strict=True), []))


def in_text(columns: Sequence[str]) -> str:
    """The text in which `columns_in` reads these names."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(columns)
    return text.getvalue()


def flag_of(name: str) -> str:
    return "--" + name.replace("_", "-")


def parse(name: str, value: Any, kind: Any) -> Any:
    """The value of the setting `name`, of type `kind`, from the text of a flag or from a value in YAML (which reads
    5e-5 as text).

    Raises UserError with the setting, its value and what it should be.
    """
    kinds = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    if value is None and type(None) in kinds:
        return None
    text = value.strip() if isinstance(value, str) else value
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is bool:
        if isinstance(value, bool):
            return value
        wanted = "true or false"
    elif name in ("text_columns", "label_column"):
        try:
            columns = columns_in(str(text)) if isinstance(text, str) or number else text
        except csv.Error:
            columns = None
        if isinstance(columns, (list, tuple)) and all(isinstance(column, str) for column in columns):
            if name == "text_columns":
                return tuple(column.strip() for column in columns)
            return text if isinstance(text, str) else in_text([str(text)] if number else columns)
        wanted = "column names, comma-separated; put a name that contains a comma in double quotes"
    elif name == "freeze":
        parts = text.split(",") if isinstance(text, str) else value
        if isinstance(parts, (list, tuple)) and all(isinstance(part, str) and part.strip() for part in parts):
            return tuple(part.strip() for part in parts)
        wanted = "parts of the model, comma-separated, for example embeddings,layers.0-3"
    elif name == "seeds":
        parts = text.split(",") if isinstance(text, str) else [value] if number else value
        try:
            return tuple(parse("seed", part, int) for part in parts)
        except (UserError, TypeError):
            wanted = "whole numbers, comma-separated, for example 1,2,3"
    elif kind == Interval and text in ("epoch", "never"):
        return text
    elif int in kinds:
        wanted = "a number of steps, 'epoch' or 'never'" if kind == Interval else "a whole number"
        try:
            if isinstance(text, str) or (number and int(value) == value):
                return int(text)
        except (ValueError, OverflowError):
            pass
    elif float in kinds:
        wanted = "a number"
        try:
            if isinstance(text, str) or number:
                return float(text)
        except (ValueError, OverflowError):
            pass
    else:
        if isinstance(value, str) or number:
            return str(value)
        wanted = "text"
    raise UserError(f"{flag_of(name)} is {value!r}, but should be {wanted}")


def closest(name: str, names: Sequence[str]) -> str:
    """'; did you mean …?', or "" if no name is close."""
    found = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"; did you mean {found[0]}?" if found else ""
