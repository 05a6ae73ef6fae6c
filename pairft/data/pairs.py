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
from pairft.data.cache import cache_errors
from pairft.data.findings import Finding
from pairft.data.kinds import check_kinds, plain_kind
from pairft.data.labels import check_scores, class_names, label_names, label_texts, near_equal, read_labels
from pairft.data.sources import read_splits
from pairft.data.splits import hold_out
from pairft.errors import UserError
from pairft.output import say
from pairft.tasks import CORRELATIONS, TASKS, metrics_of, positive_class, scored_splits

if TYPE_CHECKING:
    import pyarrow
    from datasets import Dataset


@dataclass(frozen=True)
class Pairs:
    """The checked splits of one task, with the columns of the source, and the meaning of their labels."""

    splits: dict[str, "Dataset"]  # train, the scored ones and, if there is one, test
    text_columns: tuple[str, ...]
    label_column: str
    label_names: tuple[str, ...] | None  # by id; None for regression
    label_ids: dict[str, float]  # by the label's text: the class id, or the value of a regression
    by_number: bool = False  # labels may be class ids, because the task or the source numbers the classes
    dropped: tuple[Finding, ...] = ()  # the rows that --drop-bad-rows has left out


def load_pairs(config: Config) -> Pairs:
    """Load and check the splits that the config names. Raises UserError, which says what is wrong, where, and what to
    do."""
    task = TASKS[config.task]
    text_columns = config.text_columns or task.text_columns
    assert text_columns is not None, config.task  # checks.py has made sure
    label_column = config.label_column or task.label_column
    splits = read_splits(config, text_columns, label_column)
    whole = splits["train"]  # the classes don't depend on --limit
    if config.limit is not None:
        splits = {split: rows.select(range(min(config.limit, len(rows)))) for split, rows in splits.items()}
    where = {split: f"the {split} split of {config.data}" for split in splits}
    for split, rows in splits.items():
        check_columns(rows, where[split], text_columns, label_column, label_needed=split != "test")
    splits = checked_sentences(splits, where, text_columns, task.blank_allowed)
    # A number may be a class id if the task or the source numbers the classes, but not if we have only sorted them.
    by_number = task.label_names is not None or class_names(whole, label_column) is not None
    names = None if task.regression else label_names(whole, where["train"], label_column, task.label_names)
    if task.regression:
        check_scores({split: splits[split] for split in ("train", *scored_splits(splits))}, where, label_column)
    ids: dict[str, float] = {}
    for split in ("train", *scored_splits(splits)):
        found = read_labels(splits[split], where[split], label_column, names, by_number, label_needed=True)
        if split == "train" and len(set(found.values())) < 2:
            only = next(iter(found))
            rows_seen = f"every row of {where[split]}" + (f" up to --limit {config.limit}" if config.limit else "")
            raise UserError(f"{rows_seen} has the label {only!r}: nothing to learn")
        ids |= found
    if "validation" not in splits:
        train, share = splits["train"], config.validation_share
        splits = splits | hold_out(train, config.data, text_columns, label_column, ids, names, share)
    elif config.validation_share is not None:
        say(f"note: --validation-share {config.validation_share} has no effect: {config.data} has a validation split")
    return Pairs(splits, text_columns, label_column, names, ids, by_number)


def summary(pairs: Pairs, task: str) -> str:
    """A line on how the labels were understood: the classes with their shares of the training split and the positive
    class of F1, or the range of a regression; and a warning if names differ only in spelling."""
    import pyarrow.compute as pc

    rows = pairs.splits["train"]
    warning = constant_labels(pairs, task)
    counts = pc.value_counts(label_texts(rows.data.column(pairs.label_column), class_names(rows, pairs.label_column)))
    found: dict[float, int] = {}
    for item in counts:
        value = pairs.label_ids[item["values"].as_py()]
        found[value] = found.get(value, 0) + item["counts"].as_py()
    if pairs.label_names is None:
        mean = sum(value * count for value, count in found.items()) / len(rows)
        return (
            f"{task}: a regression on {pairs.label_column!r}, from {min(found):g} to {max(found):g} (mean {mean:g}) "
            f"in {len(rows)} training examples{warning}"
        )
    names = pairs.label_names
    shares = [f"{name} {found.get(index, 0) / len(rows):.1%}" for index, name in enumerate(names)]
    shown = ", ".join(shares[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    text = f"{task}: {len(names)} classes in {len(rows)} training examples: {shown}"
    if "f1" in metrics_of(TASKS[task], names)[0]:
        positive = positive_class(names)
        text += f"; F1 is of {names[positive]}" if positive is not None else "; F1 is the mean over the classes (macro)"
    alike = "; ".join(", ".join(map(repr, group)) for group in near_equal(names))
    return text + (f"\nwarning: classes that differ only in spelling: {alike}" if alike else "") + warning


def constant_labels(pairs: Pairs, task: str) -> str:
    """A warning for each scored split whose labels are all equal, if the task's metrics include a correlation."""
    import pyarrow.compute as pc

    metrics = [name for name in metrics_of(TASKS[task], pairs.label_names)[0] if name in CORRELATIONS]
    lines = []
    for split in scored_splits(pairs.splits) if metrics else ():
        rows = pairs.splits[split]
        texts = label_texts(rows.data.column(pairs.label_column), class_names(rows, pairs.label_column))
        found = pc.unique(texts).to_pylist()
        if len({pairs.label_ids[text] for text in found}) == 1:
            lines.append(
                f"\nwarning: every label of the {split} split is {found[0]}: a correlation ({', '.join(metrics)}) is "
                "undefined there, and reported as 0"
            )
    return "".join(lines)


def check_columns(
    rows: "Dataset", where: str, text_columns: tuple[str, ...], label_column: str, label_needed: bool
) -> None:
    """Raise UserError unless there are rows, the wanted columns exist, sentences are text and labels are names or
    numbers."""
    if len(rows) == 0:
        raise UserError(f"{where} is empty")
    for column in (*text_columns, label_column):
        if column not in rows.column_names and (label_needed or column != label_column):
            raise UserError(f"{where} has no column {column!r}; it has: {', '.join(rows.column_names)}")
    check_kinds(where, rows.data.schema, text_columns, label_column)


def checked_sentences(
    splits: dict[str, "Dataset"], where: Mapping[str, str], text_columns: Sequence[str], blank_allowed: bool
) -> dict[str, "Dataset"]:
    """The splits, with empty text for missing sentences. Says how many rows have an empty sentence. Raises UserError if
    one has in train or a scored split or, with `blank_allowed`, if all its sentences are empty."""
    count = {}
    for split, rows in splits.items():
        allowed = len(text_columns) if split == "test" else len(text_columns) - 1 if blank_allowed else 0
        count[split] = check_sentences(rows, where[split], text_columns, allowed)
    used = ", ".join(f"{number} of {where[split]}" for split, number in count.items() if number and split != "test")
    if used:
        say(f"note: rows with an empty sentence, which this task may have: {used}")
    if count.get("test"):
        say(f"warning: rows with an empty sentence: {count['test']} of {where['test']}, which training doesn't score")
    return {split: without_nulls(rows, text_columns) for split, rows in splits.items()}


def check_sentences(rows: "Dataset", where: str, text_columns: Sequence[str], allowed: int) -> int:
    """How many rows have an empty sentence. Raises UserError if a row has more than `allowed` of them."""
    import pyarrow
    import pyarrow.compute as pc

    blank = [is_blank(rows, column) for column in text_columns]
    number = functools.reduce(pc.add, [column.cast(pyarrow.int8()) for column in blank])
    row = pc.index(pc.greater(number, allowed), pyarrow.scalar(True)).as_py()
    if row >= 0:
        names = [repr(name) for name, column in zip(text_columns, blank, strict=True) if column[row].as_py()]
        what = f"{names[0]} is empty; fill it" if len(names) == 1 else f"{' and '.join(names)} are empty; fill them"
        raise UserError(f"{where}, row {row + 1}: {what} in or remove the row")
    return int(pc.sum(pc.greater(number, 0)).as_py())


def is_blank(rows: "Dataset", column: str) -> "pyarrow.ChunkedArray":
    """Whether each sentence of a column is null, empty or only white space; bool [rows]."""
    import pyarrow
    import pyarrow.compute as pc

    values = rows.data.column(column)
    kind = plain_kind(values.type)
    blank = [  # a chunk at a time, since the trimmed text is held in memory
        pc.fill_null(pc.equal(pc.utf8_trim_whitespace(chunk.cast(kind)), ""), True) for chunk in values.chunks
    ]
    return pyarrow.chunked_array(blank, pyarrow.bool_())


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
