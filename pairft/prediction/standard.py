"""Standard input as a file of its own: the readers go over a file several times."""

import contextlib
import gzip
import io
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pairft.errors import UserError

HEAD = 1 << 16  # bytes from which the format is guessed
MAGIC = {b"PAR1": "parquet", b"ARROW1\0\0": "arrow", b"PK\x03\x04": "xlsx"}
GZIP = b"\x1f\x8b\x08"


@contextlib.contextmanager
def spooled(kind: str | None) -> Iterator[Path]:
    """Within the context, a file with what standard input holds. `kind`: its format; None: guessed from its beginning.
    Messages about the file name standard input. Raises UserError if there is nothing."""
    if sys.stdin is None:
        raise UserError("--data -: standard input is closed")
    stdin = io.BufferedReader(sys.stdin.buffer.raw, HEAD) if hasattr(sys.stdin.buffer, "raw") else sys.stdin.buffer
    head = stdin.read(HEAD)
    if not head.strip():
        raise UserError("--data -: standard input is empty")
    with tempfile.TemporaryDirectory(prefix="pairft-") as folder:
        path = Path(folder) / f"standard-input.{kind or guessed(head)}{'.gz' * head.startswith(GZIP)}"
        with path.open("wb") as file:
            file.write(head)
            shutil.copyfileobj(stdin, file, 1 << 20)
        try:
            yield path
        except UserError as error:
            raise UserError(str(error).replace(str(path), "standard input")) from error


def guessed(head: bytes) -> str:
    """The format of a file that begins so: JSON begins with a bracket, and what is nothing else is a table."""
    if head.startswith(GZIP):
        with contextlib.suppress(EOFError, OSError):  # it is cut
            head = gzip.GzipFile(fileobj=io.BytesIO(head)).read1(HEAD)
    for start, kind in MAGIC.items():
        if head.startswith(start):
            return kind
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    return "jsonl" if text.startswith(b"{") else "json" if text.startswith(b"[") else "csv"
