"""Which examples one side gets right and the other wrong, with their text, the surest mistakes first."""

from collections.abc import Sequence
from typing import Any

import numpy

from pairft.comparison.alignment import Examples
from pairft.runs.evaluations import probabilities_of
from pairft.tasks import MULTI_LABEL, REGRESSION
from pairft.training.evaluation import EvalOutput

FIXED, BROKEN, CLOSER, FURTHER = "fixed", "broken", "closer", "further"


def right_of(output: EvalOutput) -> numpy.ndarray:
    """Which examples a classifier gets right, bool [examples]; multi-label: with exactly their labels."""
    same = output.predictions() == output.labels
    found: numpy.ndarray = same.all(axis=1) if same.ndim == 2 else same
    return found


def errors_of(output: EvalOutput) -> numpy.ndarray:
    """The absolute errors of a regression, float64 [examples]."""
    found: numpy.ndarray = numpy.abs(output.predictions().astype(numpy.float64) - output.labels)
    return found


def confidence_of(output: EvalOutput, problem_type: str) -> numpy.ndarray:
    """The probability of the answer to each example, float64 [examples]; multi-label: of exactly these labels, as if
    they were independent."""
    probabilities = numpy.asarray(probabilities_of(output.logits, problem_type), numpy.float64)
    if problem_type == MULTI_LABEL:
        probabilities = numpy.maximum(probabilities, 1 - probabilities)
        return numpy.asarray(probabilities.prod(axis=1))
    return numpy.asarray(probabilities.max(axis=1))


def flips(
    examples: Examples, side: Sequence[EvalOutput], other: Sequence[EvalOutput]
) -> dict[str, list[dict[str, Any]]]:
    """The examples whose answer differs between two sides, which are the answers of one or more runs each.

    Classification: "fixed" are those that most runs of `side` get wrong and most of `other` right, "broken" the other
    way round. First come those with the surest wrong answers. Regression: "closer" and "further", by how much the mean
    absolute error changes.
    """
    if examples.problem_type == REGRESSION:
        return moves(examples, side, other)
    right, other_right = (numpy.mean([right_of(one) for one in some], axis=0) for some in (side, other))
    sure, other_sure = (
        numpy.mean([confidence_of(one, examples.problem_type) for one in some], axis=0) for some in (side, other)
    )
    predictions, other_predictions = ([one.predictions() for one in some] for some in (side, other))
    fixed, broken = (right < 0.5) & (other_right > 0.5), (right > 0.5) & (other_right < 0.5)
    found = {}
    for kind, marked, surest in ((FIXED, fixed, sure), (BROKEN, broken, other_sure)):
        places = numpy.flatnonzero(marked)
        found[kind] = [
            {
                **described(examples, place),
                "first": answer(examples, predictions, place, float(right[place]), float(sure[place])),
                "second": answer(
                    examples, other_predictions, place, float(other_right[place]), float(other_sure[place])
                ),
            }
            for place in places[numpy.argsort(-surest[places], kind="stable")].tolist()
        ]
    return found


def moves(
    examples: Examples, side: Sequence[EvalOutput], other: Sequence[EvalOutput]
) -> dict[str, list[dict[str, Any]]]:
    """The examples of a regression to which `other` is closer than `side`, and those from which it is further."""
    errors, other_errors = (numpy.mean([errors_of(one) for one in some], axis=0) for some in (side, other))
    values, other_values = (numpy.mean([one.predictions() for one in some], axis=0) for some in (side, other))
    change = other_errors - errors
    found = {}
    for kind, sign in ((CLOSER, -1), (FURTHER, 1)):
        places = numpy.flatnonzero(numpy.sign(change) == sign)
        found[kind] = [
            {
                **described(examples, place),
                "first": {"answer": float(values[place]), "error": float(errors[place])},
                "second": {"answer": float(other_values[place]), "error": float(other_errors[place])},
            }
            for place in places[numpy.argsort(-numpy.abs(change[places]), kind="stable")].tolist()
        ]
    return found


def described(examples: Examples, place: int) -> dict[str, Any]:
    texts = dict(zip(examples.text_columns, examples.texts[place], strict=True))
    return {"row": int(examples.rows[place]), "texts": texts, "label": examples.label_text(examples.labels[place])}


def answer(
    examples: Examples, predictions: Sequence[numpy.ndarray], place: int, right: float, confidence: float
) -> dict[str, Any]:
    """What a side answers to an example: of one run its answer, of several how many are right. `predictions`: of each
    run, of the shape of the labels."""
    if len(predictions) > 1:
        number = len(predictions)
        return {"runs_right": round(right * number), "runs": number, "confidence": confidence}
    return {"answer": examples.label_text(predictions[0][place]), "confidence": confidence}
