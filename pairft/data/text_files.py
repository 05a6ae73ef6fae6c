"""Rows of csv, tsv, json and jsonl files as text, plain or gzipped."""

import csv
import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from pairft.data.formats import is_gzip, suffix_of
from pairft.data.json_files import as_text, json_rows
from pairft.data.table_files import table_reader, table_rows
from pairft.errors import UserError

DAMAGED = (gzip.BadGzipFile, zlib.error, EOFError)  # raised while a gzip file is read


def opened(path: Path) -> IO[str]:
    """The file's text, decompressed as it is read."""
    if is_gzip(path):
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def check_gzip(path: Path) -> None:
    """Raise UserError if a gzip file is damaged. What is read of it before that shows may be garbage, which is an error
    of another kind."""
    if is_gzip(path):
        try:
            with gzip.open(path) as file:
                while file.read(1 << 20):
                    pass
        except DAMAGED as error:
            raise damaged(path, error) from None


def damaged(path: Path, error: BaseException) -> UserError:
    return UserError(f"{path} is damaged, or not a gzip file ({error}): compress it again, or use the plain file")


def rows(path: Path, names: Sequence[str], label_column: str | None) -> Iterator[dict[str, Any]]:
    """The named columns of each row of one file, as text. Raises UserError with file and row."""
    number = 0
    try:
        with opened(path) as file:
            if suffix_of(path) in (".json", ".jsonl"):
                for item in json_rows(file, [name for name in names if name != label_column]):
                    yield {name: as_text(item.get(name), name, name == label_column) for name in names}
                    number += 1
            else:
                for fields in table_rows(file, suffix_of(path)):
                    yield {name: fields.get(name) for name in names}
                    number += 1
    except UnicodeDecodeError:
        raise not_utf8(path) from None
    except json.JSONDecodeError as error:  # the file is a list
        check_gzip(path)
        raise UserError(f"{path} is not JSON: {error}") from None
    except (csv.Error, ValueError) as error:
        if isinstance(error, UserError):
            raise
        check_gzip(path)
        raise UserError(f"{path}, row {number + 1}: {error}") from None
    except DAMAGED as error:
        raise damaged(path, error) from None
    except OSError as error:
        raise UserError(f"can't read {path}: {error.strerror}") from None


def not_utf8(path: Path) -> UserError:
    """A UserError that names the line. Python's own error doesn't, since it decodes files in blocks."""
    check_gzip(path)
    with gzip.open(path) if is_gzip(path) else path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                byte = f"byte 0x{line[error.start]:02x}"
                return UserError(f"{path}, line {number} is not UTF-8 text ({byte}): save the file as UTF-8")
    return UserError(f"{path} is not UTF-8 text: save it as UTF-8")


def header(path: Path) -> list[str]:
    """The columns of a file: the header of a table, or every key in its JSON objects."""
    try:
        with opened(path) as file:
            if suffix_of(path) in (".json", ".jsonl"):
                return list(dict.fromkeys(name for item in json_rows(file) for name in item))
            return next(table_reader(file, suffix_of(path)), [])
    except UnicodeDecodeError:
        raise not_utf8(path) from None
    except DAMAGED as error:
        raise damaged(path, error) from None
    except (csv.Error, OSError) as error:
        raise UserError(f"can't read {path}: {error}") from None
