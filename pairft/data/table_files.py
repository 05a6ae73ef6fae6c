"""Rows of csv and tsv files, every field as the text that it is."""

import csv
import functools
import itertools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

MAX_FIELD = 16 << 20  # characters in one csv field
DELIMITERS = {";": "semicolons", "\t": "tabs", "|": "vertical bars", ",": "commas"}


def table_reader(file: IO[str], suffix: str) -> Iterator[list[str]]:
    """Fields of each line. A tsv knows no quotes: those in GLUE's own files are often unpaired."""
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
            raise ValueError(f"{''.join(fields[end:]).strip()[:40]!r} stands in a column without a name")
        yield dict(zip(names, fields, strict=True))


def unnamed_columns(names: Sequence[str]) -> int:
    """How many columns at the end of a header have no name: spreadsheets write such empty ones."""
    return len(list(itertools.takewhile(lambda name: not name.strip(), reversed(names))))


@functools.cache  # once, not for each split
def say_unnamed(folder: Path, number: int) -> None:
    sys.stderr.write(f"{folder}: ignoring {number} empty column(s) without a name at the end of each table\n")


def other_delimiter(path: Path, held: Sequence[str], needed: Sequence[str]) -> str | None:
    """A message where the header has the needed columns between other delimiters than the file's name says."""
    own = DELIMITERS["\t" if path.suffix == ".tsv" else ","]
    for mark, name in DELIMITERS.items():
        if name != own and set(needed) <= {part.strip().strip('"') for field in held for part in field.split(mark)}:
            also = ", or name it .tsv" if mark == "\t" else ""
            return f"the columns of {path} are separated by {name} ({mark!r}): write it with {own}{also}"
    return None
