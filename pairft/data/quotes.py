"""What double quotes mean in a table, found in one pass over its bytes.

A field is quoted if it begins with a quote; then it must end with one, and quotes within it are doubled. Parsers take
fields that break this rule in different ways, so files are checked before one reads them.
"""

import csv
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pairft.data.encodings import BLOCK, opened, opened_utf8, version_of

QUOTE, NEWLINE, RETURN = b'"'[0], b"\n"[0], b"\r"[0]
MAX_FIELD = 64 << 20  # characters in one field; in a quote that is not closed lies the rest of the file


@dataclass(frozen=True)
class Quotes:
    """What a scan of a file has found."""

    opened: bool  # a field begins with a quote
    regular: bool  # every quote of the file is one of a well-formed quoted field
    inside: bool  # a quoted field contains a delimiter or a line end; unknown unless `regular`
    nul: bool  # there is a NUL character


def scan(path: Path, delimiter: str) -> Quotes:
    return scan_version(path, delimiter, version_of(path))


@functools.lru_cache(maxsize=256)
def scan_version(path: Path, delimiter: str, _version: tuple[int, ...]) -> Quotes:
    """Look at every quote in a file. In a file whose quotes are all regular, a quote opens or closes a field as an even
    or an odd number of them stand before it, so its neighbours tell whether it may stand there."""
    import numpy

    edges = numpy.zeros(256, bool)
    edges[[QUOTE, NEWLINE, RETURN, ord(delimiter)]] = True
    starts = edges.copy()
    starts[QUOTE] = False
    count, opens, regular, inside, nul = 0, False, True, False, False
    with opened_utf8(path) as file:
        data, block = b"\n", file.read(BLOCK)
        while data:
            data += block or b"\n"
            nul = nul or b"\0" in data
            codes = numpy.frombuffer(data, numpy.uint8)
            at = numpy.flatnonzero(codes[1:-1] == QUOTE) + 1
            before, after = codes[at - 1], codes[at + 1]
            opens = opens or bool(starts[before].any())
            if regular:
                odd = (count + numpy.arange(len(at))) % 2 == 1
                regular = bool(edges[numpy.where(odd, after, before)].all())
                if regular and not inside and (count % 2 or len(at)):
                    ends = numpy.flatnonzero(starts[codes[1:-1]]) + 1
                    inside = bool(((count + numpy.searchsorted(at, ends)) % 2).any())
            count += len(at)
            data, block = (data[-2:], file.read(BLOCK)) if block else (b"", b"")
    return Quotes(opens, regular and count % 2 == 0, inside, nul)


def rows_if_even(path: Path, delimiter: str, quoted: bool) -> tuple[int, int] | None:
    """The number of rows, and of fields in each; None if a row has another number than the first, or if a quoted field
    is not well-formed. Python's csv module reads the file: slower than `scan`, but exact where quotes stand within
    fields that are not quoted."""
    rows, width = 0, 0
    with opened(path) as file:
        try:
            for fields in filter(None, strict_reader(file, delimiter, quoted)):  # without blank lines
                rows, width = rows + 1, width or len(fields)
                if len(fields) != width:
                    return None
        except csv.Error:
            return None
    return rows, width


def strict_reader(file: IO[str], delimiter: str, quoted: bool) -> Any:
    """Python's reader of the fields of each row; [] for a blank line."""
    csv.field_size_limit(MAX_FIELD)
    return csv.reader(file, delimiter=delimiter, strict=True, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE)
