"""Rows of Excel workbooks (.xlsx) as Arrow record batches of text, read by openpyxl.

python-calamine is faster, but gives an empty cell for an error such as #N/A, so that a broken formula would become a
missing value.
"""

import contextlib
import datetime
import functools
import itertools
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairft.data.cache import ROWS_OF_A_BATCH
from pairft.data.encodings import version_of
from pairft.data.table_layout import say_once
from pairft.errors import UserError

if TYPE_CHECKING:
    import pyarrow
    from openpyxl import Workbook
    from openpyxl.cell import Cell

HEADER_WITHIN = 20  # rows from the top of a sheet: a title may stand above the header
EXACT = 2**53  # whole numbers below are what a cell shows


@dataclass(frozen=True)
class Sheet:
    """The sheet of a workbook that is read."""

    name: str
    header: int  # its row, from 1
    columns: tuple[str, ...]  # the header's texts; "" for a column without a name


@contextlib.contextmanager
def opened_workbook(path: Path) -> Iterator["Workbook"]:
    """The workbook, whose rows are read one after the other. Raises UserError if it isn't one, or without openpyxl."""
    try:
        import openpyxl
    except ImportError:
        raise UserError(f"{path}: Excel files need openpyxl: pip install openpyxl, or save the sheet as csv") from None
    damaged = (zipfile.BadZipFile, KeyError, ValueError, EOFError, SyntaxError)  # XML's ParseError is a SyntaxError
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about styles and extensions, which aren't read
        try:
            book = openpyxl.load_workbook(path, read_only=True, data_only=True)
            try:
                yield book
            finally:
                book.close()
        except UserError:
            raise
        except damaged as error:
            raise UserError(
                f"{path} is not an Excel workbook (.xlsx), is damaged or has a password ({error}): save it again, or "
                "save the sheet as csv"
            ) from None
        except OSError as error:
            raise UserError(f"can't read {path}: {error.strerror or error}") from None


def excel_columns(path: Path, wanted: Sequence[str]) -> list[str]:
    """The columns of the sheet that is read for the `wanted` ones. Says which it is if there are several sheets."""
    return [name for name in find_sheet(path, tuple(wanted), version_of(path)).columns if name]


def excel_batches(path: Path, names: Sequence[str], label_column: str | None) -> Iterator["pyarrow.RecordBatch"]:
    """The reader of Excel files. Raises UserError if a cell holds an error."""
    import pyarrow

    sheet = find_sheet(path, tuple(name for name in names if name != label_column), version_of(path))
    for name in names:
        if sheet.columns.count(name) > 1:
            raise UserError(f"{path}, sheet {sheet.name!r}, row {sheet.header}: two columns are named {name!r}")
    places = [sheet.columns.index(name) if name in sheet.columns else None for name in names]
    with opened_workbook(path) as book:
        cells = rows_of(book, sheet.name, sheet.header + 1)
        rows = ([as_text(row, place, path, sheet.name) for place in places] for row in cells)
        while some := list(itertools.islice(rows, ROWS_OF_A_BATCH)):
            columns = [pyarrow.array(column, pyarrow.string()) for column in zip(*some, strict=True)]
            yield pyarrow.record_batch(columns, names=list(names))


@functools.lru_cache(maxsize=256)
def find_sheet(path: Path, wanted: tuple[str, ...], _version: tuple[int, ...]) -> Sheet:
    """The first sheet with the wanted columns; if there is none, the first one that isn't empty."""
    first = None
    with opened_workbook(path) as book:
        worksheets = [sheet.title for sheet in book.worksheets]
        for name in worksheets:
            for row in itertools.islice(rows_of(book, name), HEADER_WITHIN):
                columns = tuple((plain_text(cell.value) or "").strip() for cell in row)
                found = Sheet(name, row_of(row), columns)
                first = first or found
                if set(wanted) <= set(columns):
                    say_sheet(path, found, worksheets, first)
                    return found
    if first is None:
        raise UserError(f"{path} is empty")
    return first


def say_sheet(path: Path, sheet: Sheet, worksheets: Sequence[str], first: Sheet) -> None:
    if len(worksheets) > 1:
        say_once(f"{path}: reading sheet {sheet.name!r} of {len(worksheets)} ({', '.join(worksheets[:8])})")
    if sheet.header != 1 and (sheet.name != first.name or sheet.header != first.header):
        say_once(f"{path}: the header of sheet {sheet.name!r} is row {sheet.header}; what is above it is ignored")


def rows_of(book: "Workbook", name: str, start: int = 1) -> Iterator[tuple["Cell", ...]]:
    """The cells of each row of a sheet that isn't empty."""
    sheet = book[name]
    sheet.reset_dimensions()  # some programs write wrong ones
    for row in sheet.iter_rows(min_row=start):
        if any(cell.value not in (None, "") for cell in row):
            yield row


def row_of(row: tuple["Cell", ...]) -> int:
    """The number of a row in its sheet, from 1."""
    return int(next(cell.row for cell in row if cell.value is not None))


def as_text(row: tuple["Cell", ...], place: int | None, path: Path, sheet: str) -> str | None:
    """The text of a row's cell, or None if it is empty. Raises UserError if it holds an error."""
    if place is None or place >= len(row):
        return None
    cell = row[place]
    if cell.value is not None and cell.data_type == "e":
        raise UserError(
            f"{path}, sheet {sheet!r}, cell {cell.coordinate} (row {cell.row}) holds the error {cell.value}: correct "
            "it, or empty the cell"
        )
    return plain_text(cell.value)


def plain_text(value: Any) -> str | None:
    """A cell's value as text, or None if it is empty: whole numbers without a point, dates as in ISO 8601."""
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < EXACT else repr(value)
    if isinstance(value, datetime.datetime):
        return str(value.date()) if value.time() == datetime.time() else value.isoformat()
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, str) and "_x" in value:
        from openpyxl.utils.escape import unescape

        return str(unescape(value))
    return str(value)
