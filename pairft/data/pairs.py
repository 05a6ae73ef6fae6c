"""Load sentence pairs from files, the Hub or the builtin grammar, and check sentences and labels.

Rows stay in Arrow files on disk throughout. The checks are Arrow's column operations; only the distinct labels become
Python objects.
"""

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pairft.config import Config
from pairft.data.bad_rows import drop_bad_rows, is_blank
from pairft.data.blocks import TrainingFiles
from pairft.data.cache import cache_errors
from pairft.data.class_settings import balanced_weights, check_loss, one_logit_of, positive_of, target_counts
from pairft.data.findings import Finding
from pairft.data.folds import Folds, hold_out_fold
from pairft.data.kinds import check_kinds
from pairft.data.label_sets import join_columns
from pairft.data.labels import class_names
from pairft.data.meaning import Target, check_scores, has_comma, problem_of, read_labels
from pairft.data.sources import read_splits
from pairft.data.splits import hold_out, label_values
from pairft.errors import UserError
from pairft.output import say
from pairft.tasks import REGRESSION, SINGLE_LABEL, TASKS, scored_splits

if TYPE_CHECKING:
    from datasets import Dataset

DROP = ", or leave it out: --drop-bad-rows"  # for messages


@dataclass(frozen=True)
class Pairs:
    """The checked splits of one task, with the columns of the source, and the meaning of their labels."""

    splits: dict[str, "Dataset"]  # train, the scored ones and, if there is one, test
    text_columns: tuple[str, ...]
    label_column: str  # several columns of 0 and 1 are one, whose rows are lists
    problem_type: str  # REGRESSION, SINGLE_LABEL or MULTI_LABEL
    label_names: tuple[str, ...] | None  # by id; None for regression
    label_ids: dict[str, Target]  # by the label's text: the class id, the value, or the ids of a multi-label row
    by_number: bool = False  # labels may be class ids, because the task or the source numbers the classes
    positive: int | None = None  # the id of the class that F1 is about; None: macro F1, or no F1
    class_weights: tuple[float, ...] | None = None  # of the training loss, by id
    training_files: TrainingFiles | None = None  # with --streaming: train is only their first rows
    dropped: tuple[Finding, ...] = ()  # the rows that --drop-bad-rows has left out
    one_logit: int | None = None  # with --one-logit: the id of the class that the model has the logit of
    folded: "Dataset | None" = None  # with --folds: the training split, of which train and validation are parts
    held_out: bool = False  # the validation split is a part of the source's training split

    @property
    def positive_name(self) -> str | None:
        return None if self.positive is None or self.label_names is None else self.label_names[self.positive]


def load_pairs(config: Config) -> Pairs:
    """Load and check the splits that the config names. Raises UserError, which says what is wrong, where, and what to
    do."""
    task = TASKS[config.task]
    text_columns = config.text_columns or task.text_columns
    assert text_columns is not None, config.task  # checks.py has made sure
    labels = config.label_columns
    splits, training_files = read_splits(config, text_columns, labels)
    if config.folds is not None:
        splits = unscored(splits, config.data)
    where = {split: f"the {split} split of {config.data}" for split in splits}
    for split, rows in splits.items():
        group = config.group_column if split == "train" else None
        check_columns(rows, where[split], text_columns, labels, label_needed=split != "test", group=group)
    label_column = ", ".join(labels)
    splits = {split: join_columns(rows, where[split], labels, label_column) for split, rows in splits.items()}
    asked = REGRESSION if config.regression else SINGLE_LABEL if config.classification else None
    dropped: tuple[Finding, ...] = ()
    if config.drop_bad_rows:
        splits, dropped = drop_bad_rows(splits, where, text_columns, label_column, task, asked)
    # The split that says what the classes are. They don't depend on --limit, nor on the first rows of a stream.
    decisive = "validation" if config.streaming else "train"
    whole = splits[decisive]
    if config.limit is not None:
        splits = {split: rows.select(range(min(config.limit, len(rows)))) for split, rows in splits.items()}
    splits = checked_sentences(splits, where, text_columns, task.blank_allowed, "" if config.streaming else DROP)
    known = labels if len(labels) > 1 else None
    problem_type, names = problem_of(whole, where[decisive], label_column, task, asked, known)
    check_loss(config, problem_type)
    # A number may be a class id if the task or the source numbers the classes, but not if we have only sorted them.
    by_number = task.label_names is not None or class_names(whole, label_column) is not None
    labelled = ("train", *scored_splits(splits))
    scored = {split: splits[split] for split in labelled}
    comma = problem_type == REGRESSION and has_comma(list(scored.values()), config.data, label_column)
    if problem_type == REGRESSION and (task.regression or asked):
        check_scores(scored, where, label_column, task, asked, comma)
    ids: dict[str, Target] = {}
    for split in labelled:
        found = read_labels(splits[split], where[split], label_column, problem_type, names, by_number, True, comma)
        if split == decisive and len(set(found.values())) < 2:
            raise one_label(next(iter(found)), where[split], config.limit)
        ids |= found
    folded = None if config.folds is None else splits["train"]
    is_held_out = "validation" not in splits
    if is_held_out:
        splits |= held_out(config, splits["train"], text_columns, label_column, ids, problem_type, names)
    elif config.validation_share is not None:
        say(f"note: --validation-share {config.validation_share} has no effect: {config.data} has a validation split")
    positive, weights = positive_of(config, problem_type, names), None
    if config.class_weights is not None:
        weights = balanced_weights(target_counts(splits["train"], label_column, ids), len(names or ()))
    one_logit = one_logit_of(config, problem_type, names, positive)
    meaning = problem_type, names, ids, by_number, positive, weights
    return Pairs(splits, text_columns, label_column, *meaning, training_files, dropped, one_logit, folded, is_held_out)


def held_out(
    config: Config,
    rows: "Dataset",
    text_columns: Sequence[str],
    label_column: str,
    ids: Mapping[str, Target],
    problem_type: str,
    names: Sequence[str] | None,
) -> dict[str, "Dataset"]:
    """The training rows as train and validation: a part of them or, with --folds, the run's fold is held out."""
    if config.folds is None:
        share = config.validation_share
        return hold_out(rows, config.data, text_columns, label_column, ids, problem_type, names, share)
    folds = Folds(config.folds, config.fold, config.group_column, f"the train split of {config.data}")
    values, targets = label_values(rows, label_column, ids)
    return hold_out_fold(rows, folds, text_columns, values, targets, problem_type, names)


def unscored(splits: dict[str, "Dataset"], data: str) -> dict[str, "Dataset"]:
    """The splits without those that would be scored, which --folds doesn't use. A line says so."""
    left_out = scored_splits(splits)
    if left_out:
        say(
            f"--folds: the {' and '.join(left_out)} split of {data} is not used; each fold of its train split is scored"
        )
    return {split: rows for split, rows in splits.items() if split not in left_out}


def one_label(label: str, where: str, limit: int | None) -> UserError:
    """The error for training rows that all have the same label."""
    rows_seen = f"every row of {where}" + (f" up to --limit {limit}" if limit else "")
    return UserError(f"{rows_seen} has the label {label!r}: nothing to learn")


def check_columns(
    rows: "Dataset",
    where: str,
    text_columns: tuple[str, ...],
    labels: tuple[str, ...],
    label_needed: bool,
    group: str | None = None,
) -> None:
    """Raise UserError unless there are rows, the wanted columns exist, sentences are text and labels are names or
    numbers. `group`: the column of --group-column."""
    if len(rows) == 0:
        raise UserError(f"{where} is empty")
    for column in (*text_columns, *labels, *([] if group is None else [group])):
        if column not in rows.column_names and (label_needed or column not in labels):
            raise UserError(f"{where} has no column {column!r}; it has: {', '.join(rows.column_names)}")
    check_kinds(where, rows.data.schema, text_columns, labels)


def checked_sentences(
    splits: dict[str, "Dataset"],
    where: Mapping[str, str],
    text_columns: Sequence[str],
    blank_allowed: bool,
    hint: str = "",
) -> dict[str, "Dataset"]:
    """The splits, with empty text for missing sentences. Says how many rows have an empty sentence. Raises UserError if
    one has in train or a scored split or, with `blank_allowed`, if all its sentences are empty. `hint`: added to that
    message."""
    count = {}
    for split, rows in splits.items():
        allowed = len(text_columns) if split == "test" else len(text_columns) - 1 if blank_allowed else 0
        count[split] = check_sentences(rows, where[split], text_columns, allowed, hint)
    used = ", ".join(f"{number} of {where[split]}" for split, number in count.items() if number and split != "test")
    if used:
        say(f"note: rows with an empty sentence, which this task may have: {used}")
    if count.get("test"):
        say(f"warning: rows with an empty sentence: {count['test']} of {where['test']}, which training doesn't score")
    return {split: without_nulls(rows, text_columns) for split, rows in splits.items()}


def check_sentences(rows: "Dataset", where: str, text_columns: Sequence[str], allowed: int, hint: str = "") -> int:
    """How many rows have an empty sentence. Raises UserError if a row has more than `allowed` of them."""
    import pyarrow
    import pyarrow.compute as pc

    blank = [is_blank(rows.data.column(column)) for column in text_columns]
    number = functools.reduce(pc.add, [column.cast(pyarrow.int8()) for column in blank])
    bad = pc.greater(number, allowed)
    row = pc.index(bad, pyarrow.scalar(True)).as_py()
    if row >= 0:
        names = [repr(name) for name, column in zip(text_columns, blank, strict=True) if column[row].as_py()]
        what = f"{names[0]} is empty; fill it" if len(names) == 1 else f"{' and '.join(names)} are empty; fill them"
        more = pc.sum(bad).as_py() - 1
        also = f" (and {more} more such rows)" if more else ""
        raise UserError(f"{where}, row {row + 1}: {what} in or remove the row{hint}{also}")
    return int(pc.sum(pc.greater(number, 0)).as_py())


@cache_errors()
def without_nulls(rows: "Dataset", text_columns: Sequence[str]) -> "Dataset":
    """`rows` with an empty text for each missing sentence."""

    def fill(some: dict[str, list[str | None]]) -> dict[str, list[str]]:
        return {column: [text or "" for text in some[column]] for column in text_columns}

    return rows.map(fill, batched=True) if any(rows.data.column(name).null_count for name in text_columns) else rows


def fingerprint(rows: "Dataset", columns: Sequence[str]) -> str:
    """A sha256 of the columns' content, which doesn't depend on how the rows are stored."""
    digest = hashlib.sha256()
    held = [column for column in columns if column in rows.column_names]
    digest.update("".join(repr(names) for column in held if (names := class_names(rows, column))).encode())
    for some in rows.select_columns(held).with_format("arrow").iter(batch_size=10_000):
        digest.update(repr([some.column(column).to_pylist() for column in held]).encode())
    return digest.hexdigest()
