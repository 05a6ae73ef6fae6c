"""The files of a split in a folder: one file, shards, or a folder of shards."""

import re
from collections.abc import Sequence
from pathlib import Path

from pairft.data.formats import SUFFIXES, is_readable, suffix_of
from pairft.errors import UserError

# What save_to_disk of datasets writes beside its shards.
ABOUT = ("dataset_info.json", "state.json", "dataset_dict.json")


def split_files(folder: Path, split: str) -> list[Path]:
    """The files of a split by one of its names, sorted: train.csv, shards such as train-00000-of-00002.csv, with or
    without a hash, or every file in train/. May be empty. Raises UserError if the split exists twice or some of its
    shards are missing."""
    named, inside = named_files(folder, split), files_inside(folder / split)
    if named and inside:
        raise UserError(f"{folder} holds the {split} split more than once ({named[0].name} and {split}/): keep one")
    return named or inside


def named_files(folder: Path, split: str) -> list[Path]:
    """The files whose names begin with that of the split."""
    pattern = re.compile(rf"{split}(-\d+(-of-\d+(-[0-9a-f]+)?)?)?\.({'|'.join(map(re.escape, SUFFIXES))})")
    files = sorted(path for path in folder.iterdir() if pattern.fullmatch(path.name) and path.is_file())
    kinds = {(path.name.partition(".")[2], "-" in path.name) for path in files}
    if len(kinds) > 1:
        names = ", ".join(path.name for path in files)
        raise UserError(f"{folder} holds the {split} split more than once ({names}): keep one")
    check_totals(files, f"{folder} holds", f"the {split} split")
    return files


def files_inside(folder: Path) -> list[Path]:
    """The files of a folder that holds one split, whatever their names. Like Spark, we ignore names that begin with a
    dot or an underscore, such as _SUCCESS."""
    if not holds_files(folder):
        return []
    files = sorted(path for path in folder.iterdir() if is_readable(path) and path.is_file())
    files = [path for path in files if path.name[0] not in "._" and path.name not in ABOUT]
    kinds = sorted({suffix_of(path) for path in files})
    if len(kinds) > 1:
        raise UserError(f"{folder} holds files of several formats ({', '.join(kinds)}): keep one of them")
    check_totals(files, f"{folder} holds", "this split")
    return files


def holds_files(folder: Path) -> bool:
    """Whether it is a folder with files of our formats."""
    return folder.is_dir() and any(is_readable(path) for path in folder.iterdir())


def check_totals(files: Sequence[Path], where: str, what: str) -> None:
    """Raise UserError if there are fewer or more files than their names say."""
    totals = {found.group(1) for path in files if (found := re.search(r"-of-(\d+)[-.]", path.name))}
    if totals and {int(total) for total in totals} != {len(files)}:
        raise UserError(f"{where} {len(files)} of the {max(map(int, totals))} files of {what}")
