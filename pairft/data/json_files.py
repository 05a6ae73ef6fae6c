"""Rows of JSON files: one object a line, or one list of objects, read piece by piece.

Numbers keep the text that the file has, so that 12345678901234567890 doesn't pass through a float.
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import IO, Any

from pairft.data.labels import whole_text

LARGEST_OBJECT = 1 << 28  # characters of one object over several lines, of which only the shape is wanted
REMEDY = 'write one object per row, as pandas\' to_json(orient="records") does'


class Number(str):
    """A number as the file writes it."""


DECODER = json.JSONDecoder(parse_int=Number, parse_float=Number)  # what is a float all the same is NaN or Infinity


def json_rows(file: IO[str], wanted: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """The objects of a file. Raises ValueError for another shape; the `wanted` columns help to name it."""
    while (start := file.read(1)).isspace():
        pass
    file.seek(0)
    values = list_items(file) if start == "[" else lines(file, wanted)
    for number, value in enumerate(values):
        if not isinstance(value, dict):
            found = "a list" if isinstance(value, list) else value if isinstance(value, Number) else json.dumps(value)
            raise ValueError(f"expected an object with named columns, found {found[:40]}: {REMEDY}")
        shape = shape_of(value, wanted) if number == 0 and start == "{" and wanted else None
        if shape is not None and next(values, None) is None:
            raise ValueError(f"these are {shape}, not rows: {REMEDY}")
        yield value


def shape_of(value: dict[str, Any], wanted: Sequence[str]) -> str | None:
    """What the only object of a file holds, if not a row with the wanted columns."""
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


def lines(file: IO[str], wanted: Sequence[str]) -> Iterator[Any]:
    """The values that stand one a line. Raises ValueError that names the shape of an object over several lines."""
    number = 0
    for line in file:
        if not line.strip():
            continue
        try:
            value = DECODER.decode(line)
        except ValueError:
            if number == 0:
                refuse_object(file, wanted)
            raise
        yield value
        number += 1


def refuse_object(file: IO[str], wanted: Sequence[str]) -> None:
    """Raise ValueError if the whole file is one object."""
    file.seek(0)
    try:
        value = DECODER.decode(file.read(LARGEST_OBJECT))
    except ValueError:  # no JSON either way: the caller's message names the place
        return
    shape = shape_of(value, wanted) if isinstance(value, dict) and wanted else None
    what = f"these are {shape}, not rows" if shape else "one object over several lines"
    raise ValueError(f"{what}: {REMEDY}")


def list_items(file: IO[str]) -> Iterator[Any]:
    """The items of one JSON list, decoded as the file is read."""
    blank = re.compile(r"[ \t\r\n]*")
    text, at, wanted = "", 0, "open"  # then: "first" (or the end), "comma" (or the end), "value", "nothing"
    while chunk := file.read(1 << 20):
        text, at = text[at:] + chunk, 0
        while True:
            at = found.end() if (found := blank.match(text, at)) else at
            if at == len(text):
                break
            if wanted == "open":
                at, wanted = at + 1, "first"  # json_rows has seen the bracket
            elif text[at] == "]" and wanted in ("first", "comma"):
                at, wanted = at + 1, "nothing"
            elif text[at] == "," and wanted == "comma":
                at, wanted = at + 1, "value"
            elif wanted in ("first", "value"):
                try:
                    value, at = DECODER.raw_decode(text, at)
                except ValueError:
                    break  # cut off by the end of the piece, or wrong: known at the end
                wanted = "comma"
                yield value
            else:
                raise ValueError(f"not JSON: {text[at : at + 40]!r}")
    if wanted != "nothing":
        raise ValueError(f"not JSON, or cut short: {text[at : at + 40]!r}")


def as_text(value: Any, column: str, is_label: bool) -> str | None:
    """A sentence or a label as text, None where there is none; of a label that is a whole number with a point, such as
    1.0, the integer. Raises ValueError for what is no text, number or boolean, and for half a pair of surrogates."""
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
