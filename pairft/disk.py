"""Folders that are complete or absent, list their files with checksums, and are written by one process at a time."""

import contextlib
import ctypes
import hashlib
import itertools
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from pairft.errors import DiskError, UserError

if TYPE_CHECKING:
    from filelock import BaseFileLock

CHECKSUMS = "files.json"  # the list of a folder's files: {"name": {"bytes": …, "sha256": …}, …}
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # renameat2(2)


def expanded(name: str) -> Path:
    """The path with ~ expanded, if its user is known."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        return Path(name)


def exists(path: Path) -> bool:
    """Whether the path exists. False for one that can't, such as a name too long for the file system."""
    try:
        return path.exists()
    except OSError:
        return False


def write_text(path: Path, text: str) -> None:
    """Write a text file completely or not at all."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        flush(part)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def flush(path: Path) -> None:
    """Flush a file's content, or a folder's entries, from the page cache to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_all(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        flush(path)


def read_checksums(folder: Path) -> dict[str, dict[str, Any]]:
    """A folder's list of files: {"name": {"bytes": …, "sha256": …}, …}. Raises ValueError if it is missing or
    damaged."""
    try:
        content = json.loads((folder / CHECKSUMS).read_text(encoding="utf-8"))
        return {str(name): {"bytes": int(f["bytes"]), "sha256": str(f["sha256"])} for name, f in content.items()}
    except FileNotFoundError:
        raise ValueError(f"{CHECKSUMS} is missing") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{CHECKSUMS} is not what was written") from None


def write_checksums(folder: Path, known: Mapping[str, dict[str, Any]] | None = None) -> None:
    """Write the folder's list of files with their checksums, and flush the folder to the disk. `known`: entries that
    need not be computed, for files linked from another folder that has a list."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    content = dict(known or {})
    for path in files:
        name = path.relative_to(folder).as_posix()
        if name not in content:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()  # releases the GIL
            content[name] = {"bytes": path.stat().st_size, "sha256": digest}
    (folder / CHECKSUMS).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    flush_all(folder)


def verify(folder: Path, below: str = "", at: Path | None = None) -> dict[str, str]:
    """Compare a folder with its list of files. Returns the problems by file name, {} if there are none. `below`: check
    only files whose names begin with this; `at`: look for those files in this folder instead. Raises OSError if a file
    can't be read."""
    try:
        wanted = read_checksums(folder)
    except ValueError as error:
        return {CHECKSUMS: str(error)}
    found = {}
    for name, listed in wanted.items():
        if not name.startswith(below):
            continue
        path = folder / name if at is None else at / name.removeprefix(below)
        if ".." in PurePosixPath(name).parts or PurePosixPath(name).is_absolute() or path.is_symlink():
            return {CHECKSUMS: f"{CHECKSUMS} leads out of the folder"}
        if not path.is_file():
            found[name] = f"{name} is missing"
        elif path.stat().st_size != listed["bytes"]:
            found[name] = f"{name} has {path.stat().st_size} bytes instead of {listed['bytes']}"
        else:
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != listed["sha256"]:
                    found[name] = f"{name} has changed since it was written"
    return found


def set_aside(path: Path) -> Path:
    """Rename a damaged file or folder, which may still hold work, to damaged-NAME, damaged-NAME-2, …"""
    for number in itertools.count(1):
        aside = path.with_name(f"damaged-{path.name}" + (f"-{number}" if number > 1 else ""))
        if not aside.exists():
            break
    os.rename(path, aside)
    return aside


@contextlib.contextmanager
def removed_on_error(part: Path) -> Iterator[None]:
    """Remove a partly written folder if writing it fails."""
    try:
        yield
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


@contextlib.contextmanager
def disk_errors(place: Path) -> Iterator[None]:
    """Raise OSError if a library reports a disk error as an error of its own: safetensors as SafetensorError,
    tokenizers as a bare Exception. Both come from Rust, and their messages end with the errno, as in "(os error
    28)"."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        found = re.search(r"\(os error (\d+)\)", str(error))
        if found is None:
            raise
        raise OSError(int(found[1]), os.strerror(int(found[1])), str(place)) from error


def exchange(one: Path, other: Path) -> bool:
    """Swap two names atomically, as Linux can. Returns False if the system or the file system can't."""
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None) if os.name == "posix" else None
    names = [os.fsencode(path) for path in (one, other)]
    return renameat2 is not None and renameat2(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE) == 0


def replace_atomically(part: Path, folder: Path) -> None:
    """Rename the finished folder `part` to `folder`, replacing an older one. If names can't be swapped, the folder is
    missing for a moment: if the process stops right then, `undo_replace` restores the older one."""
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if not folder.exists():
        os.rename(part, folder)
    elif exchange(part, folder):
        remove(part)
    else:
        os.rename(folder, old)
        os.rename(part, folder)
        remove(old)


def undo_replace(folder: Path) -> None:
    """Restore the older folder after a stop in the middle of `replace_atomically`."""
    old = folder.with_name(f".{folder.name}.old")
    if old.exists() and not folder.exists():
        os.rename(old, folder)


def follow_umask(folder: Path, like: Path) -> None:
    """Give the files of a folder the permissions of `like`, a file created by open(): some libraries write files that
    only their owner can read."""
    mode = like.stat().st_mode & 0o777
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(mode)


def copy_links(folder: Path) -> None:
    """Replace each hard link by a copy, so that a change to the other file doesn't reach it."""
    for path in [path for path in folder.rglob("*") if path.is_file() and path.stat().st_nlink > 1]:
        copy_atomically(path, path)


def copy_atomically(source: Path, path: Path) -> None:
    """Make `path` a copy of `source`, completely or not at all. Files that were linked to `path` are not changed."""
    copy = path.with_name(f".{path.name}.copy")
    shutil.copy2(source, copy)
    os.replace(copy, path)


def link_tree(folder: Path, copy: Path) -> None:
    """Make `copy` a folder of hard links to the same files, or of copies if the file system has no hard links."""

    def one(source: str, target: str) -> None:
        try:
            os.link(source, target)
        except OSError:
            shutil.copy2(source, target)

    shutil.copytree(folder, copy, copy_function=one)


def check_space(place: Path, needed: int, held: int = 0) -> None:
    """Raise DiskError if the file system of `place` has no room for `needed` bytes. `held`: those used already."""
    free = shutil.disk_usage(place).free
    if needed - held > free:
        raise DiskError(
            f"{place} needs up to {needed / 1e9:.2f} GB for checkpoints and models, and there are "
            f"{(free + held) / 1e9:.2f} GB: make room, or choose another --runs-dir"
        )


def remove(path: Path) -> None:
    """Remove a file, a folder or a link (but not what the link points to)."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def lock(folder: Path) -> "BaseFileLock":
    """Lock the folder for this process, as long as the returned lock exists. Raises UserError if another has locked
    it."""
    from filelock import FileLock, Timeout

    taken = FileLock(folder / ".lock", timeout=0)
    try:
        taken.acquire()
    except Timeout:
        raise UserError(f"another process is writing to {folder}: wait for it, or stop it first") from None
    return taken
