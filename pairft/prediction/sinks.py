"""Where answers are written, a block at a time: a file, completely or not at all, or standard output."""

import contextlib
import csv
import gzip
import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import IO, TYPE_CHECKING, Any

from pairft.data.formats import compression_of, suffix_of
from pairft.errors import UserError

if TYPE_CHECKING:
    import pyarrow

OUTPUTS = (".csv", ".tsv", ".json", ".jsonl", ".parquet", ".csv.gz", ".tsv.gz", ".json.gz", ".jsonl.gz")


@dataclass(frozen=True)
class Column:
    """A column of the output."""

    name: str
    kind: "pyarrow.DataType"  # in parquet
    is_json: bool = False  # its values are JSON texts, null for a missing one


Block = Sequence["pyarrow.ChunkedArray"]  # of the columns, in their order
Write = Callable[[Block], None]


def is_output(path: Path) -> bool:
    """Whether the name ends as that of a format that can be written does."""
    return path.name.lower().endswith(OUTPUTS)


def partial_path(output: Path) -> Path:
    """The temporary name of `output` while it is written."""
    return output.with_name(f".{output.name}-{os.getpid()}.part")


@contextlib.contextmanager
def opened_output(output: Path, columns: Sequence[Column]) -> Iterator[Write]:
    """Within the context, the function that writes a block to the file. The file appears when the context ends, and not
    if it ends with an error. Raises UserError if it can't be written."""
    partial = partial_path(output)
    try:
        with writer(partial, suffix_of(output), columns, is_gzip=compression_of(output) == "gz") as write:
            yield write
        os.replace(partial, output)
    except OSError as error:
        if error.filename not in (None, str(partial), str(output)):
            raise
        raise UserError(f"can't write --output {output}: {error.strerror or error}") from None
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


@contextlib.contextmanager
def opened_stdout(suffix: str, columns: Sequence[Column]) -> Iterator[Write]:
    """The same for standard output, which gets each block at once."""
    with text_writer(sys.stdout, suffix, columns) as write:

        def write_now(block: Block) -> None:
            write(block)
            sys.stdout.flush()

        yield write_now


@contextlib.contextmanager
def writer(path: Path, suffix: str, columns: Sequence[Column], is_gzip: bool) -> Iterator[Write]:
    """The writer of a file by the suffix of its format."""
    if suffix == ".parquet":
        with parquet_writer(path, columns) as write:
            yield write
        return
    open_it: Any = gzip.open if is_gzip else open
    with open_it(path, "wt", encoding="utf-8", newline="") as file, text_writer(file, suffix, columns) as write:
        yield write


@contextlib.contextmanager
def parquet_writer(path: Path, columns: Sequence[Column]) -> Iterator[Write]:
    """Own columns keep their types; those of JSON are text, as in a csv."""
    import pyarrow
    from pyarrow import parquet

    schema = pyarrow.schema([(column.name, column.kind) for column in columns])
    with parquet.ParquetWriter(path, schema) as file:

        def write(block: Block) -> None:
            arrays = [
                pyarrow.array(cells(values, column), column.kind) if column.is_json else values.cast(column.kind)
                for values, column in zip(block, columns, strict=True)
            ]
            file.write_table(pyarrow.table(arrays, schema=schema))

        yield write


@contextlib.contextmanager
def text_writer(file: IO[str], suffix: str, columns: Sequence[Column]) -> Iterator[Write]:
    """csv, tsv, json or jsonl."""
    if suffix in (".csv", ".tsv"):
        # A field is quoted for a carriage return only if that is in the line's end, so it is, and is taken off again.
        lines: Any = SimpleNamespace(write=lambda line: file.write(line.removesuffix("\r\n") + "\n"))
        table = csv.writer(lines, delimiter="\t" if suffix == ".tsv" else ",", lineterminator="\r\n")
        table.writerow([column.name for column in columns])
        yield lambda block: table.writerows(zip(*map(cells, block, columns), strict=True))
        return
    names = [json.dumps(column.name, ensure_ascii=False) for column in columns]
    is_list, mark = suffix == ".json", ""

    def write(block: Block) -> None:
        nonlocal mark
        for row in zip(*map(json_texts, block, columns), strict=True):
            members = ", ".join(f"{name}: {text}" for name, text in zip(names, row, strict=True) if text is not None)
            file.write(f"{mark}{{{members}}}" if is_list else f"{{{members}}}\n")
            mark = ",\n"

    if is_list:
        file.write("[")
    yield write
    if is_list:
        file.write("]\n")


def json_texts(values: "pyarrow.ChunkedArray", column: Column) -> list[str | None]:
    """The JSON of each value; None for one that the row doesn't have."""
    if column.is_json:
        texts: list[str | None] = values.to_pylist()
        return texts
    return [json.dumps(known(value), ensure_ascii=False, default=str) for value in values.to_pylist()]


def known(value: Any) -> Any:
    """null for what JSON has no number for."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def cells(values: "pyarrow.ChunkedArray", column: Column) -> list[Any]:
    """What a table has in each cell: text, numbers, JSON for lists and objects, None for nothing."""
    if column.is_json:
        return [cell_of(text) for text in values.to_pylist()]
    return [
        json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, (list, dict)) else value
        for value in values.to_pylist()
    ]


def cell_of(text: str | None) -> str | None:
    """The cell for a JSON text: a string's own text, nothing for null."""
    if text is None or text == "null":
        return None
    if not text.startswith('"'):
        return text
    # A lone surrogate, which JSON can have escaped and other files can't hold, becomes U+FFFD.
    return str(json.loads(text)).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
