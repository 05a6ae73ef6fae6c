"""Rows of JSON files: one object per line (JSON Lines), or one list of objects.

JSON Lines are streamed. A list is one JSON value and is read whole: 200 MB take 0.8 GB of memory, or 1.4 GB with an
emoji in them, since Python then stores the text in four bytes per character. Numbers keep the text that the file has,
so that 12345678901234567890 doesn't pass through a float.
"""

import itertools
import json
from collections.abc import Iterator, Sequence
from typing import IO, Any

from pairft.data.labels import whole_text

LARGEST_OBJECT = 1 << 28  # characters of an object that isn't a row, read to tell its shape
REMEDY = 'write one object per row, as pandas\' to_json(orient="records") does'


class Number(str):
    """A number as the file writes it."""

    __slots__ = ()


DECODER = json.JSONDecoder(parse_int=Number, parse_float=Number)  # floats are left for NaN and Infinity alone


def json_rows(file: IO[str], wanted: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """The objects of a file. The `wanted` columns help to tell a row from an object that holds all rows.

    Raises json.JSONDecodeError for a list that isn't JSON, and ValueError for a line that isn't, or for another shape.
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
    """The value of each line that isn't blank."""
    for line in filter(str.strip, file):
        try:
            yield DECODER.decode(line)
        except json.JSONDecodeError as error:  # its line number is always 1
            raise ValueError(f"not JSON at column {error.colno}: {error.msg}") from None


def refuse_lone_object(file: IO[str], wanted: Sequence[str]) -> None:
    """Raise ValueError if the whole file is one object that isn't a row on one line; else go back to the start."""
    first, *others = itertools.islice(filter(str.strip, file), 2)
    file.seek(0)
    on_one_line = decoded(first) is not None
    if on_one_line and others:  # JSON Lines
        return
    value = decoded(file.read(LARGEST_OBJECT))
    file.seek(0)
    if value is None:  # not JSON either way: `lines` names the place
        return
    shape = shape_of(value, wanted) if wanted else None
    if shape is not None:
        raise ValueError(f"these are {shape}, not rows: {REMEDY}")
    if not on_one_line:
        raise ValueError(f"one object over several lines: {REMEDY}")


def decoded(text: str) -> dict[str, Any] | None:
    """The object that a text is, or None if it isn't one."""
    try:
        value = DECODER.decode(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def shape_of(value: dict[str, Any], wanted: Sequence[str]) -> str | None:
    """What an object holds that is the only one of its file, if it isn't a row with the wanted columns."""
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
    """A sentence or a label as text, or None for null. A label that is a whole number with a point (1.0) becomes an
    integer. Raises ValueError unless it is text, a number or a boolean, and for a lone surrogate."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Number):
        return whole_text(value) if is_label else str(value)
    if value is None or isinstance(value, str):
        if value is not None and not value.isascii():
            value.encode()
        return value
    if isinstance(value, float):
        raise ValueError(f"{column!r} holds {json.dumps(value)}; where there is no value, write null")
    if is_label and isinstance(value, list):
        raise ValueError(f"the label {column!r} is a list, but a row has one label: multi-label data aren't supported")
    raise ValueError(f"{column!r} holds {'a list' if isinstance(value, list) else 'an object'}, not text or a number")
