"""How csv and tsv files are written: their columns, delimiter and quotes. What is guessed is said."""

import csv
import functools
import io
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pairft.data.encodings import opened
from pairft.data.formats import suffix_of
from pairft.data.quotes import rows_if_even, scan, strict_reader
from pairft.errors import UserError
from pairft.output import say

DELIMITERS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "vertical bars"}
HEAD = 1 << 20  # characters that hold the header


@dataclass(frozen=True)
class Layout:
    """How a table is written."""

    columns: tuple[str, ...]  # the header's names without blanks around them; "" for columns without a name
    header: int  # its size in bytes, in UTF-8
    delimiter: str
    quoted: bool  # quotes enclose fields; if not, they are text
    nul: bool = False  # there is a NUL character in the file

    @property
    def end(self) -> int:
        """The index of the first column of those without a name at the end. Spreadsheets write such columns, empty."""
        return len(self.columns) - len(list(itertools.takewhile(lambda name: not name, reversed(self.columns))))


def table_layout(path: Path, needed: Sequence[str], may_be_ragged: bool = False) -> Layout:
    """The layout of a csv or tsv file whose header should name the `needed` columns. The delimiter is the suffix's, or
    another with which it does. Raises UserError if the file can't be read, or for csv if a quoted field is not
    well-formed. `may_be_ragged`: the caller takes rows with another number of fields than the header."""
    is_tsv = suffix_of(path) == ".tsv"
    own = "\t" if is_tsv else ","
    with opened(path) as file:
        head = file.read(HEAD)
    delimiter = next(
        (
            mark
            for mark in (own, *DELIMITERS)
            if any(set(needed) <= set(first_row(head, mark, quoted)[0]) for quoted in (True, False))
        ),
        own,
    )
    if delimiter != own:
        say_once(f"{path}: columns are separated by {DELIMITERS[delimiter]} ({delimiter!r})")
    quoted = tsv_is_quoted(path, delimiter) if is_tsv else csv_is_quoted(path, delimiter, may_be_ragged)
    columns, header = first_row(head, delimiter, quoted)
    layout = Layout(tuple(columns), header, delimiter, quoted, scan(path, delimiter).nul)
    if layout.end and layout.end < len(columns):
        number = len(columns) - layout.end
        say_once(f"{path.parent}: ignoring {number} empty column(s) without a name at the end of each table")
    if layout.end and not columns[0]:
        say_once(f"{path.parent}: ignoring the first column of each table, which has no name (an index)")
    return layout


def first_row(head: str, delimiter: str, quoted: bool) -> tuple[list[str], int]:
    """The names in the first row that isn't blank, and where that row ends, in bytes of UTF-8. No names if its quotes
    are wrong."""
    file = io.StringIO(head, newline="")
    reader = strict_reader(file, delimiter, quoted)
    names: list[str]
    try:
        names = next((row for row in reader if any(name.strip() for name in row)), [])
    except csv.Error:
        return [], 0
    return [name.strip() for name in names], len(head[: file.tell()].encode())


def csv_is_quoted(path: Path, delimiter: str, may_be_ragged: bool) -> bool:
    """Whether a field of a csv file is quoted. Raises UserError if one is not well-formed."""
    found = scan(path, delimiter)
    if found.opened and not found.regular and rows_if_even(path, delimiter, quoted=True) is None:
        check_rows(path, delimiter, quoted=True, may_be_ragged=may_be_ragged)
    return found.opened


def tsv_is_quoted(path: Path, delimiter: str) -> bool:
    """Whether all fields of a tsv file that begin with a quote are well-formed quoted fields. If not, quotes are text:
    GLUE's own files have unpaired ones. Some of them may look like a pair around a delimiter or a line end."""
    found = scan(path, delimiter)
    if not found.opened:
        return False
    quoted = found.regular
    if found.inside or not quoted:
        rows = rows_if_even(path, delimiter, quoted=True)
        # A single column can't tell; with more, rows that are even as text, too, and others, are text.
        quoted = rows is not None and (rows[1] == 1 or rows_if_even(path, delimiter, quoted=False) in (None, rows))
    what = "enclose fields: each that begins with one ends with one" if quoted else "are text: not all enclose a field"
    say_once(f'{path}: double quotes (") {what}')
    return quoted


def check_rows(path: Path, delimiter: str, quoted: bool, may_be_ragged: bool = False) -> None:
    """Raise UserError for the first row that isn't well-formed or, unless it `may_be_ragged`, has another number of
    fields than the header."""
    width, row, line = 0, 0, 1  # of the header; of the row that is read next
    with opened(path) as file:
        reader = strict_reader(file, delimiter, quoted)
        try:
            for fields in reader:
                if width and fields:
                    row += 1
                    if len(fields) != width and not may_be_ragged:
                        raise wrong_number(f"{path}, row {row} (line {line})", fields, width, delimiter, quoted)
                elif any(name.strip() for name in fields):
                    width = len(fields)
                line = reader.line_num + 1
        except csv.Error as error:
            where = f"row {row + 1} (line {line})" if width else "the header"
            what = "text follows a closing quote" if "expected after" in str(error) else "a quote is not closed"
            raise UserError(
                f'{path}, {where}: {what}: a field that begins with " must end with one, and quotes in it are doubled'
            ) from None


def wrong_number(where: str, fields: Sequence[str], width: int, delimiter: str, quoted: bool) -> UserError:
    """The error for a row with more or fewer fields than the header."""
    remedy = "add the missing ones, or remove the row"
    if len(fields) > width:
        marks = DELIMITERS[delimiter]
        remedy = (
            f"write {marks} in a field as blanks"
            if not quoted and delimiter == "\t"
            else f"put a field with {marks} in double quotes"
        )
    shown = delimiter.join(fields)
    return UserError(
        f"{where}: {len(fields)} fields, but the header has {width} ({shown[:60]!r}{'…' * (len(shown) > 60)}): {remedy}"
    )


@functools.cache  # once, not for each split or each time that a file is opened
def say_once(text: str) -> None:
    say(text)
