"""The encoding of text files: UTF-8, or what the file's own bytes show it to be."""

import codecs
import contextlib
import functools
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from pairft.data.compression import opened_bytes
from pairft.errors import UserError
from pairft.output import say

BLOCK = 1 << 20  # bytes read at once
SAMPLE = 1 << 15  # bytes from which an encoding is guessed
FEW = 8  # non-ASCII bytes; so few decide nothing
BOMS = {  # UTF-32's before UTF-16's, which is its beginning
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# What charset-normalizer may choose from. It knows many more, and takes short texts for them.
CODE_PAGES = (
    *(f"cp{number}" for number in range(1250, 1258)),
    *("mac_roman", "cp850", "iso8859_2", "koi8_r", "cp932", "gb18030", "cp949", "big5"),
)
SHOWN = {
    **{f"cp{number}": f"Windows-{number}" for number in range(1250, 1258)},
    **{"utf-16-le": "UTF-16", "utf-16-be": "UTF-16", "mac_roman": "Mac Roman", "cp850": "DOS code page 850"},
    **{"iso8859_2": "ISO 8859-2", "koi8_r": "KOI8-R", "cp932": "Shift JIS", "cp949": "Korean code page 949"},
}
BINARY = {  # how files that are no text begin
    b"PK\x03\x04": "an Excel workbook or a zip archive",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "an Excel workbook of the old kind (.xls)",
    b"%PDF-": "a PDF",
    b"PAR1": "a parquet file",
    b"ARROW1\0\0": "an Arrow file",
    b"\x1f\x8b\x08": "a gzip file",
    b"\x28\xb5\x2f\xfd": "a Zstandard file",
    b"BZh91AY&SY": "a bzip2 file",
    b"\xfd7zXZ\0": "an xz file",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"SQLite format 3\0": "an SQLite database",
}
CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")  # bytes that no text holds


@contextlib.contextmanager
def opened(path: Path) -> Iterator[IO[str]]:
    """The file's text, decompressed and decoded as it is read, with its own line ends. An encoding other than UTF-8 is
    said once. Raises UserError if the file isn't text; within the context, errors in reading it become UserErrors."""
    encoding = encoding_of(path)
    with opened_bytes(path) as file:
        try:
            yield io.TextIOWrapper(file, encoding, newline="")
        except UnicodeDecodeError:
            raise undecodable(path, encoding) from None


@contextlib.contextmanager
def opened_utf8(path: Path) -> Iterator[IO[bytes]]:
    """As `opened`, but in UTF-8 and without a byte order mark: a file to read bytes from."""
    import pyarrow

    encoding = encoding_of(path)
    with opened_bytes(path) as file:
        if encoding in ("utf-8", "utf-8-sig"):
            file.read(len(codecs.BOM_UTF8) if encoding == "utf-8-sig" else 0)
            yield file
            return
        try:
            yield pyarrow.transcoding_input_stream(pyarrow.PythonFile(file, mode="r"), encoding, "utf8")
        except UnicodeDecodeError:
            raise undecodable(path, encoding) from None


def encoding_of(path: Path) -> str:
    """The codec of a text file: "utf-8-sig" for UTF-8 with a byte order mark. An encoding other than UTF-8 is said,
    with some of the words that show it. Raises UserError if the file isn't text, or if it is damaged UTF-8."""
    return find_encoding(path, version_of(path))


def version_of(path: Path) -> tuple[int, ...]:
    """What changes when a file is written, even if its size and time of modification don't."""
    try:
        about = path.stat()
    except OSError as error:
        raise UserError(f"can't read {path}: {error.strerror}") from None
    return about.st_size, about.st_mtime_ns, about.st_ctime_ns, about.st_ino


@functools.lru_cache(maxsize=256)
def find_encoding(path: Path, _version: tuple[int, ...]) -> str:
    """`encoding_of` for a file in one version: each is read to its end once, since ASCII tells nothing."""
    with opened_bytes(path) as file:
        head = file.read(BLOCK)
        for start, what in BINARY.items():
            if head.startswith(start):
                raise not_text(path, f"{what}, not text")
        encoding = next((name for bom, name in BOMS.items() if head.startswith(bom)), None) or without_bom(head)
        if encoding is not None:
            say(f"{path} is not UTF-8; read as {SHOWN.get(encoding, encoding.upper())}")
            return encoding
        if b"\0" in re.split(rb"[\r\n]", head, maxsplit=1)[0]:
            raise not_text(path, "not text")
        decoder, ascii_so_far, block, pending = codecs.getincrementaldecoder("utf-8")(), True, head, b""
        while True:
            try:
                decoder.decode(block, final=not block)
            except UnicodeDecodeError:
                break
            ascii_so_far &= block.isascii()
            pending = decoder.getstate()[0]
            if not block:
                return "utf-8-sig" if head.startswith(codecs.BOM_UTF8) else "utf-8"
            block = file.read(BLOCK)
    return guess(path, pending + block, ascii_so_far)


def without_bom(head: bytes) -> str | None:
    """UTF-16, if NULs are every other byte of at least an eighth of the characters (ASCII's), and nothing else."""
    even, odd = head[:4096:2].count(0), head[1:4096:2].count(0)
    few = len(head[:4096]) // 16 + 1
    return "utf-16-le" if odd > few and not even else "utf-16-be" if even > few and not odd else None


def guess(path: Path, block: bytes, ascii_before: bool) -> str:
    """The encoding of a file, from the first block of it that isn't UTF-8. Raises UserError if none fits, or if the
    rest of the file is UTF-8."""
    from charset_normalizer import from_bytes

    text = block.decode("utf-8", "replace")
    wrong = text.count("\ufffd")
    if not ascii_before or sum(not letter.isascii() for letter in text) > 2 * wrong:
        raise not_utf8(path)
    sample = b""
    for line in block.splitlines():  # whole ones, or the last letter may be cut
        if not line.isascii() and len(sample) < SAMPLE:
            sample += line + b"\n"
    if len(CONTROL.findall(sample)) > len(sample) // 1000:
        raise not_text(path, "not text")
    chaos: dict[str, float] = {}
    if sum(byte > 127 for byte in sample) < FEW:
        chaos["cp1252"] = 0.0
    else:
        for match in from_bytes(sample, cp_isolation=list(CODE_PAGES), steps=8, chunk_size=1024, threshold=0.3):
            for name in (match.encoding, *match.could_be_from_charset):
                chaos.setdefault(name, match.chaos)
    if not chaos:
        raise not_utf8(path)
    close = [name for name in chaos if chaos[name] <= min(chaos.values()) + 0.03]
    # The code pages of Eastern Europe give Western text as many letters as its own does, and KOI8-R gives Hebrew some.
    encoding = "cp1252" if "cp1252" in close else next((name for name in close if name != "koi8_r"), close[0])
    words = re.findall(r"\w*[^\W\x00-\x7f]\w*", sample.decode(encoding, "replace"))
    such = f" ({', '.join(dict.fromkeys(words[:3]))})" if words else ""
    say(f"{path} is not UTF-8; read as {SHOWN.get(encoding, encoding.upper())}{such}")
    return encoding


def not_text(path: Path, what: str) -> UserError:
    return UserError(f"{path} is {what}: give it the ending of its kind, or save the table as csv, in UTF-8")


def not_utf8(path: Path) -> UserError:
    return undecodable(path, "utf-8")


def undecodable(path: Path, encoding: str) -> UserError:
    """A UserError that names the line. Python's own error doesn't, since it decodes files in blocks."""
    name = SHOWN.get(encoding, encoding.upper())
    if encoding[:4] not in ("utf-", "cp93", "cp94", "gb18", "big5") or encoding == "utf-8":  # lines end in one byte
        with opened_bytes(path) as file:
            for number, line in enumerate(io.BufferedReader(file), 1):  # type: ignore[type-var]  # zstd's has no lines
                try:
                    line.decode(encoding)
                except UnicodeDecodeError as error:
                    byte = f"byte 0x{line[error.start]:02x}"
                    return UserError(f"{path}, line {number} is not {name} text ({byte}): save the file as UTF-8")
    return UserError(f"{path} is not {name} text: save it as UTF-8")
