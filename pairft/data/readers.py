"""The rows of files as Arrow record batches, one function for each format.

A reader is `NAME_batches(path, names, label_column)`. It yields record batches whose columns are `names`, all of type
string, with null for a missing value, and raises UserError with the file and row if something can't be read.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pairft.data.excel import excel_batches
from pairft.data.formats import suffix_of
from pairft.data.json_files import json_batches
from pairft.data.table_files import table_batches
from pairft.errors import UserError

if TYPE_CHECKING:
    import pyarrow


def batches_of(
    files: Sequence[Path], names: Sequence[str], label_column: str | None
) -> Iterator["pyarrow.RecordBatch"]:
    """The named columns of every row of the files of one split, in order, as record batches of type string. Memory use
    doesn't depend on the size of the files. Raises UserError if there are no rows, or if something can't be read."""
    empty = True
    for path in files:
        for batch in batches(path, names, label_column):
            if batch.num_rows:
                empty = False
                yield batch
    if empty:
        raise UserError(f"{files[0]} is empty: it has no rows")


def batches(path: Path, names: Sequence[str], label_column: str | None) -> Iterator["pyarrow.RecordBatch"]:
    """The batches of one file, by the reader for its suffix."""
    if suffix_of(path) in (".json", ".jsonl"):
        return json_batches(path, names, label_column)
    if suffix_of(path) == ".xlsx":
        return excel_batches(path, names, label_column)
    return table_batches(path, names, label_column)


def string_schema(names: Sequence[str]) -> "pyarrow.Schema":
    import pyarrow

    return pyarrow.schema([(name, pyarrow.string()) for name in names])
