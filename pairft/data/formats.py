"""What names of files and splits mean."""

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from pairft.errors import UserError
from pairft.output import say
from pairft.tasks import Task

TEXT_FORMATS = ("csv", "tsv", "json", "jsonl")
COMPRESSED = ("gz", "zst", "zip")  # text formats only
OTHER_FORMATS = ("parquet", "arrow", "feather", "xlsx")
SUFFIXES = (*OTHER_FORMATS, *TEXT_FORMATS, *(f"{kind}.{by}" for kind in TEXT_FORMATS for by in COMPRESSED))
SHOWN = f"{', '.join(f'.{kind}' for kind in (*OTHER_FORMATS, *TEXT_FORMATS))}; text also as .gz, .zst or .zip"

NAMES = {"train": ("train",), "validation": ("validation", "dev", "valid", "val", "eval"), "test": ("test",)}


def suffix_of(path: Path) -> str:
    """The suffix by which a file is read, in lower case: ".csv" for pairs.csv and for pairs.csv.gz."""
    return Path(path.name.lower().removesuffix(f".{compression_of(path)}")).suffix


def compression_of(path: Path) -> str | None:
    """The suffix of a compressed file without its dot, or None."""
    return next((by for by in COMPRESSED if path.name.lower().endswith(f".{by}")), None)


def is_readable(path: Path) -> bool:
    """Whether the file's name ends as that of a format does."""
    return path.name.lower().endswith(tuple(f".{suffix}" for suffix in SUFFIXES))


def names_of(task: Task) -> dict[str, tuple[str, ...]]:
    """The names of each split of a task at its source: the task's own, then others (MNLI's dev_matched, say)."""
    return {
        split: tuple(dict.fromkeys((own, *NAMES.get(split, ()), own.replace("validation_", "dev_"))))
        for split, own in task.splits.items()
    }


def split_of(name: str, known: Mapping[str, Sequence[str]]) -> str | None:
    """The split that a name means: validation for dev, too; None for an unknown name. `known`: as `names_of` has it."""
    return next((split for split, names in known.items() if name in names), None)


def by_split(names: Collection[str], known: Mapping[str, Sequence[str]], where: str) -> dict[str, str]:
    """The name of each split among `names`, in the order of `known`; other names are left out. If several name one
    split, the task's own name wins, which is said. Raises UserError if it is not among them, or is there twice."""
    held: dict[str, str] = {}
    for split, (own, *others) in known.items():
        found = [name for name in names if name == own or name in others]
        if len(found) > 1 and found.count(own) != 1:
            raise UserError(f"{where} has two {split} splits, {found[0]} and {found[1]}: keep one")
        if len(found) > 1:
            left_out = " or ".join(name for name in found if name != own)
            say(f"note: {where} has more than one {split} split: {own} is used, not {left_out}")
        if found:
            held[split] = own if own in found else found[0]
    return held


def check_passed_over(names: Collection[str], held: Collection[str], where: str, remedy: str) -> None:
    """Raise UserError if no validation split is `held`, but some of `names` begin like one: holding one out from train
    would pass over them."""
    others = [name for name in names if name.lower().startswith(NAMES["validation"])]
    if "validation" not in held and others:
        raise UserError(f"{where} has no split named validation, but {', '.join(others[:8])}: {remedy}")


def named_paths(data: str) -> list[tuple[str, str]] | None:
    """The name and path of each split in train=A,validation=B,test=C; None for a --data of another form."""
    if not re.match(r"[A-Za-z_]+=", data):
        return None
    parts = re.split(r",\s*(?=[A-Za-z_]+=)", data)  # a path may hold a comma
    return [(name, path) for name, _, path in (part.partition("=") for part in parts)]
