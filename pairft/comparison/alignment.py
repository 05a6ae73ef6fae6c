"""The answers of all runs in the same order of the same examples, or an error that says why that can't be."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy

from pairft.errors import UserError
from pairft.output import say
from pairft.runs import evaluations

if TYPE_CHECKING:
    from pairft.training.evaluation import EvalOutput

NAMED = 5  # rows that an error names
Key = tuple[tuple[str, ...], Any]  # the texts and the label of an example


@dataclass(frozen=True)
class Examples:
    """The examples that models answer, with their labels."""

    rows: numpy.ndarray  # int64 [examples], numbers in their source, counted from 1
    texts: list[tuple[str, ...]]
    labels: numpy.ndarray  # as of EvalOutput
    problem_type: str
    names: tuple[str, ...] | None  # of the classes, by id; None for a regression
    positive: int | None  # the id of the class that F1 is about
    text_columns: tuple[str, ...]

    def label_text(self, label: Any) -> str:
        return evaluations.label_text(label, self.problem_type, self.names)

    def keys(self) -> list[Key]:
        plain = map(tuple, self.labels.tolist()) if self.labels.ndim == 2 else self.labels.tolist()
        return list(zip(self.texts, plain, strict=True))


def aligned(
    found: Sequence[tuple[Examples, "EvalOutput"]], names: Sequence[str]
) -> tuple[Examples, list["EvalOutput"]]:
    """The examples, as the first run has them, and the answers of all runs in their order. `names`: of the runs, for
    messages. Raises UserError unless all runs answer the same question about the same examples: equal texts with equal
    labels."""
    (first, output), *others = found
    keys, outputs = first.keys(), [output]
    for (other, other_output), name in zip(others, names[1:], strict=True):
        check_question(first, other, names[0], name)
        other_keys = other.keys()
        if keys != other_keys:
            check_examples(keys, other_keys, first, other, names[0], name)
            say(f"note: {name} has the rows of {names[0]} in another order: compared row by row")
            order = numpy.empty(len(keys), numpy.int64)
            order[sorted_by(keys, first.rows)] = sorted_by(other_keys, other.rows)
            other_output = other_output.only(order)
        outputs.append(other_output)
    return first, outputs


def sorted_by(keys: Sequence[Key], rows: numpy.ndarray) -> list[int]:
    """The places of the examples in the order of their texts, labels and numbers."""
    return sorted(range(len(keys)), key=lambda place: (keys[place], rows[place]))


def check_question(first: Examples, other: Examples, name: str, other_name: str) -> None:
    """Raise UserError unless both models answer the same question."""
    if first.problem_type != other.problem_type:
        kinds = [some.problem_type.replace("_", " ") for some in (first, other)]
        raise UserError(f"{name} is a {kinds[0]}, {other_name} a {kinds[1]}: name runs on the same labels")
    if first.names != other.names:
        labels, other_labels = (", ".join(map(str, some.names or ())) for some in (first, other))
        raise UserError(
            f"the labels of {name} are {labels}, those of {other_name} {other_labels}: name runs with the same labels, "
            "in the same order"
        )


def check_examples(
    keys: Sequence[Key], other_keys: Sequence[Key], first: Examples, other: Examples, name: str, other_name: str
) -> None:
    """Raise UserError unless both have the same examples, in whatever order."""
    lacking, more = (Counter(one) - Counter(two) for one, two in ((keys, other_keys), (other_keys, keys)))
    if not lacking and not more:
        return
    other_texts = {texts for texts, _ in more}
    relabelled = sum(number for (texts, _), number in lacking.items() if texts in other_texts)
    about_labels = f" ({relabelled} of them have another label there)" if relabelled else ""
    raise UserError(
        f"{name} and {other_name} were evaluated on different rows: {some_of(keys, lacking, first.rows)} of {name} "
        f"aren't among those of {other_name}{about_labels}, and {some_of(other_keys, more, other.rows)} of "
        f"{other_name} aren't among those of {name}; score both on the same labelled rows with --data FILE"
    )


def some_of(keys: Sequence[Key], wanted: Counter[Key], rows: numpy.ndarray) -> str:
    """How many examples are wanted, and the numbers of the first of them."""
    found = [str(row) for key, row in zip(keys, rows, strict=True) if key in wanted]
    named = ", ".join(found[:NAMED]) + ", …" * (len(found) > NAMED)
    shown = f" ({'row' if len(found) == 1 else 'rows'} {named})" if found else ""
    return f"{wanted.total()} of the {len(keys)} rows{shown}"
