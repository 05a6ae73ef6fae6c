"""What names of files and splits mean."""

import re
from collections.abc import Iterable
from pathlib import Path

from pairft.errors import UserError

TEXT_FORMATS = ("csv", "tsv", "json", "jsonl")
SUFFIXES = ("parquet", *TEXT_FORMATS, *(f"{kind}.gz" for kind in TEXT_FORMATS))
SHOWN = f".parquet, {', '.join(f'.{kind}' for kind in TEXT_FORMATS)}; text also as .gz"  # for messages

SPLITS = ("train", "validation", "test")
NAMES = {"train": ("train",), "validation": ("validation", "dev", "valid", "val", "eval"), "test": ("test",)}


def suffix_of(path: Path) -> str:
    """The suffix by which a file is read, in lower case: ".csv" for pairs.csv and for pairs.csv.gz."""
    name = path.name.lower()
    return Path(name.removesuffix(".gz") if is_gzip(path) else name).suffix


def is_gzip(path: Path) -> bool:
    return path.name.lower().endswith(".gz")


def is_readable(path: Path) -> bool:
    """Whether the file's name ends as that of a format does."""
    return path.name.lower().endswith(tuple(f".{suffix}" for suffix in SUFFIXES))


def split_of(name: str) -> str | None:
    """The split that a name means: validation for dev, too; None for an unknown name."""
    return next((split for split, names in NAMES.items() if name in names), None)


def by_split(names: Iterable[str], where: str) -> dict[str, str]:
    """The name of each split among `names`, in the order train, validation, test; other names are left out. Raises
    UserError if two of them name one split."""
    held: dict[str, str] = {}
    for name in names:
        split = split_of(name)
        if split is not None and split in held:
            raise UserError(f"{where} has two {split} splits, {held[split]} and {name}: keep one")
        if split is not None:
            held[split] = name
    return {split: held[split] for split in SPLITS if split in held}


def named_paths(data: str) -> list[tuple[str, str]] | None:
    """The name and path of each split in train=A,validation=B,test=C; None for a --data of another form."""
    if not re.match(r"[A-Za-z_]+=", data):
        return None
    parts = re.split(r",\s*(?=[A-Za-z_]+=)", data)  # a path may hold a comma
    return [(name, path) for name, _, path in (part.partition("=") for part in parts)]
