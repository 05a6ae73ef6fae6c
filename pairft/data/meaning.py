"""What a label column means: the problem type, the class names, and the class ids or the values of its labels."""

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

from pairft.data.gold_labels import NO_GOLD_LABEL, is_unlabelled, without_gold_label
from pairft.data.kinds import is_list
from pairft.data.label_sets import are_lists, set_ids, set_names
from pairft.data.labels import (
    DECIMAL_COMMA,
    as_number,
    class_names,
    decimal_comma,
    is_whole,
    label_counts,
    label_texts,
    numbers_of,
    sorted_names,
)
from pairft.data.row_numbers import row_numbers
from pairft.errors import UserError
from pairft.output import say
from pairft.tasks import MULTI_LABEL, REGRESSION, SINGLE_LABEL, Task

if TYPE_CHECKING:
    from datasets import Dataset

Target = float | tuple[int, ...]  # a class id, the value of a regression, or the class ids of a multi-label row
MOST_CLASSES = 20  # whole numbers with more distinct values may be scores: the user says what they are


def problem_of(
    rows: "Dataset", where: str, column: str, task: Task, asked: str | None, known: tuple[str, ...] | None = None
) -> tuple[str, tuple[str, ...] | None]:
    """The problem type, and the class names by id (None for regression), from the whole training split.

    Class names are those of the task, those of the source, or the distinct labels, sorted by number, then by text. If
    any label is fractional, the task is regression. If the labels are lists, it is multi-label. `asked`: the problem
    type that a flag asks for. `known`: the class names if the source is a column for each of them.

    Raises UserError if labels look like missing ones, or could be scores as well as classes.
    """
    if asked == REGRESSION or (task.regression and asked is None):
        return REGRESSION, None
    if task.label_names is not None:
        return SINGLE_LABEL, task.label_names
    counts, own = label_counts(rows, column), class_names(rows, column)
    if not counts and own is None:
        raise UserError(f"the label column {column!r} of {where} is empty")
    typed = is_list(rows.data.column(column).type)
    if typed and asked is not None:
        raise UserError(f"the label column {column!r} of {where} holds lists: leave out --classification")
    if typed or (asked is None and own is None and are_lists(counts, where, column)):
        names = known or tuple(own or set_names(counts))
        if not names:
            raise UserError(f"the label column {column!r} of {where} has only empty lists: nothing to learn")
        return MULTI_LABEL, names
    if own is not None:
        return SINGLE_LABEL, tuple(own)
    numbers = numbers_of(counts, decimal_comma(counts) is not None)
    check_values(counts, numbers, where, column, asked)
    if asked is None and is_regression(counts, numbers, where, column):
        return REGRESSION, None
    return SINGLE_LABEL, sorted_names(counts)


def is_regression(counts: Mapping[str, int], numbers: Mapping[str, Decimal], where: str, column: str) -> bool:
    """Whether any label is fractional. Raises UserError if numbers and names are mixed, and for so many whole numbers
    that they may be scores."""
    others = counts.keys() - numbers.keys()
    if others and numbers:
        raise UserError(
            f"the label column {column!r} of {where} mixes numbers and names: {min(others)!r} is not a finite number; "
            "correct it or, if all of them are classes, add --classification"
        )
    if any(not is_whole(number) for number in numbers.values()):
        return True
    if len(numbers) > MOST_CLASSES:
        low, high = min(numbers.values()), max(numbers.values())
        raise UserError(
            f"the label column {column!r} of {where} holds {len(numbers)} different whole numbers from {low} to "
            f"{high}: scores or classes? add --regression or --classification"
        )
    return False


def check_scores(
    splits: Mapping[str, "Dataset"], where: Mapping[str, str], column: str, task: Task, asked: str | None, comma: bool
) -> None:
    """Raise UserError if a split of a regression task holds what looks like a missing label, or if only some of its
    labels have a decimal comma."""
    counts = {split: label_counts(rows, column) for split, rows in splits.items()}
    numbers = numbers_of((text for texts in counts.values() for text in texts), comma)
    for split in splits:
        remedy = "add --regression" if task.is_open else "add 1 to every label: it changes no correlation"
        check_values(counts[split], numbers, where[split], column, asked, remedy)


def check_values(
    counts: Mapping[str, int],
    numbers: Mapping[str, Decimal],
    where: str,
    column: str,
    asked: str | None,
    score_remedy: str | None = None,
) -> None:
    """Raise UserError if one of a split's distinct labels looks like a missing one, or if only some have a decimal
    comma. A flag that says what the labels are (`asked`) makes -1 one of them.

    `numbers`: the values of those that are numbers; in a task that is a regression, of all splits. `score_remedy`: in
    such a task, what to do if -1 is a value.
    """
    for text in without_gold_label(counts, numbers, asked, score_remedy is not None):
        remedy = f" or, if it is a value, {score_remedy}" if score_remedy else " or, if it is a class, "
        if text in NO_GOLD_LABEL:
            remedy = "" if score_remedy else f"{remedy}give it another name"
        elif score_remedy is None:
            remedy += "add --classification"
        raise UserError(
            f"the column {column!r} of {where} has the label {text!r} (count: {counts[text]}), which often means that "
            f"there is no gold label: remove these rows (--drop-bad-rows leaves them out){remedy}"
        )
    others = [text for text in counts if text not in numbers]
    commas = [text for text in others if DECIMAL_COMMA.fullmatch(text)]
    if commas and len(commas) == len(others) and asked != SINGLE_LABEL:
        raise UserError(
            f"the label column {column!r} of {where} holds {commas[0]!r}, with a comma, beside numbers with a point: "
            f"write all of them with a point, {commas[0].replace(',', '.')}"
        )


def read_labels(
    rows: "Dataset",
    where: str,
    column: str,
    problem_type: str,
    names: tuple[str, ...] | None,
    by_number: bool,
    label_needed: bool,
    comma: bool = False,
) -> dict[str, Target]:
    """The target of each distinct label, by its text. `comma`: values that are not whole have a decimal comma.

    If labels aren't needed, rows may be unlabelled (`is_unlabelled`), and so is a column that only repeats one unknown
    text. Raises UserError, which names the row, for any other unknown or missing label.
    """
    import pyarrow
    import pyarrow.compute as pc

    if column not in rows.column_names:  # if it is needed, check_columns has raised an error
        return {}
    own = class_names(rows, column)
    numbered = [str(index) for index in range(len(names or ()))]
    if own is not None and names is not None and set(own) != set(names) and not (by_number and own == numbered):
        raise UserError(
            f"the label column {column!r} of {where} numbers its classes as {', '.join(own)}, but they should be "
            f"{', '.join(names)}"
        )
    texts = label_texts(rows.data.column(column), own)
    distinct = pc.unique(texts).to_pylist()
    held = [text for text in distinct if text is not None]
    ids = label_ids(held, problem_type, names, by_number, comma)
    if label_needed:
        unknown = [text for text in distinct if text not in ids]
    else:
        if problem_type == REGRESSION and {as_number(text) for text in ids} == {-1}:
            ids = {}
        unknown = [text for text in distinct if text not in ids and not is_unlabelled(text)]
        if not ids and len(unknown) == 1:
            return {}
    for text in unknown:
        alike = pc.is_null(texts) if text is None else pc.fill_null(pc.equal(texts, text), False)
        row = row_numbers(rows, [pc.index(alike, pyarrow.scalar(True)).as_py()])[0]
        what = "has no label" if text is None else f"has the label {text!r}"
        more = pc.sum(alike).as_py() - 1
        also = f" (and {more} more)" if more else ""
        should = wanted(problem_type, names, text, comma)
        should += "; --drop-bad-rows leaves such rows out" if label_needed and is_unlabelled(text) else ""
        raise UserError(f"{where}, row {row} {what} in the column {column!r}{also}; it should be {should}")
    return ids


def has_comma(splits: Sequence["Dataset"], where: str, column: str) -> bool:
    """Whether the values of a regression have a decimal comma, as the first split says that has any which are not
    whole. A line tells the user."""
    for rows in splits:
        texts = label_counts(rows, column) if column in rows.column_names else {}
        comma = decimal_comma(texts)
        if comma is not None:
            say(f"{where}: {column!r} is read with a decimal comma: {comma} is {comma.replace(',', '.')}")
        if comma is not None or any(not is_whole(number) for number in numbers_of(texts).values()):
            return comma is not None
    return False


def wanted(problem_type: str, names: tuple[str, ...] | None, text: str | None, comma: bool) -> str:
    """What the label `text` should be instead, for a message."""
    if names is None:
        return f"a finite number, with a {'comma, as others are' if comma else 'point'}"
    shown = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    if problem_type == MULTI_LABEL:
        return f"a list of some of these, each at most once: {shown}"
    number = as_number(text or "")
    is_score = number is not None and not is_whole(number) and len(numbers_of(names)) == len(names)
    return f"one of: {shown}" + ("; if the labels are scores, add --regression" if is_score else "")


def label_ids(
    texts: Sequence[str], problem_type: str, names: tuple[str, ...] | None, by_number: bool, comma: bool
) -> dict[str, Target]:
    """The target of each label that has one. Labels are class names; only if none of them is, and if `by_number` is
    true, they are read as class ids."""
    if names is None:
        values: dict[str, Target] = {text: float(number) for text, number in numbers_of(texts, comma).items()}
        return {text: value for text, value in values.items() if math.isfinite(value)}  # type: ignore[arg-type]
    if problem_type == MULTI_LABEL:
        return {**set_ids(texts, names, by_number)}
    index = {name: number for number, name in enumerate(names)}
    named: dict[str, Target] = {text: index[text] for text in texts if text in index}
    if named or not by_number:
        return named
    whole = {text: number for text in texts if (number := as_number(text)) is not None and is_whole(number)}
    return {text: int(number) for text, number in whole.items() if 0 <= number < len(names)}
