"""The bytes of files, decompressed as they are read, and what can go wrong with that."""

import contextlib
import gzip
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from pairft.data.formats import compression_of, suffix_of
from pairft.errors import UserError

KINDS = {"gz": "gzip", "zst": "Zstandard", "zip": "zip"}  # for messages


@contextlib.contextmanager
def opened_bytes(path: Path) -> Iterator[IO[bytes]]:
    """The file's content, decompressed. Within the context, errors in reading it become UserErrors that name the
    file."""
    try:
        with open_decompressed(path) as file:
            yield file
    except UserError:
        raise
    except (gzip.BadGzipFile, zlib.error, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
        raise damaged(path, error) from None
    except OSError as error:
        if (
            error.errno is None and compression_of(path) == "zst"
        ):  # pyarrow's Zstandard errors have no type of their own
            raise damaged(path, error) from None
        raise UserError(f"can't read {path}: {error.strerror or error}") from None


def open_decompressed(path: Path) -> IO[bytes]:
    kind = compression_of(path)
    if kind == "gz":
        return gzip.open(path)  # type: ignore[return-value]
    if kind == "zst":
        import pyarrow

        return pyarrow.CompressedInputStream(pyarrow.OSFile(str(path)), "zstd")  # type: ignore[no-any-return]
    return open_member(path) if kind == "zip" else path.open("rb")


def open_member(path: Path) -> IO[bytes]:
    """The one table in a zip archive. Raises UserError if there is none, or more than one."""
    archive = zipfile.ZipFile(path)
    names = [name for name in archive.namelist() if not name.endswith("/") and not is_hidden(PurePosixPath(name))]
    found = [name for name in names if name.lower().endswith(suffix_of(path))] or names[:1] * (len(names) == 1)
    if len(found) != 1:
        held = f"holds {', '.join(names[:8])}" if names else "is empty"
        raise UserError(f"{path} {held}, not one {suffix_of(path)} file: unpack it, and name the file to read")
    try:
        return archive.open(found[0])
    except RuntimeError:
        raise UserError(f"{path} needs a password: unpack it, and name the file to read") from None


def is_hidden(name: PurePosixPath) -> bool:
    """Whether a member of an archive is the system's: macOS adds __MACOSX/._NAME to each file, Windows may add its
    own."""
    return name.parts[0] == "__MACOSX" or name.name.startswith(".")


def damaged(path: Path, error: BaseException) -> UserError:
    kind = KINDS[compression_of(path) or "gz"]
    return UserError(f"{path} is damaged, or not a {kind} file ({error}): compress it again, or use the plain file")
