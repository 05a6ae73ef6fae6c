"""What a model answered to the evaluated examples: where it is right, where it is wrong and how sure it is."""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy

from pairft.runs.evaluations import Evaluated
from pairft.tasks import MULTI_LABEL, REGRESSION

MISTAKES = 12
LARGEST = 12  # classes of a confusion matrix; of more, the most frequent confusions are listed
LISTED = 15  # of those, and of the classes with their scores
GROUPS = 6  # of lengths
LONGEST = 400  # characters of a sentence


@dataclass(frozen=True)
class Mistake:
    """A wrong answer. `wrong`: how wrong: the confidence, or the absolute error of a regression."""

    row: int
    texts: Sequence[Sequence[tuple[str, bool]]]  # of each sentence, pieces and whether they occur in this one alone
    label: str
    prediction: str
    wrong: float


def is_right(found: Evaluated) -> numpy.ndarray:
    """Whether each answer is right, bool [examples]: of a multi-label example, all labels have to be."""
    same = found.output.predictions() == found.output.labels
    return numpy.all(same, axis=1) if same.ndim == 2 else numpy.asarray(same)


def wrongness(found: Evaluated) -> numpy.ndarray:
    """How wrong each answer is, float [examples]: the absolute error; the probability of the wrong class; of several
    labels, that of the worst wrong decision. 0 for right answers."""
    labels = found.output.labels
    if found.problem_type == REGRESSION:
        return numpy.asarray(numpy.abs(found.output.predictions() - labels))
    if found.problem_type == MULTI_LABEL:
        return numpy.asarray(numpy.abs(found.probabilities - labels).max(axis=1) * ~is_right(found))
    return numpy.asarray(found.probabilities.max(axis=1) * ~is_right(found))


def mistakes(found: Evaluated) -> list[Mistake]:
    """The answers that are most wrong, at most MISTAKES of them."""
    wrong = wrongness(found)
    worst = numpy.argsort(-wrong, kind="stable")[:MISTAKES]
    worst = worst[wrong[worst] > 0]
    predictions = found.output.predictions()
    return [
        Mistake(
            int(found.rows[place]),
            marked([shortened(text) for text in texts]),
            found.label_text(found.output.labels[place]),
            f"{predictions[place]:.3f}" if found.names is None else found.label_text(predictions[place]),
            float(wrong[place]),
        )
        for place, texts in zip(worst, found.texts_of(worst), strict=True)
    ]


def marked(texts: Sequence[str]) -> list[list[tuple[str, bool]]]:
    """Each sentence in pieces, and whether the words of a piece occur in this sentence alone."""
    words = [set(re.findall(r"\w+", text.casefold())) for text in texts]
    found = []
    for number, text in enumerate(texts):
        others = set().union(*(some for place, some in enumerate(words) if place != number))
        alone = words[number] - others if len(texts) > 1 else set()
        pieces = [(piece, piece.casefold() in alone) for piece in re.split(r"(\w+)", text) if piece]
        joined = itertools.groupby(merged(pieces), key=lambda piece: piece[1])
        found.append([("".join(piece for piece, _ in some), is_alone) for is_alone, some in joined])
    return found


def merged(pieces: Sequence[tuple[str, bool]]) -> list[tuple[str, bool]]:
    """The pieces, in which a space between two marked words is marked as they are."""
    marks = [mark for _, mark in pieces]
    between = [0 < place < len(marks) - 1 and marks[place - 1] and marks[place + 1] for place in range(len(marks))]
    return [(text, mark or (text.isspace() and both)) for (text, mark), both in zip(pieces, between, strict=True)]


def shortened(text: str) -> str:
    """A text of at most LONGEST characters."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} … ({len(text) - LONGEST:,} more characters)"


def confusion(found: Evaluated) -> numpy.ndarray:
    """How often each class, by row, was predicted as each class, by column: int [classes, classes]."""
    assert found.names is not None, found.problem_type
    number = len(found.names)
    pairs = found.output.labels * number + found.output.predictions()
    return numpy.bincount(pairs, minlength=number**2).reshape(number, number)


def confusions(found: Evaluated) -> list[tuple[str, str, int, float]]:
    """The most frequent confusions: label, prediction, number, share of the label's examples."""
    assert found.names is not None, found.problem_type
    counts = confusion(found)
    wrong = counts * ~numpy.eye(len(counts), dtype=bool)
    worst = numpy.argsort(-wrong, axis=None, kind="stable")[:LISTED]
    places = [divmod(int(place), len(counts)) for place in worst if wrong.flat[place]]
    return [
        (found.names[label], found.names[answer], int(wrong[label, answer]), wrong[label, answer] / counts[label].sum())
        for label, answer in places
    ]


def class_scores(found: Evaluated) -> list[dict[str, Any]]:
    """Precision, recall, F1 and number of examples of each class or label; of more than LISTED, the worst by F1."""
    from sklearn.metrics import precision_recall_fscore_support

    assert found.names is not None, found.problem_type
    labels, predictions = found.output.labels.astype(int), found.output.predictions()
    ids = list(range(len(found.names)))
    scores = precision_recall_fscore_support(labels, predictions, labels=ids, zero_division=0.0)
    rows = [
        {"name": name, "precision": p, "recall": r, "f1": f1, "number": int(n)}
        for name, p, r, f1, n in zip(found.names, *scores, strict=True)
    ]
    return rows if len(rows) <= LISTED else sorted(rows, key=lambda row: (row["number"] == 0, row["f1"]))[:LISTED]


def length_groups(tokens: numpy.ndarray) -> list[numpy.ndarray]:
    """Up to GROUPS groups of examples, bool [examples] each, of similar length and about the same size."""
    edges = numpy.unique(numpy.quantile(tokens, numpy.linspace(0, 1, GROUPS + 1)[1:-1], method="lower"))
    groups = numpy.searchsorted(edges, tokens, side="left")
    return [groups == number for number in range(len(edges) + 1) if (groups == number).any()]
