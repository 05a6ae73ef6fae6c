"""Rows of JSON files: one object per line (JSON Lines), or one list of objects.

JSON Lines are streamed. A list is one JSON value and is read into memory: 200 MB take 0.8 GB, or 1.4 GB if there is an
emoji in them, since Python then stores the text with four bytes per character. Numbers keep their text from the file,
so that 12345678901234567890 is not rounded by a float.
"""

import itertools
import json
from collections.abc import Iterator, Sequence
from typing import IO, Any

from pairft.data.labels import whole_text

LARGEST_OBJECT = 1 << 28  # characters of an object that isn't a row that are read to recognise its layout
REMEDY = 'write one object per row, as pandas\' to_json(orient="records") does'


class Number(str):
    """The text of a number in the file."""

    __slots__ = ()


DECODER = json.JSONDecoder(parse_int=Number, parse_float=Number)  # only NaN and Infinity become floats


def json_rows(file: IO[str], wanted: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """The objects of a file. The `wanted` columns tell a row from an object that holds all rows.

    Raises json.JSONDecodeError if a list isn't valid JSON, and ValueError if a line isn't, or for any other layout.
    """
    while (start := file.read(1)).isspace():
        pass
    file.seek(0)
    if start == "{":
        refuse_lone_object(file, wanted)
    for value in DECODER.decode(file.read()) if start == "[" else lines(file):
        if not isinstance(value, dict):
            found = "a list" if isinstance(value, list) else value if isinstance(value, Number) else json.dumps(value)
            raise ValueError(f"expected an object with named columns, found {found[:40]}: {REMEDY}")
        yield value


def lines(file: IO[str]) -> Iterator[Any]:
    """The value on each line that isn't blank."""
    for line in filter(str.strip, file):
        try:
            yield DECODER.decode(line)
        except json.JSONDecodeError as error:  # its line number is always 1
            raise ValueError(f"not JSON at column {error.colno}: {error.msg}") from None


def refuse_lone_object(file: IO[str], wanted: Sequence[str]) -> None:
    """Raise ValueError if the file is a single object, unless that is a row on one line; else rewind the file."""
    first, *others = itertools.islice(filter(str.strip, file), 2)
    file.seek(0)
    on_one_line = decoded(first) is not None
    if on_one_line and others:  # JSON Lines
        return
    value = decoded(file.read(LARGEST_OBJECT))
    file.seek(0)
    if value is None:  # not JSON at all: `lines` reports where
        return
    shape = shape_of(value, wanted) if wanted else None
    if shape is not None:
        raise ValueError(f"these are {shape}, not rows: {REMEDY}")
    if not on_one_line:
        raise ValueError(f"one object over several lines: {REMEDY}")


def decoded(text: str) -> dict[str, Any] | None:
    """The JSON object in a text, or None if it isn't one."""
    try:
        value = DECODER.decode(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def shape_of(value: dict[str, Any], wanted: Sequence[str]) -> str | None:
    """The layout of a file's only object, for a message; None if it is a row with the wanted columns."""
    held = [value[name] for name in wanted if name in value]
    if not held:
        if isinstance(value.get("data"), list) and ("columns" in value or "schema" in value):
            return f'cells apart from their columns (orient="{"split" if "columns" in value else "table"}")'
        held = list(value.values())
        if held and all(isinstance(item, dict) and any(name in item for name in wanted) for item in held):
            return 'rows by their keys (orient="index")'
        for name, item in value.items():
            if isinstance(item, list) and item and isinstance(item[0], dict):
                return f"rows below the key {name!r}"
    return "columns" if held and all(isinstance(item, (dict, list)) for item in held) else None


def as_text(value: Any, column: str, is_label: bool) -> str | None:
    """A sentence or a label as text, or None for null. A label such as 1.0 becomes an integer, and a list of labels the
    text of a JSON list, such as ["spam", "ad"]. Raises ValueError if the value is not text, a number or a boolean, or
    contains a lone surrogate."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Number):
        return whole_text(value) if is_label else str(value)
    if value is None or isinstance(value, str):
        if value is not None and not value.isascii():
            value.encode()
        return value
    if isinstance(value, float):
        raise ValueError(f"{column!r} holds {json.dumps(value)}; write null if there is no value")
    if is_label and isinstance(value, list) and not any(isinstance(item, (list, dict)) for item in value):
        return json.dumps([as_text(item, column, is_label) for item in value], ensure_ascii=False)
    raise ValueError(f"{column!r} holds {'a list' if isinstance(value, list) else 'an object'}, not text or a number")
