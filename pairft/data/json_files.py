"""Rows of JSON files as Arrow record batches of text.

JSON Lines are parsed by pyarrow as long as it gives the text that the file has: the wanted columns are text, the label
may also be an integer or a boolean. From the first rows that it can't read so, Python's decoder reads the rest, as it
does all other layouts (json_layouts.py). Numbers keep their text from the file, so that 12345678901234567890 is not
rounded by a float.
"""

import io
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pairft.data.cache import ROWS_OF_A_BATCH
from pairft.data.encodings import opened
from pairft.data.json_layouts import REMEDY, json_layout, json_values, lines_of
from pairft.data.json_stream import DECODER, Number
from pairft.data.labels import whole_text
from pairft.errors import UserError

if TYPE_CHECKING:
    import pyarrow

BLOCK = 1 << 22  # characters that pyarrow parses at once
INTEGER = re.compile(r"-?\d{1,18}", re.ASCII)


def json_batches(path: Path, names: Sequence[str], label_column: str | None) -> Iterator["pyarrow.RecordBatch"]:
    """The reader of JSON files. Raises UserError if the file isn't JSON, or if a row is not an object with text."""
    layout = json_layout(path, [name for name in names if name != label_column])
    with opened(path) as file:
        if layout.kind == "lines":
            yield from line_batches(path, file, names, label_column)
        else:
            yield from value_batches(path, json_values(file, layout, names), names, label_column)


def json_columns(path: Path, wanted: Sequence[str]) -> list[str]:
    """Every column of a file in the layout in which the `wanted` ones are looked for, for messages."""
    layout = json_layout(path, wanted)
    if layout.columns:
        return list(layout.columns)
    try:
        with opened(path) as file:
            values = json_values(file, layout)
            return list(dict.fromkeys(name for value in values if isinstance(value, dict) for name in value))
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None


def line_batches(
    path: Path, file: IO[str], names: Sequence[str], label_column: str | None
) -> Iterator["pyarrow.RecordBatch"]:
    """The batches of JSON Lines."""
    number = 0
    while block := file.read(BLOCK):
        block += file.readline()
        batch = parsed(block, names, label_column)
        if batch is None:
            lines = itertools.chain(io.StringIO(block, newline=""), file)
            yield from value_batches(path, lines_of(lines), names, label_column, number)
            return
        number += batch.num_rows
        yield batch


def parsed(block: str, names: Sequence[str], label_column: str | None) -> "pyarrow.RecordBatch | None":
    """Whole lines of JSON as pyarrow parses them, or None if it might change a value."""
    import pyarrow
    from pyarrow import json as arrow_json

    if (kinds := arrow_kinds(block, names, label_column)) is None:
        return None
    content = block.encode()
    options = arrow_json.ParseOptions(explicit_schema=pyarrow.schema(kinds), unexpected_field_behavior="ignore")
    try:
        table = arrow_json.read_json(
            io.BytesIO(content),
            read_options=arrow_json.ReadOptions(use_threads=False, block_size=len(content)),
            parse_options=options,
        )
    except pyarrow.ArrowException:
        return None
    # pyarrow also reads several objects on a line, which is an error here.
    lines = block.count("\n") + (not block.endswith("\n"))
    if table.num_rows != lines and table.num_rows != sum(map(is_filled, io.StringIO(block, newline=""))):
        return None
    columns = [table.column(name).cast(pyarrow.string()).combine_chunks() for name in names]
    return pyarrow.record_batch(columns, names=list(names))


def is_filled(line: str) -> bool:
    return not line.isspace()


def arrow_kinds(block: str, names: Sequence[str], label_column: str | None) -> "dict[str, pyarrow.DataType] | None":
    """The type of each column by the first row: string, or for the label also an integer or a boolean. None if it has
    another."""
    import pyarrow

    line = next(filter(str.strip, io.StringIO(block, newline="")), "")
    try:
        row = DECODER.decode(line)
    except ValueError:
        return None
    kinds = dict.fromkeys(names, pyarrow.string())
    for name in names if isinstance(row, dict) else ():
        value = row.get(name)
        if name == label_column and isinstance(value, Number) and INTEGER.fullmatch(value):
            kinds[name] = pyarrow.int64()
        elif name == label_column and isinstance(value, bool):
            kinds[name] = pyarrow.bool_()
        elif value is not None and type(value) is not str:
            return None
    return kinds


def value_batches(
    path: Path, values: Iterable[Any], names: Sequence[str], label_column: str | None, before: int = 0
) -> Iterator["pyarrow.RecordBatch"]:
    """The batches of decoded rows. `before`: how many rows of the file come before them."""
    rows: list[list[str | None]] = []
    number = before
    try:
        for value in values:
            if not isinstance(value, dict):
                raise ValueError(f"expected an object with named columns, found {described(value)[:40]}: {REMEDY}")
            rows.append([as_text(value.get(name), name, name == label_column) for name in names])
            number += 1
            if len(rows) == ROWS_OF_A_BATCH:
                yield batch_of(rows, names)
                rows = []
    except (UserError, UnicodeDecodeError):
        raise
    except ValueError as error:
        raise UserError(f"{path}, row {number + 1}: {error}") from None
    if rows:
        yield batch_of(rows, names)


def batch_of(rows: Sequence[Sequence[str | None]], names: Sequence[str]) -> "pyarrow.RecordBatch":
    import pyarrow

    columns = [pyarrow.array(column, pyarrow.string()) for column in zip(*rows, strict=True)]
    return pyarrow.record_batch(columns, names=list(names))


def described(value: Any) -> str:
    """A value that isn't an object, for messages."""
    if isinstance(value, list):
        return "a list"
    return str(value) if isinstance(value, Number) else json.dumps(value)


def as_text(value: Any, column: str, is_label: bool) -> str | None:
    """A sentence or a label as text, or None for null. A label such as 1.0 becomes an integer, and a list of labels the
    text of a JSON list, such as ["spam", "ad"]. Raises ValueError if the value is not text, a number or a boolean, or
    contains a lone surrogate."""
    if type(value) is str:
        if not value.isascii():
            value.encode()
        return value
    if value is None:
        return None
    if isinstance(value, Number):
        return whole_text(value) if is_label and not value.isdecimal() else str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        raise ValueError(f"{column!r} holds {json.dumps(value)}; write null if there is no value")
    if is_label and isinstance(value, list) and not any(isinstance(item, (list, dict)) for item in value):
        return json.dumps([as_text(item, column, is_label) for item in value], ensure_ascii=False)
    raise ValueError(f"{column!r} holds {'a list' if isinstance(value, list) else 'an object'}, not text or a number")
