"""What double quotes mean in a table, found in one pass over its bytes.

A field is quoted if it begins with a quote; then it must end with one, and quotes within it are doubled. Parsers take
fields that break this rule in different ways, so files are checked before one reads them.
"""

import csv
import functools
from dataclasses import dataclass
from pathlib import Path

from pairft.data.encodings import BLOCK, opened, opened_utf8, version_of

QUOTE, NEWLINE, RETURN = b'"'[0], b"\n"[0], b"\r"[0]
MAX_FIELD = 64 << 20  # characters in one field; in a quote that is not closed lies the rest of the file


@dataclass(frozen=True)
class Quotes:
    """What a scan of a file has found."""

    opened: bool  # a field begins with a quote
    regular: bool  # every quote of the file is one of a well-formed quoted field
    lines: bool  # a quoted field contains a line end; unknown unless `regular`


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
    count, opens, regular, lines = 0, False, True, False
    with opened_utf8(path) as file:
        data, block = b"\n", file.read(BLOCK)
        while data:
            data += block or b"\n"
            codes = numpy.frombuffer(data, numpy.uint8)
            at = numpy.flatnonzero(codes[1:-1] == QUOTE) + 1
            before, after = codes[at - 1], codes[at + 1]
            opens = opens or bool(starts[before].any())
            if regular:
                odd = (count + numpy.arange(len(at))) % 2 == 1
                regular = bool(edges[numpy.where(odd, after, before)].all())
                if regular and not lines and (count % 2 or len(at)):
                    ends = numpy.flatnonzero((codes[1:-1] == NEWLINE) | (codes[1:-1] == RETURN)) + 1
                    lines = bool(((count + numpy.searchsorted(at, ends)) % 2).any())
            count += len(at)
            data, block = (data[-2:], file.read(BLOCK)) if block else (b"", b"")
    return Quotes(opens, regular and count % 2 == 0, lines)


def is_well_formed(path: Path, delimiter: str) -> bool:
    """Whether every quoted field of a file is well-formed, and every row has as many fields as the first. Python's csv
    module reads it: slower than `scan`, but exact where quotes stand within fields that are not quoted."""
    csv.field_size_limit(MAX_FIELD)
    with opened(path) as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            width = len(next(filter(None, reader), []))
            return all(len(fields) in (0, width) for fields in reader)
        except csv.Error:
            return False
