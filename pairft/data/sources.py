"""Where the splits come from: what --data names, and a function for each kind of it.

A source needs a train split. If it has no validation split, one is held out from train (splits.py); test is optional.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairft import disk
from pairft.config import Config
from pairft.data import builtin, files, formats, hub, shards
from pairft.data.blocks import TrainingFiles, check_streamed, check_validation, first_rows, training_files
from pairft.data.cache import cache_errors, check_cache
from pairft.data.retries import client_errors, with_retries
from pairft.errors import UserError
from pairft.output import say
from pairft.parsing import closest
from pairft.tasks import SPLITS, TASKS

if TYPE_CHECKING:
    from datasets import Dataset

Names = Mapping[str, Sequence[str]]  # of each split at the source
NAME_FILES = "name the one to use with --data train=FILE,validation=FILE, or only train to hold one out"


@cache_errors()
def read_splits(
    config: Config, text_columns: tuple[str, ...], labels: tuple[str, ...]
) -> tuple[dict[str, "Dataset"], TrainingFiles | None]:
    """train and, if there are any, validation and test, unchecked. Test comes without its labels, which may be anything
    since training doesn't score it. With --streaming, train is only the first rows of the training files, which are
    returned, too. train has the column of --group-column, too. Raises UserError if something can't be found or read."""
    import datasets

    datasets.disable_progress_bars()
    check_cache()
    name, path, known = config.data, disk.expanded(config.data), formats.names_of(TASKS[config.task])
    more = () if config.group_column is None or config.group_column in text_columns else (config.group_column,)
    if config.streaming:
        check_streamed(config.data, hub.is_hub_id(name), is_saved(path))
    if hub.is_hub_id(name):
        return wanted_only(load_from_hub(config), text_columns, labels, more), None
    for flag, value in (("--data-config", config.data_config), ("--revision", config.revision)):
        if value is not None:
            say(f"note: {flag} {value} has no effect: --data {name} is not a dataset on the Hub")
    if name == "builtin":
        splits = {split: builtin.pairs(split) for split in SPLITS}
        return wanted_only(splits, text_columns, labels, more), None
    if formats.named_paths(name) is not None and not disk.exists(path):
        found = files_by_split(name, known)
    elif not (disk.exists(path) and path.is_dir()):
        found = {"train": [checked_file(name, "--data")]}
    elif is_saved(path):
        return wanted_only(read_saved(path, known), text_columns, labels, more), None
    else:
        found = files_of_folder(path, known)
    streamed = None
    if config.streaming:
        check_validation(config.data, found)
        streamed = training_files(found.pop("train"), text_columns, labels, config.shuffle_buffer)
    splits = {
        split: files.read_files(
            paths, text_columns, labels if split != "test" else None, more=more if split == "train" else ()
        )
        for split, paths in found.items()
    }
    return splits if streamed is None else {"train": first_rows(streamed), **splits}, streamed


def checked_file(name: str, flag: str) -> Path:
    """The path of a file that can be read. Raises UserError if there is none. `flag`: what names it, for messages."""
    path = disk.expanded(name)
    try:
        is_folder, exists = path.is_dir(), path.exists()
    except OSError as error:
        shown = name if len(name) <= 100 else f"{name[:100]}…"
        raise UserError(f"{flag} {shown}: {error.strerror}; name a file ({formats.SHOWN})") from None
    if is_folder:
        raise UserError(f"{flag} {name} is a folder: name a file ({formats.SHOWN})")
    if not exists:
        also = ", or a folder with train.*" if flag == "--data" else ""
        raise UserError(f"{flag} {name} doesn't exist: name a file ({formats.SHOWN}){also}")
    if not formats.is_readable(path):
        raise UserError(f"{flag} {name}: its name should end in one of {formats.SHOWN}")
    return path


def files_by_split(name: str, known: Names) -> dict[str, list[Path]]:
    """The files of train=A,validation=B,test=C, by split. Raises UserError for an unknown split, for one that is named
    twice, and without train."""
    given = formats.named_paths(name) or []
    for split, path in given:
        if formats.split_of(split, known) is None:
            *first, last = known
            hint = closest(split, [own for names in known.values() for own in names])
            raise UserError(
                f"--data {name} names a split {split!r}: its splits are {', '.join(first)} and {last}{hint}"
            )
        if not path.strip():
            raise UserError(f"--data names no file for the {split} split: write {split}=FILE ({formats.SHOWN})")
    names = [split for split, _ in given]
    held = formats.by_split(names, known, f"--data {name}")
    if "train" not in held:
        raise UserError(f"--data {name} has no train split: add train=FILE")
    formats.check_passed_over(names, held, f"--data {name}", NAME_FILES)
    paths = dict(given)
    return {split: [checked_file(paths[own].strip(), f"--data {own}:")] for split, own in held.items()}


def files_of_folder(folder: Path, known: Names) -> dict[str, list[Path]]:
    """The files of a folder, or of data/ in it as on the Hub, by split. Raises UserError without train, and for a split
    that is there twice."""
    place, found = folder, found_in(folder, known)
    if not any(found[name] for name in known["train"]) and (folder / "data").is_dir():
        place, found = folder / "data", found_in(folder / "data", known)
    held = formats.by_split([name for name, paths in found.items() if paths], known, str(place))
    if "train" not in held:
        names = ", ".join(sorted(path.name for path in place.iterdir())[:8]) or "nothing"
        raise UserError(f"--data {place} has no train split: it needs train.* ({formats.SHOWN}); it holds: {names}")
    readable = sorted(path.name for path in place.iterdir() if formats.is_readable(path) or shards.holds_files(path))
    formats.check_passed_over(readable, held, f"--data {place}", NAME_FILES)
    return {split: found[name] for split, name in held.items()}


def found_in(folder: Path, known: Names) -> dict[str, list[Path]]:
    """The files of each name of each split."""
    return {name: shards.split_files(folder, name) for names in known.values() for name in names}


def is_saved(folder: Path) -> bool:
    """Whether save_to_disk of `datasets` has written this folder. If it has train.* files, they are what is meant."""
    written = (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()
    return written and not shards.named_files(folder, "train")


def read_saved(folder: Path, known: Names) -> dict[str, "Dataset"]:
    """The splits of a folder that save_to_disk has written: a DatasetDict's, or a Dataset as train. Raises UserError
    without train. They are copied to the cache: `datasets` would write its other files into the folder."""
    if not (folder / "dataset_dict.json").is_file():
        return {"train": read_saved_split(folder)}
    names = saved(folder / "dataset_dict.json", "splits")
    held = formats.by_split(names, known, str(folder))
    if "train" not in held:
        raise UserError(f"--data {folder} has no train split; it has: {', '.join(names)}")
    formats.check_passed_over(names, held, f"--data {folder}", other_task_or_files(names))
    return {split: read_saved_split(folder / name) for split, name in held.items()}


def read_saved_split(folder: Path) -> "Dataset":
    paths = [folder / item["filename"] for item in saved(folder / "state.json", "_data_files")]
    for path in paths:
        if not path.is_file():
            raise UserError(f"{path} is missing, which {folder / 'state.json'} names: save the dataset again")
    return files.read_typed("arrow", paths)


def saved(path: Path, key: str) -> list[Any]:
    """A list in one of the JSON files of save_to_disk."""
    try:
        return list(json.loads(path.read_text(encoding="utf-8"))[key])
    except OSError as error:
        raise UserError(f"can't read {path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path} is not what save_to_disk of datasets writes: save the dataset again") from None


def other_task_or_files(names: Collection[str]) -> str:
    """What to do about splits of these names that the task doesn't know."""
    tasks = [f"use --task {name}, or " for name, task in TASKS.items() if task.splits["validation"] in names]
    return f"{''.join(tasks[:1])}save the splits to files and name them with --data train=FILE,validation=FILE"


def load_from_hub(config: Config) -> dict[str, "Dataset"]:
    """The splits of a Hub dataset, with all columns. Raises UserError if it can't be loaded, and without train."""
    import datasets

    hub.check_revision(config)
    name = hub.canonical_data(config.data)
    data_config = hub.data_config_of(config)
    if name == "nyu-mll/glue" and data_config is None:
        raise UserError(
            f"--task {config.task} needs --data: a Hub id, a file, or a folder with train.*; or --data-config for a "
            "task of GLUE"
        )
    try:
        loaded = with_retries(lambda: datasets.load_dataset(name, data_config, revision=config.revision))
    except (
        datasets.exceptions.DatasetsError, datasets.exceptions.DatasetBuildError,
        ValueError, OSError, RuntimeError, *client_errors(),
    ) as error:  # fmt: skip
        raise hub_error(config, error) from error
    held = formats.by_split(loaded, formats.names_of(TASKS[config.task]), f"--data {config.data}")
    if "train" not in held:
        raise UserError(f"--data {config.data} has no train split; it has: {', '.join(loaded)}")
    formats.check_passed_over(loaded, held, f"--data {config.data}", other_task_or_files(loaded))
    return {split: loaded[own] for split, own in held.items()}


def hub_error(config: Config, error: BaseException) -> UserError:
    """What to do about an error of `datasets.load_dataset`."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    page = f"{hub.shown_endpoint()}/datasets/{hub.canonical_data(config.data)}"
    lines = str(error).splitlines() or [type(error).__name__]
    # `datasets` raises some of these errors from None: then only its text tells.
    if caused_by(error, GatedRepoError) or "is a gated dataset" in lines[0]:
        return UserError(f"--data {config.data} is gated: ask for access at {page}, then log in with `hf auth login`")
    if caused_by(error, RepositoryNotFoundError) or "doesn't exist on the Hub or cannot be accessed" in lines[0]:
        return UserError(
            f"--data {config.data}: no dataset that you can read at {page}. Check the name; if it is private, log in "
            "with `hf auth login`"
        )
    if caused_by(error, RevisionNotFoundError) or lines[0].startswith("Revision "):
        return UserError(
            f"--data {config.data} has no branch, tag or commit {config.revision!r}: name another with --revision "
            f"(they are listed at {page}/tree/main), or leave it out"
        )
    if "Config name is missing" in lines[0] or lines[0].startswith("BuilderConfig "):
        names = " ".join(lines[:2]).partition("[")[2].partition("]")[0].replace("'", "")
        chosen = f"no configuration {config.data_config!r}" if config.data_config else "several configurations"
        return UserError(f"--data {config.data} has {chosen}: choose one with --data-config: {names}")
    return UserError(f"can't load --data {config.data} from {hub.shown_endpoint()}: {lines[0]}")


def caused_by(error: BaseException | None, kind: type[BaseException]) -> bool:
    """Whether an error, or one that it was raised from, is of a kind."""
    while error is not None and not isinstance(error, kind):
        error = error.__cause__ or error.__context__
    return error is not None


def wanted_only(
    splits: dict[str, "Dataset"], text_columns: tuple[str, ...], labels: tuple[str, ...], more: tuple[str, ...]
) -> dict[str, "Dataset"]:
    """The splits with the wanted columns only, test without the label, and only train with `more` columns. A split that
    lacks one of them is unchanged."""
    selected = {}
    for split, rows in splits.items():
        names = [*text_columns, *(labels if split != "test" else []), *(more if split == "train" else [])]
        selected[split] = rows.select_columns(names) if set(names) <= set(rows.column_names) else rows
    return selected
