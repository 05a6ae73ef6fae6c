"""From a file, the Hub or the builtin grammar to checked sentences and labels, and on to tokens.

Rows stay in Arrow files on disk throughout: checks are Arrow's own column operations, and only the distinct labels
become Python objects.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pairft import builtin, files, hub
from pairft.config import Config
from pairft.errors import UserError
from pairft.tasks import TASKS

if TYPE_CHECKING:
    import pyarrow
    from datasets import Dataset


LABEL_KINDS = ("int", "uint", "float", "bool", "string", "large_string", "null")


@dataclass(frozen=True)
class Data:
    """Checked splits of one task, as they stand at the source, and how to read their labels."""

    splits: dict[str, "Dataset"]  # train, validation and, where there is one, test
    text_columns: tuple[str, ...]
    label_column: str
    label_names: tuple[str, ...] | None  # by id; None for regression
    label_ids: dict[str, float]  # what the label column says, as text: the class id, or the value to regress on


def load(config: Config) -> Data:
    """The checked splits that a config asks for. Raises UserError naming what is wrong, where, and the remedy."""
    task = TASKS[config.task]
    text_columns = config.text_columns or task.text_columns
    assert text_columns is not None, config.task  # config.check asks for them
    label_column = config.label_column or task.label_column
    splits = read_splits(config, text_columns, label_column)
    for split, rows in splits.items():
        check_rows(rows, f"the {split} part of {config.data}", text_columns, label_column, label_needed=split != "test")
    # A number stands for a class where the task or the source numbers them, not where the order is the alphabet's.
    by_number = task.label_names is not None or hasattr(splits["train"].features[label_column], "names")
    names = label_names(splits["train"], f"the train part of {config.data}", label_column, task.label_names)
    ids: dict[str, float] = {}
    for split, rows in splits.items():
        found = read_labels(
            rows, f"the {split} part of {config.data}", label_column, names, by_number, label_needed=split != "test"
        )
        if split == "train" and len(set(found.values())) < 2:
            only = next(iter(found))
            raise UserError(f"every row of the train part of {config.data} has the label {only!r}: nothing to learn")
        ids |= found
    return Data(splits, text_columns, label_column, names, ids)


def read_splits(config: Config, text_columns: tuple[str, ...], label_column: str) -> dict[str, "Dataset"]:
    """train, validation and, where there is one, test, as they stand at the source."""
    import datasets

    datasets.disable_progress_bars()
    if config.data == "builtin":
        return {split: builtin.pairs(split) for split in ("train", "validation", "test")}
    if not hub.is_hub_id(config.data):
        folder = Path(config.data).expanduser()
        if not folder.is_dir():
            what = "is a file" if folder.exists() else "doesn't exist"
            wanted = f"name a folder with train.* and validation.* ({', '.join(files.SUFFIXES)})"
            raise UserError(f"--data {config.data} {what}: {wanted}")
        found = {split: files.split_files(folder, split) for split in ("train", "validation", "test")}
        for split in ("train", "validation"):
            if not found[split]:
                held = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
                raise UserError(
                    f"--data {config.data} has no {split} part: it needs {split}.* ({', '.join(files.SUFFIXES)}); "
                    f"it holds: {held}"
                )
        return {
            split: files.read_files(paths, text_columns, label_column, label_needed=split != "test")
            for split, paths in found.items()
            if paths
        }
    name = hub.canonical_data(config.data)
    glue_config = TASKS[config.task].glue_config if name == "nyu-mll/glue" else None
    if name == "nyu-mll/glue" and glue_config is None:
        raise UserError(f"--task {config.task} needs --data: a Hub id, or a local folder with train.* and validation.*")
    try:
        loaded = hub.patiently(lambda: datasets.load_dataset(name, glue_config))
    except (
        datasets.exceptions.DatasetsError, datasets.exceptions.DatasetBuildError,
        ValueError, OSError, RuntimeError, *hub.client_errors(),
    ) as error:  # fmt: skip
        cause = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"can't load --data {config.data} from {hub.shown_endpoint()}: {cause}") from error
    for split in ("train", "validation"):
        if split not in loaded:
            raise UserError(f"--data {config.data} has no {split} part; it has: {', '.join(loaded)}")
    return {split: loaded[split] for split in ("train", "validation", "test") if split in loaded}


def check_rows(
    rows: "Dataset", where: str, text_columns: tuple[str, ...], label_column: str, label_needed: bool
) -> None:
    """Raise UserError unless there are rows, every wanted column is there, labels are names or numbers, and each
    sentence is text that says something."""
    import pyarrow
    import pyarrow.compute as pc

    if len(rows) == 0:
        raise UserError(f"{where} is empty")
    for column in (*text_columns, label_column):
        if column not in rows.column_names and (label_needed or column != label_column):
            raise UserError(f"{where} has no column {column!r}; it has: {', '.join(rows.column_names)}")
    if label_column in rows.column_names:
        kind = getattr(rows.features[label_column], "dtype", "nested values")
        if not kind.startswith(LABEL_KINDS):
            raise UserError(f"the label column {label_column!r} of {where} holds {kind}, not names or numbers")
    for column in text_columns:
        kind = getattr(rows.features[column], "dtype", "nested values")
        if kind not in ("string", "large_string"):
            raise UserError(f"the column {column!r} of {where} holds {kind}, not text")
        first = 1
        for chunk in rows.data.column(column).chunks:  # one after another: the trimmed text is in memory
            blank = pc.fill_null(pc.equal(pc.utf8_trim_whitespace(chunk), ""), True)
            row = pc.index(blank, pyarrow.scalar(True)).as_py()
            if row >= 0:
                raise UserError(f"{where}, row {first + row}: {column!r} is empty; fill it in or remove the row")
            first += len(chunk)


def fingerprint(rows: "Dataset", columns: Sequence[str]) -> str:
    """A digest of the columns' content; the same for the same rows wherever they are kept."""
    digest = hashlib.sha256()
    held = [column for column in columns if column in rows.column_names]
    for some in rows.select_columns(held).with_format("arrow").iter(batch_size=10_000):
        digest.update(repr([some.column(column).to_pylist() for column in held]).encode())
    return digest.hexdigest()


def label_texts(values: "pyarrow.ChunkedArray") -> "pyarrow.ChunkedArray":
    """Labels as text, null where there is none: the number 1.0 as "1"."""
    import pyarrow
    import pyarrow.compute as pc

    texts = pc.utf8_trim_whitespace(values.cast(pyarrow.string()))
    return pc.if_else(pc.equal(texts, ""), pyarrow.scalar(None, pyarrow.string()), texts)


def as_number(text: str) -> float | None:
    """A finite number, or None."""
    try:
        return float(text) if math.isfinite(float(text)) else None
    except ValueError:
        return None


def label_names(rows: "Dataset", where: str, column: str, known: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """The classes' names by id: the task's, the source's own, or the distinct values of the training part, numbers in
    their order and names in the alphabet's. None for regression: values that are numbers, not all of them whole."""
    import pyarrow.compute as pc

    given = known if known is not None else getattr(rows.features[column], "names", None)
    if given is not None:
        return tuple(given)
    values = sorted(
        value for value in pc.unique(label_texts(rows.data.column(column))).to_pylist() if value is not None
    )
    if not values:
        raise UserError(f"the label column {column!r} of {where} is empty")
    numbers = [as_number(value) for value in values]
    finite = [number for number in numbers if number is not None]
    if len(finite) == len(values):
        if any(number != int(number) for number in finite):
            return None
        return tuple(str(number) for number in sorted({int(number) for number in finite}))
    if finite:
        odd = values[numbers.index(None)]
        raise UserError(f"the label column {column!r} of {where} mixes numbers and names: {odd!r} is no finite number")
    return tuple(values)


def read_labels(
    rows: "Dataset", where: str, column: str, names: tuple[str, ...] | None, by_number: bool, label_needed: bool
) -> dict[str, float]:
    """The id (regression: the value) of each text that the label column holds. Raises UserError for a label that is
    unknown or, where labels are needed, missing: none, or -1 where that is no class."""
    import pyarrow
    import pyarrow.compute as pc

    if column not in rows.column_names:  # check_rows has seen whether it may be so
        return {}
    own = getattr(rows.features[column], "names", None)
    if own is not None and names is not None and own not in (list(names), [str(index) for index in range(len(names))]):
        raise UserError(
            f"the label column {column!r} of {where} numbers its classes as {', '.join(own)}, but they should be "
            f"{', '.join(names)}, in this order"
        )
    texts = label_texts(rows.data.column(column))
    ids = {}
    for text in pc.unique(texts).to_pylist():
        value = label_id(text, names, by_number)
        unlabelled = text is None or (as_number(text) == -1 and (names is None or value is None))
        if unlabelled and not label_needed:
            continue
        if value is not None:
            ids[text] = value
        else:
            alike = pc.is_null(texts) if text is None else pc.fill_null(pc.equal(texts, text), False)
            row = pc.index(alike, pyarrow.scalar(True)).as_py() + 1
            what = "has no label" if text is None else f"has the label {text!r}"
            wanted = "a finite number" if names is None else f"one of: {', '.join(names[:20])}"
            raise UserError(f"{where}, row {row} {what} in the column {column!r}; it should be {wanted}")
    return ids


def label_id(text: str | None, names: tuple[str, ...] | None, by_number: bool) -> float | None:
    """The id of a label given by name or, with `by_number`, by id; regression: its value. None if it is neither."""
    if text is None:
        return None
    number = as_number(text)
    if names is None:
        return number
    if text in names:
        return names.index(text)
    if number is None or number != int(number):
        return None
    if str(int(number)) in names:  # 1.0 for 1
        return names.index(str(int(number)))
    return int(number) if by_number and 0 <= number < len(names) and not any(map(as_number, names)) else None
