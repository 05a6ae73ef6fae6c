"""Rows of local files, read as a stream and as text: a sentence "NA" or "007" stays what it says.

The loaders of `datasets` for csv and json guess types by chunk (numbers, dates, missing values), and their errors name
no row. These read with Python's own csv and json; `datasets` then keeps the rows as an Arrow file in its cache.
Parquet has types of its own and is left to `datasets`.
"""

import csv
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pairft.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset

SUFFIXES = ("parquet", "csv", "tsv", "json", "jsonl")
READER_VERSION = 1  # part of the cache's key: raise it when the rows read from the same file change
MAX_FIELD = 16 << 20  # characters in one csv field


def split_files(folder: Path, split: str) -> list[Path]:
    """The files of a split: train.csv, or its shards train-00000-of-00002.csv, …; sorted; perhaps none."""
    pattern = re.compile(rf"{split}(-\d+(-of-\d+)?)?\.({'|'.join(SUFFIXES)})")
    files = sorted(path for path in folder.iterdir() if pattern.fullmatch(path.name) and path.is_file())
    kinds = {(path.suffix, "-" in path.name) for path in files}
    if len(kinds) > 1:
        names = ", ".join(path.name for path in files)
        raise UserError(f"{folder} holds the {split} part more than once ({names}): keep one")
    totals = {found.group(1) for path in files if (found := re.search(r"-of-(\d+)\.", path.name))}
    if totals and {int(total) for total in totals} != {len(files)}:
        raise UserError(f"{folder} holds {len(files)} of the {max(map(int, totals))} files of the {split} part")
    return files


def read_files(
    files: list[Path], text_columns: Sequence[str], label_column: str, label_needed: bool = True
) -> "Dataset":
    """The rows of files of one kind, with the wanted columns: a memory-mapped Dataset. The label may be absent where it
    isn't needed.

    csv, tsv, json and jsonl give text columns (None where a value is missing); parquet keeps its types. Raises
    UserError for what can't be read, with file and row.
    """
    import datasets
    import pyarrow
    from pyarrow import parquet

    if files[0].suffix == ".parquet":
        level = datasets.logging.get_verbosity()
        datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # it would log what the message below says
        try:
            if not any(parquet.ParquetFile(path).metadata.num_rows for path in files):
                raise UserError(f"{files[0]} is empty: it has no rows")
            paths = [str(path) for path in files]
            loaded = datasets.load_dataset("parquet", data_files={"rows": paths}, split="rows")
        except (pyarrow.ArrowException, OSError, datasets.exceptions.DatasetGenerationError) as error:
            raise unreadable(files, error) from None
        finally:
            datasets.logging.set_verbosity(level)
        return loaded.select_columns(
            wanted_columns(files, loaded.column_names, text_columns, label_column, label_needed)
        )
    is_json = files[0].suffix in (".json", ".jsonl")
    names = [*text_columns, label_column]
    if not is_json:  # a table says its columns on top; in JSON any row may lack any key
        names = wanted_columns(files, header(files[0]), text_columns, label_column, label_needed)
    stamp = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    key = hashlib.sha256(repr((READER_VERSION, stamp, names)).encode()).hexdigest()[:32]
    try:
        loaded = datasets.Dataset.from_generator(
            rows_of_all,
            gen_kwargs={"files": tuple(files), "names": tuple(names)},  # lists would be taken for shards
            features=datasets.Features({name: datasets.Value("string") for name in names}),
            fingerprint=key,
        )
    except datasets.exceptions.DatasetGenerationError as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from None
        raise unreadable(files, error) from None
    if is_json and any(loaded.data.column(name).null_count == len(loaded) for name in names):
        names = wanted_columns(files, header(files[0]), text_columns, label_column, label_needed)
    return loaded.select_columns(names)


def wanted_columns(
    files: list[Path], held: Sequence[str], text_columns: Sequence[str], label_column: str, label_needed: bool
) -> list[str]:
    """The wanted columns that there are; UserError where one is missing that is needed."""
    if not held:
        raise UserError(f"{files[0]} is empty")
    for column in (*text_columns, label_column):
        if column not in held and (label_needed or column != label_column):
            raise UserError(
                f"{files[0]} has no column {column!r}; it has: {', '.join(held)}. For other names: --text-columns, "
                "--label-column"
            )
    return [column for column in (*text_columns, label_column) if column in held]


def unreadable(files: list[Path], error: BaseException) -> UserError:
    """A message from the innermost cause of a loader's error."""
    while error.__cause__ is not None:
        error = error.__cause__
    which = str(files[0]) if len(files) == 1 else f"{files[0]} or another of its {len(files)} files"
    return UserError(f"can't read {which}: {str(error).splitlines()[0] if str(error) else type(error).__name__}")


def rows_of_all(files: Sequence[Path], names: Sequence[str]) -> Iterator[dict[str, str | None]]:
    """The named columns of every row of every file, of which there must be one."""
    row = None
    for path in files:
        for row in rows(path):
            yield {name: row.get(name) for name in names}
    if row is None:
        raise UserError(f"{files[0]} is empty: it has no rows")


def rows(path: Path) -> Iterator[dict[str, str | None]]:
    """The rows of one file, every value as text. Raises UserError with file and row."""
    number = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for row in json_rows(file) if path.suffix in (".json", ".jsonl") else table_rows(file, path.suffix):
                number += 1
                yield row
    except UnicodeDecodeError:
        raise not_utf8(path) from None
    except (csv.Error, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}, row {number + 1}: {error}") from None
    except OSError as error:
        raise UserError(f"can't read {path}: {error.strerror}") from None


def not_utf8(path: Path) -> UserError:
    """A message that names the line; a file is decoded in blocks, so the error itself doesn't know."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                byte = f"byte 0x{line[error.start]:02x}"
                return UserError(f"{path}, line {number} is not UTF-8 text ({byte}): save the file as UTF-8")
    return UserError(f"{path} is not UTF-8 text: save it as UTF-8")


def header(path: Path) -> list[str]:
    """The columns of a file: a table's header line, or the keys of all its JSON objects."""
    if path.suffix in (".json", ".jsonl"):
        return list(dict.fromkeys(name for row in rows(path) for name in row))  # any row may lack any key
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return next(table_reader(file, path.suffix), [])
    except UnicodeDecodeError:
        raise not_utf8(path) from None
    except (csv.Error, OSError) as error:
        raise UserError(f"can't read {path}: {error}") from None


def table_reader(file: IO[str], suffix: str) -> Iterator[list[str]]:
    """Fields of each line. A tsv knows no quotes: those in GLUE's own files are often unpaired."""
    csv.field_size_limit(MAX_FIELD)
    if suffix == ".tsv":
        return csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
    return csv.reader(file, strict=True)


def table_rows(file: IO[str], suffix: str) -> Iterator[dict[str, str | None]]:
    reader = table_reader(file, suffix)
    names = next(reader, [])
    if len(set(names)) < len(names):
        raise ValueError(f"the header names a column twice: {', '.join(names)}")
    for fields in reader:
        if not fields:  # a blank line
            continue
        if len(fields) != len(names):
            raise ValueError(f"{len(fields)} fields, but the header has {len(names)}")
        yield dict(zip(names, fields, strict=True))


def json_rows(file: IO[str]) -> Iterator[dict[str, str | None]]:
    """Objects one a line, or in one list; read piece by piece either way."""
    while (start := file.read(1)).isspace():
        pass
    file.seek(0)
    values = list_items(file) if start == "[" else (json.loads(line) for line in file if line.strip())
    for value in values:
        if not isinstance(value, dict):
            raise ValueError(f"expected an object with named columns, found {json.dumps(value)[:40]}")
        yield {name: as_text(item) for name, item in value.items()}


def list_items(file: IO[str]) -> Iterator[Any]:
    """The items of one JSON list, decoded as the file is read."""
    decoder = json.JSONDecoder()
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
                    value, at = decoder.raw_decode(text, at)
                except ValueError:
                    break  # cut off by the end of the piece, or wrong: known at the end
                wanted = "comma"
                yield value
            else:
                raise ValueError(f"not JSON: {text[at : at + 40]!r}")
    if wanted != "nothing":
        raise ValueError(f"not JSON, or cut short: {text[at : at + 40]!r}")


def as_text(value: Any) -> str | None:
    """Text as it is, anything else as JSON writes it. Raises ValueError for half a pair of surrogates."""
    text = value if isinstance(value, str) or value is None else json.dumps(value)
    if text is not None and not text.isascii():
        text.encode()
    return text
