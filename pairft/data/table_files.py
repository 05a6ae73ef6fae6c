"""Rows of csv and tsv files, read by pyarrow with every field as text.

How a file is written (its encoding, delimiter and quotes) is found first, in passes over all of it, and said if it
isn't what the file's name promises. pyarrow's errors don't name the row as a user counts, so a file with an error is
read a second time by Python's csv module, which finds it.
"""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

from pairft.data.encodings import opened_utf8
from pairft.data.table_layout import Layout, check_rows, table_layout
from pairft.errors import UserError

if TYPE_CHECKING:
    import pyarrow

BLOCK_SIZES = tuple(1 << power for power in (20, 23, 26, 30))  # bytes that pyarrow parses at once; a row must fit


def table_batches(path: Path, names: Sequence[str], label_column: str | None) -> Iterator["pyarrow.RecordBatch"]:
    """The reader for csv and tsv files (see readers.py)."""
    import pyarrow

    layout = table_layout(path, names)
    for name in names:
        if name not in layout.columns:
            raise no_column(path, layout.columns, name)
        if layout.columns.count(name) > 1:
            raise UserError(f"{path}: the header names the column {name!r} twice: rename one of them")
    done = 0
    # pyarrow's search for the last line end of a block goes wrong at a NUL in quotes.
    for size in BLOCK_SIZES[-1:] if layout.quoted and layout.nul else BLOCK_SIZES:
        row = 0
        try:
            for batch in parsed(path, layout, names, size):
                row += batch.num_rows
                if row > done:
                    yield without_unnamed(path, batch.slice(max(0, done - (row - batch.num_rows))), names, done)
                    done = row
            return
        except pyarrow.ArrowInvalid as error:
            if "Empty CSV file" in str(error):  # nothing after the header
                return
            if "straddl" not in str(error) or size == BLOCK_SIZES[-1]:  # a row is longer than a block
                check_rows(path, layout.delimiter, layout.quoted)
                raise UserError(f"can't read {path}: {error}") from None


def parsed(path: Path, layout: Layout, names: Sequence[str], block_size: int) -> Iterator["pyarrow.RecordBatch"]:
    """Batches of the named columns, and of those without a name at the end, all as text. A column is called by its
    number, since two that nobody wants may have the same name."""
    import pyarrow
    from pyarrow import csv as arrow_csv

    ids = [str(number) for number in range(len(layout.columns))]
    wanted = [*(ids[layout.columns.index(name)] for name in names), *ids[layout.end :]]
    with opened_utf8(path) as file:
        rest = layout.header
        while rest:
            rest -= len(file.read(rest))
        yield from arrow_csv.open_csv(
            pyarrow.PythonFile(WholeLineEnds(file), mode="r"),
            arrow_csv.ReadOptions(use_threads=False, block_size=block_size, column_names=ids),
            arrow_csv.ParseOptions(
                delimiter=layout.delimiter,
                quote_char='"' if layout.quoted else False,
                newlines_in_values=layout.quoted,
            ),
            arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(ids, pyarrow.string()),
                include_columns=wanted,
                check_utf8=False,  # encodings.py has seen to that
            ),
        )


class WholeLineEnds(io.RawIOBase):
    """A file whose reads don't end between \\r and \\n: pyarrow would drop the \\n, even from a quoted field."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self.file.read(size)
        while data.endswith(b"\r") and (more := self.file.read(1)):
            data += more
        return data


def without_unnamed(
    path: Path, batch: "pyarrow.RecordBatch", names: Sequence[str], before: int
) -> "pyarrow.RecordBatch":
    """The named columns. Raises UserError if one without a name isn't empty. `before`: the rows before the batch."""
    import pyarrow
    import pyarrow.compute as pc

    for column in batch.columns[len(names) :]:
        at = pc.index(pc.equal(pc.utf8_trim_whitespace(column), ""), pyarrow.scalar(False)).as_py()
        if at >= 0:
            value = column[at].as_py().strip()[:40]
            raise UserError(
                f"{path}, row {before + at + 1}: {value!r} is in a column without a name: name the column, or put a "
                "field that contains the delimiter in double quotes"
            )
    return pyarrow.RecordBatch.from_arrays(batch.columns[: len(names)], list(names))


def no_column(path: Path, columns: Sequence[str], name: str) -> UserError:
    return UserError(
        f"{path} has no column {name!r}; it has: {', '.join(filter(None, columns))}. Name others with --text-columns "
        "and --label-column"
    )
