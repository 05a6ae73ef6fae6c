"""What TensorBoard shows of an evaluation's answers: where the model is wrong, and how sure it is."""

import string
import struct
from collections.abc import Iterator, Sequence

import numpy
from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard import summary

from pairft.runs import board_figures
from pairft.runs.evaluations import Evaluated
from pairft.tasks import MULTI_LABEL, REGRESSION

MAX_MISTAKES = 20
MAX_CURVES = 20  # precision-recall curves: of the first classes
MAX_CHARACTERS = 400  # of a sentence
CONFIDENCES = numpy.linspace(0, 1, 41).tolist()  # bins of histograms
ENTITIES = {ord(sign): f"&#{ord(sign)};" for sign in string.punctuation}


def summaries(evaluated: Evaluated) -> list[Summary]:
    """The images, histograms, curves and tables of one evaluation."""
    kinds = {REGRESSION: of_regression, MULTI_LABEL: of_labels}
    return list(kinds.get(evaluated.problem_type, of_classes)(evaluated))


def of_classes(evaluated: Evaluated) -> Iterator[Summary]:
    """Of single-label classification."""
    labels, predicted = evaluated.output.labels, evaluated.output.predictions()
    assert evaluated.names is not None
    names, right = evaluated.names, predicted == labels
    counts = numpy.zeros((len(names), len(names)), numpy.int64)
    numpy.add.at(counts, (labels, predicted), 1)
    yield image("mistakes/confusion_matrix", board_figures.confusion_matrix(counts, names))
    yield image("mistakes/accuracy_by_length", board_figures.accuracy_by_length(right, evaluated.tokens, "accuracy"))
    confidence = evaluated.probabilities.max(axis=1)
    yield from confidences(confidence[right], confidence[~right])
    yield from curves(evaluated, labels[:, None] == numpy.arange(len(names)))
    yield most_confident(evaluated, numpy.where(right, -1.0, confidence))


def of_labels(evaluated: Evaluated) -> Iterator[Summary]:
    """Of multi-label classification. The confidence of an answer to one label is the probability of that answer."""
    labels, predicted = evaluated.output.labels.astype(numpy.int64), evaluated.output.predictions()
    assert evaluated.names is not None
    right = predicted == labels
    yield image("mistakes/labels", board_figures.by_label(predicted, labels, evaluated.names))
    by_length = board_figures.accuracy_by_length(right.all(axis=1), evaluated.tokens, "examples with all labels right")
    yield image("mistakes/accuracy_by_length", by_length)
    yes = evaluated.probabilities
    confidence = numpy.maximum(yes, 1 - yes)
    yield from confidences(confidence[right], confidence[~right])
    yield from curves(evaluated, labels == 1)
    yield most_confident(evaluated, numpy.where(right, -1.0, confidence).max(axis=1))


def of_regression(evaluated: Evaluated) -> Iterator[Summary]:
    labels, predicted = evaluated.output.labels, evaluated.output.predictions()
    errors = predicted - labels
    yield image("mistakes/predicted_against_true", board_figures.predicted_against_true(predicted, labels))
    yield image("mistakes/errors_by_length", board_figures.error_by_length(errors, evaluated.tokens))
    yield summary.histogram("mistakes/errors", errors, bins="auto", max_bins=100)
    worst = numpy.argsort(-numpy.abs(errors), kind="stable")[:MAX_MISTAKES]
    yield table(evaluated, "mistakes/largest_errors", "error", worst, [f"{errors[at]:+.4g}" for at in worst])


def image(tag: str, png: bytes) -> Summary:
    width, height = struct.unpack(">II", png[16:24])  # of PNG's first chunk
    about = Summary.Image(height=height, width=width, colorspace=4, encoded_image_string=png)  # RGBA
    return Summary(value=[Summary.Value(tag=tag, image=about)])


def confidences(right: numpy.ndarray, wrong: numpy.ndarray) -> Iterator[Summary]:
    """Histograms and means of the confidence of right and of wrong answers."""
    for name, values in (("right", right), ("wrong", wrong)):
        if len(values):
            yield summary.histogram(f"mistakes/confidence_when_{name}", values, bins=CONFIDENCES)
            mean = Summary.Value(tag=f"mistakes/mean_confidence/{name}", simple_value=float(values.mean()))
            yield Summary(value=[mean])


def curves(evaluated: Evaluated, holds: numpy.ndarray) -> Iterator[Summary]:
    """Precision-recall curves: of two classes the positive one's, else of each class against all others. `holds`: bool
    [examples, classes]."""
    assert evaluated.names is not None
    numbers: Sequence[int] = range(min(len(evaluated.names), MAX_CURVES))
    if len(evaluated.names) == 2 and evaluated.problem_type != MULTI_LABEL:
        numbers = [1 if evaluated.positive is None else evaluated.positive]
    for at in numbers:
        tag = f"mistakes/precision_recall/{evaluated.names[at]}"  # in full: two long names may begin alike
        yield summary.pr_curve(tag, holds[:, at], evaluated.probabilities[:, at])


def most_confident(evaluated: Evaluated, confidence: numpy.ndarray) -> Summary:
    """The wrong answers of which the model is surest. `confidence`: float [examples], -1 for right answers."""
    worst = numpy.argsort(-confidence, kind="stable")[:MAX_MISTAKES]
    worst = worst[confidence[worst] >= 0]
    if not len(worst):
        return summary.text("mistakes/most_confident", "No answer is wrong.")
    shown = [f"{confidence[at]:.4f}" for at in worst]
    return table(evaluated, "mistakes/most_confident", "confidence", worst, shown)


def table(evaluated: Evaluated, tag: str, what: str, chosen: numpy.ndarray, shown: Sequence[str]) -> Summary:
    """Some examples as a table in markdown. `shown`: the column `what`, of numbers."""
    lines = ["row", what, "predicted", "label", *map(escaped, evaluated.text_columns)]
    rows = [lines, ["---"] * len(lines)]
    predicted = evaluated.output.predictions()
    for at, number, texts in zip(chosen, shown, evaluated.texts_of(chosen), strict=True):
        answers = (evaluated.label_text(answer[at]) for answer in (predicted, evaluated.output.labels))
        rows.append([str(evaluated.rows[at]), escaped(number), *map(escaped, (*answers, *texts))])
    return summary.text(tag, "\n".join(" | ".join(row) for row in rows))


def escaped(text: str) -> str:
    """The text as markdown that shows it as it is: every sign with a meaning in markdown or HTML is an entity."""
    text = text if len(text) <= MAX_CHARACTERS else text[: MAX_CHARACTERS - 1] + "…"
    return " ".join(text.split()).translate(ENTITIES) or "&nbsp;"
