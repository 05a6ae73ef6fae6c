"""Rows of text files with all of their columns, and past rows that can't be read (--on-bad-row), as Arrow tables.

The readers in pairft/data read only the columns that training needs, and end at the first row that is wrong.
"""

import csv
import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairft.data.encodings import opened
from pairft.data.json_files import as_text, described
from pairft.data.json_layouts import REMEDY, json_layout, json_values
from pairft.data.json_stream import DECODER, Number
from pairft.data.quotes import strict_reader
from pairft.data.table_layout import table_layout
from pairft.errors import UserError
from pairft.prediction.inputs import has_lone_surrogate

if TYPE_CHECKING:
    import numpy
    import pyarrow

ROWS_AT_ONCE = 4096


def dumped(value: Any) -> str:
    """The JSON of a value as json_stream.py decodes it: numbers keep their text, and lone surrogates are escaped."""
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=has_lone_surrogate(value))
    if isinstance(value, list):
        return f"[{', '.join(map(dumped, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{dumped(key)}: {dumped(own)}' for key, own in value.items())}}}"
    return json.dumps(value, ensure_ascii=False)


def json_pieces(
    tolerant: bool, path: Path, text_columns: Sequence[str], labels: Sequence[str], names: dict[str, None]
) -> Iterator[tuple["pyarrow.Table", "pyarrow.Table", "numpy.ndarray"]]:
    """As `pieces` in sources.py. Adds the keys of the rows to `names`. An own column holds the JSON of each value, and
    null where a row lacks the key."""
    import numpy

    layout = json_layout(path, text_columns)
    wanted = [*text_columns, *labels]
    with opened(path) as file:
        if tolerant and layout.kind == "lines":
            values: Iterator[Any] = (value_of(line) for line in file if line.strip())
        else:
            values = located(path, json_values(file, layout))
        rows = enumerate(values, 1)
        while some := list(itertools.islice(rows, ROWS_AT_ONCE)):
            texts = [texts_of(path, number, row, text_columns, labels, tolerant) for number, row in some]
            own = [json_of(row) for _, row in some]
            names.update(dict.fromkeys(key for row in own for key in row))
            columns = ([None if row is None else row[place] for row in texts] for place in range(len(wanted)))
            yield (
                text_table({key: [row.get(key) for row in own] for key in names or wanted}),
                text_table(dict(zip(wanted, columns, strict=True))),
                numpy.array([row is None for row in texts], bool),
            )


def json_of(row: Any) -> dict[str, str]:
    """The JSON of each value of a row; {} for what is no row."""
    return {key: dumped(value) for key, value in row.items()} if isinstance(row, dict) else {}


def text_table(columns: dict[str, list[str | None]]) -> "pyarrow.Table":
    import pyarrow

    return pyarrow.table({name: pyarrow.array(values, pyarrow.string()) for name, values in columns.items()})


def value_of(line: str) -> Any:
    """The value of a line; None, which is no row, if it isn't JSON."""
    try:
        return DECODER.decode(line)
    except ValueError:
        return None


def located(path: Path, values: Iterator[Any]) -> Iterator[Any]:
    """The values. What is not JSON becomes a UserError with its row."""
    number = 0
    try:
        for value in values:
            yield value
            number += 1
    except (UserError, UnicodeDecodeError):
        raise
    except ValueError as error:
        raise UserError(f"{path}, row {number + 1}: {error}") from None


def texts_of(
    path: Path, number: int, row: Any, text_columns: Sequence[str], labels: Sequence[str], tolerant: bool
) -> list[str | None] | None:
    """The texts and labels of a row; None if it has none that can be read. Unless `tolerant`, that is a UserError."""
    try:
        if not isinstance(row, dict):
            raise ValueError(f"expected an object with named columns, found {described(row)[:40]}: {REMEDY}")
        texts = [as_text(row.get(name), name, False) for name in text_columns]
        return texts + [as_text(row.get(name), name, True) for name in labels]
    except ValueError as error:
        if tolerant:
            return None
        raise UserError(f"{path}, row {number}: {error}") from None


def table_pieces(
    path: Path, names: Sequence[str], text_columns: Sequence[str]
) -> Iterator[tuple["pyarrow.Table", "numpy.ndarray"]]:
    """The named columns of a csv or tsv file, read by Python's csv module, and which rows have a wrong number of
    fields: they are padded or cut. Raises UserError for a quote that is not closed: no row after it can be told."""
    import numpy

    layout = table_layout(path, text_columns, may_be_ragged=True)
    places = [layout.columns.index(name) for name in names]
    width, number = len(layout.columns), 0
    with opened(path) as file:
        rows = filter(None, strict_reader(file, layout.delimiter, layout.quoted))
        next(row for row in rows if any(name.strip() for name in row))  # the header
        try:
            while some := list(itertools.islice(rows, ROWS_AT_ONCE)):
                padded = [[*row, *[""] * (width - len(row))] for row in some]
                columns = zip(names, ([row[place] for row in padded] for place in places), strict=True)
                table = text_table(dict(columns))
                yield table, numpy.array([len(row) != width for row in some], bool)
                number += len(some)
        except csv.Error as error:
            raise UserError(f"{path}, after row {number}: a quoted field is not well-formed ({error})") from None
