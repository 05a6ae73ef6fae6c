"""Rows of csv and tsv files, every field as text."""

import csv
import functools
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from pairft.data.formats import suffix_of
from pairft.output import say

MAX_FIELD = 16 << 20  # characters in one csv field
DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "vertical bars", ",": "commas"}


def table_reader(file: IO[str], suffix: str) -> Iterator[list[str]]:
    """The fields of each line. Quotes have no meaning in tsv files: GLUE's own often contain unpaired ones."""
    csv.field_size_limit(MAX_FIELD)
    if suffix == ".tsv":
        return csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
    return csv.reader(file, strict=True)


def table_rows(file: IO[str], suffix: str) -> Iterator[dict[str, str]]:
    reader = table_reader(file, suffix)
    names = next(reader, [])
    end = len(names) - unnamed_columns(names)
    named = [name for name in names if name.strip()]
    if len(set(named)) < len(named):
        raise ValueError(f"the header names a column twice: {', '.join(named)}")
    for fields in reader:
        if not fields:  # a blank line
            continue
        if len(fields) != len(names):
            raise ValueError(f"{len(fields)} fields, but the header has {len(names)}")
        if end < len(names) and any(field.strip() for field in fields[end:]):
            raise ValueError(f"{''.join(fields[end:]).strip()[:40]!r} is in a column without a name")
        yield dict(zip(names, fields, strict=True))


def unnamed_columns(names: Sequence[str]) -> int:
    """The number of columns without a name at the end of a header. Spreadsheets write such columns, all empty."""
    return len(list(itertools.takewhile(lambda name: not name.strip(), reversed(names))))


@functools.cache  # once, not for each split
def say_unnamed(folder: Path, number: int) -> None:
    say(f"{folder}: ignoring {number} empty column(s) without a name at the end of each table")


def other_delimiter(path: Path, header: Sequence[str], needed: Sequence[str]) -> str | None:
    """A message if the header has the needed columns but uses another delimiter than the file's suffix says, or
    None."""
    own = DELIMITERS["\t" if suffix_of(path) == ".tsv" else ","]
    for mark, name in DELIMITERS.items():
        if name != own and set(needed) <= {part.strip().strip('"') for field in header for part in field.split(mark)}:
            also = ", or name it .tsv" if mark == "\t" else ""
            return f"the columns of {path} are separated by {name} ({mark!r}): write it with {own}{also}"
    return None
