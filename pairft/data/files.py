"""Rows of local files, read as text, so that a sentence such as "NA" or "007" is not converted.

The csv and json loaders of `datasets` infer types chunk by chunk (numbers, dates, missing values), and their errors
name no row. So our readers (readers.py) read every value as text, and the rows are kept as an Arrow file in the cache
of `datasets`. Parquet, Arrow and Feather files have types (typed_files.py), which are kept.
"""

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairft.data.cache import ROWS_OF_A_BATCH, cache_errors, check_cache, kept_rows, of_cache, unwritable
from pairft.data.excel import excel_columns
from pairft.data.formats import suffix_of
from pairft.data.json_files import json_columns
from pairft.data.json_layouts import json_layout
from pairft.data.readers import batches_of, string_schema
from pairft.data.table_files import no_column
from pairft.data.table_layout import table_layout
from pairft.data.typed_files import TYPED, features_of, schema_of, typed_batches
from pairft.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset, Features

READER_VERSION = 4  # part of the cache key: raise it when the same file is to give other rows


@cache_errors()
def read_files(
    files: list[Path],
    text_columns: Sequence[str],
    label_column: str | Sequence[str] | None,
    label_needed: bool = True,
    more: Sequence[str] = (),
) -> "Dataset":
    """The wanted columns of files of one format, as a memory-mapped Dataset. If `label_needed` is false, the label
    column may be missing; if `label_column` is None, no label is read; it may name several columns. `more`: further
    columns, of any type.

    Text formats and Excel give text columns (None for null and for a missing key in JSON); parquet, Arrow and Feather
    keep their types. Raises UserError, which names the file and, where one is to blame, the row.
    """
    check_cache()
    labels = [label_column] if isinstance(label_column, str) else list(label_column or ())
    for label in labels:
        if label in text_columns:
            raise UserError(f"the column {label!r} is named as the label (--label-column) and in --text-columns")
    if suffix_of(files[0]) in TYPED:
        return read_columns(files, text_columns, labels, label_needed, more)
    text_columns = (*text_columns, *more)
    is_json = suffix_of(files[0]) in (".json", ".jsonl")
    names = [*text_columns, *labels]
    if is_json:  # any row may lack any key
        for path in files:
            json_layout(path, text_columns)  # says how it is read, even if the cache has the rows
    else:
        needed = [*text_columns, *(labels if label_needed else [])]
        is_excel = suffix_of(files[0]) == ".xlsx"
        columns = excel_columns(files[0], text_columns) if is_excel else table_layout(files[0], needed).columns
        names = wanted_columns(files, columns, text_columns, labels, label_needed)
    only = labels[0] if len(labels) == 1 else None
    key = hashlib.sha256(repr((content_key(files), names, only)).encode()).hexdigest()[:32]
    loaded = kept_rows(key, string_schema(names), batches_of(files, names, only))
    if is_json and any(loaded.data.column(name).null_count == len(loaded) for name in names):
        names = wanted_columns(files, json_columns(files[0], text_columns), text_columns, labels, label_needed)
    return loaded.select_columns(names)


def read_columns(
    files: list[Path], text_columns: Sequence[str], labels: Sequence[str], label_needed: bool, more: Sequence[str]
) -> "Dataset":
    """`read_files` for files with types. Other columns are not read: they may have types that `datasets` doesn't
    know."""
    with reading_errors(files):
        names = wanted_columns(files, schema_of(files[0]).names, (*text_columns, *more), labels, label_needed)
        schema = typed_features(files, names, text_columns, labels).arrow_schema
        key = hashlib.sha256(repr((content_key(files), names)).encode()).hexdigest()[:32]
        return kept_rows(key, schema, typed_batches(files, schema))


def typed_features(
    files: Sequence[Path], names: Sequence[str], text_columns: Sequence[str], labels: Sequence[str]
) -> "Features":
    """The types of the named columns in files with types. Raises UserError if a column is missing, has the wrong type
    or numbers its classes differently from file to file."""
    schemas = {path: schema_of(path) for path in files}
    for path, schema in schemas.items():
        wanted_columns([path], schema.names, names, (), True)
    return features_of(schemas, names, text_columns, labels)


def read_typed(kind: str, files: list[Path], **options: Any) -> "Dataset":
    """The rows of files that `datasets` has written, with all columns. kind: "arrow"."""
    import datasets

    with reading_errors(files), cache_errors():
        return datasets.load_dataset(
            kind,
            content_key(files),  # otherwise the cache key is path, size and time
            data_files={"rows": [str(path) for path in files]},
            split="rows",
            writer_batch_size=ROWS_OF_A_BATCH,
            **options,
        )


@contextlib.contextmanager
def reading_errors(files: list[Path]) -> Iterator[None]:
    """Within the context, what a loader raises becomes a UserError, and nothing else is logged about it."""
    import datasets
    import pyarrow

    level = datasets.logging.get_verbosity()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)  # it would log the error that is raised below
    try:
        yield
    except UserError:
        raise
    except (pyarrow.ArrowException, OSError, ValueError, datasets.exceptions.DatasetGenerationError) as error:
        raise unreadable(files, error) from None
    finally:
        datasets.logging.set_verbosity(level)


def content_key(files: Sequence[Path]) -> str:
    """A digest of the files' bytes, so that a changed file is read again even if its size and time are the same."""
    digest = hashlib.sha256(repr((READER_VERSION, len(files))).encode())
    for path in files:
        try:
            with path.open("rb") as file:
                digest.update(suffix_of(path).encode() + hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise UserError(f"can't read {path}: {error.strerror}") from None
    return digest.hexdigest()[:32]


def wanted_columns(
    files: list[Path], columns: Sequence[str], text_columns: Sequence[str], labels: Sequence[str], label_needed: bool
) -> list[str]:
    """The wanted ones among the file's `columns`. Raises UserError if one that is needed is missing."""
    if not columns:
        raise UserError(f"{files[0]} is empty")
    needed = (*text_columns, *(labels if label_needed else ()))
    missing = [column for column in needed if column not in columns]
    if missing:
        raise no_column(files[0], columns, missing[0])
    return [column for column in (*text_columns, *labels) if column in columns]


def unreadable(files: list[Path], error: BaseException) -> UserError:
    """A UserError that reports the innermost cause of a loader's error."""
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, OSError) and of_cache(error):
        return unwritable(Path(error.filename), error)
    which = str(files[0]) if len(files) == 1 else f"{files[0]} or another of its {len(files)} files"
    return UserError(f"can't read {which}: {str(error).splitlines()[0] if str(error) else type(error).__name__}")
