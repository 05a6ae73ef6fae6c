"""Folders that are there whole or not at all, know what they should hold, and are written by one process at a time."""

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

from pairft.errors import UserError

if TYPE_CHECKING:
    from filelock import BaseFileLock

CHECKSUMS = "files.json"  # in a sealed folder: {"name": {"bytes": …, "sha256": …}, …}
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # renameat2(2)


def expanded(name: str) -> Path:
    """The path, ~ being a home folder where its user is known."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        return Path(name)


def write_text(path: Path, text: str) -> None:
    """Whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    flush(part)
    os.replace(part, path)


def flush(path: Path) -> None:
    """Have a file's content, or a folder's names, on the disk and not only in the system's memory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def flush_all(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        flush(path)


def read_checksums(folder: Path) -> dict[str, dict[str, Any]]:
    """The list of a sealed folder: {"name": {"bytes": …, "sha256": …}, …}. Raises ValueError where it is damaged."""
    try:
        content = json.loads((folder / CHECKSUMS).read_text(encoding="utf-8"))
        return {str(name): {"bytes": int(f["bytes"]), "sha256": str(f["sha256"])} for name, f in content.items()}
    except FileNotFoundError:
        raise ValueError(f"{CHECKSUMS} is missing") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError(f"{CHECKSUMS} is not what was written") from None


def write_checksums(folder: Path, known: Mapping[str, dict[str, Any]] | None = None) -> None:
    """Write the folder's list of files, and flush all of it to the disk. `known`: entries of the list that are not
    computed again, of files linked from another sealed folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    content = dict(known or {})
    for path in files:
        name = path.relative_to(folder).as_posix()
        if name not in content:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()  # lets other threads run meanwhile
            content[name] = {"bytes": path.stat().st_size, "sha256": digest}
    (folder / CHECKSUMS).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    flush_all(folder)


def verify(folder: Path, below: str = "", at: Path | None = None) -> dict[str, str]:
    """What of a sealed folder isn't as it was written, by file name; {} if it is whole. `below`: only of the files
    whose names begin with this; `at`: the folder that should hold these, instead of the sealed one. Raises OSError
    where a file can't be read."""
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
    """Rename a file or folder that can't be used but may hold work: damaged-NAME, or damaged-NAME-2, …"""
    for number in itertools.count(1):
        aside = path.with_name(f"damaged-{path.name}" + (f"-{number}" if number > 1 else ""))
        if not aside.exists():
            break
    os.rename(path, aside)
    return aside


@contextlib.contextmanager
def removed_on_error(part: Path) -> Iterator[None]:
    """A folder being written leaves nothing behind where that fails."""
    try:
        yield
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


@contextlib.contextmanager
def disk_errors(place: Path) -> Iterator[None]:
    """Raise OSError where a library tells of the disk in an error of its own: safetensors in SafetensorError, and
    tokenizers in a bare Exception. Both come from Rust and end with the system's number, as in "(os error 28)"."""
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
    """Swap two names in one step, as Linux can; False where the system or the file system can't."""
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None) if os.name == "posix" else None
    names = [os.fsencode(path) for path in (one, other)]
    return renameat2 is not None and renameat2(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE) == 0


def replace_atomically(part: Path, folder: Path) -> None:
    """Give a finished folder its name, in the place of an older one. Where names can't be swapped there is a moment
    without the folder: `undo_replace` puts the older one back after a stop right then."""
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
    """Undo what a stop in the middle of `replace_atomically` has left."""
    old = folder.with_name(f".{folder.name}.old")
    if old.exists() and not folder.exists():
        os.rename(old, folder)


def follow_umask(folder: Path, like: Path) -> None:
    """Give the files of a folder the permissions of `like`, a file that open() made: some libraries write files that
    only their owner can read."""
    mode = like.stat().st_mode & 0o777
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(mode)


def copy_links(folder: Path) -> None:
    """Replace each file that is a hard link by a copy, so that a change of the other one doesn't reach it."""
    for path in [path for path in folder.rglob("*") if path.is_file() and path.stat().st_nlink > 1]:
        copy_atomically(path, path)


def copy_atomically(source: Path, path: Path) -> None:
    """Make `path` a copy of a file, whole or not at all; files that were linked to it stay as they are."""
    copy = path.with_name(f".{path.name}.copy")
    shutil.copy2(source, copy)
    os.replace(copy, path)


def link_tree(folder: Path, copy: Path) -> None:
    """A second folder of the same files, which takes no space; copied where the file system has no hard links."""

    def one(source: str, target: str) -> None:
        try:
            os.link(source, target)
        except OSError:
            shutil.copy2(source, target)

    shutil.copytree(folder, copy, copy_function=one)


def check_space(place: Path, needed: int, held: int = 0) -> None:
    """Raise UserError where the file system of `place` has no room for `needed` bytes, `held` of them there already."""
    free = shutil.disk_usage(place).free
    if needed - held > free:
        raise UserError(
            f"{place} needs up to {needed / 1e9:.2f} GB for checkpoints and models, and there are "
            f"{(free + held) / 1e9:.2f} GB: make room, or choose another --runs-dir"
        )


def remove(path: Path) -> None:
    """A file or a folder; of a link, the link alone."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def lock(folder: Path) -> "BaseFileLock":
    """Take the folder for this process, until what is returned is gone. Raises UserError where another has it."""
    from filelock import FileLock, Timeout

    taken = FileLock(folder / ".lock", timeout=0)
    try:
        taken.acquire()
    except Timeout:
        raise UserError(f"another process is writing to {folder}: wait for it, or stop it first") from None
    return taken
