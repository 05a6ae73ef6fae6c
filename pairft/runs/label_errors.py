"""Rows whose label is probably wrong, by the out-of-fold predictions: label_errors.csv.

For classes this is confident learning (Northcutt, Jiang and Chuang 2021, https://arxiv.org/abs/1911.00068). A row
counts as one of a class if its probability is at least the mean probability of that class over the rows with that
label. It is suspicious if it counts as one of another class than its label, and if the label is not the predicted
class, either. Of a regression, rows are suspicious whose errors are far from the others' (a modified z-score above 3.5,
as Iglewicz and Hoaglin 1993 propose).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairft.runs import out_of_fold
from pairft.runs.evaluations import shown
from pairft.runs.out_of_fold import OutOfFold
from pairft.tasks import MULTI_LABEL

if TYPE_CHECKING:
    import numpy

MOST_Z = 3.5


def write(path: Path, found: OutOfFold) -> int:
    """Write the suspicious rows with their sentences, the most suspicious first. Returns how many there are."""
    if found.names is None:
        head, chosen, lines = ["row", "fold", "label", "predicted", "z_score"], *of_values(found)
    elif found.problem_type == MULTI_LABEL:
        head = ["row", "fold", "class", "label", "label_probability", "predicted", "predicted_probability"]
        chosen, lines = of_sets(found)
    else:
        head = ["row", "fold", "label", "label_probability", "predicted", "predicted_probability"]
        chosen, lines = of_classes(found)
    texts = out_of_fold.texts_of(path.parent, found, chosen)
    # A text column may have the name of one of ours.
    columns = [f"text_{name}" if name in head else name for name in found.text_columns]

    def whole() -> Iterator[list[Any]]:
        for index, line in zip(chosen.tolist(), lines, strict=True):
            row = int(found.rows[index])
            yield [row, int(found.fold[index]), *line, *texts[row]]

    out_of_fold.write_csv(path, [*head, *columns], whole())
    return len(chosen)


def confidently_wrong(probabilities: "numpy.ndarray", labels: "numpy.ndarray") -> "numpy.ndarray":
    """The indices of the rows that confident learning contradicts, those with the least probable label first; int64.

    probabilities: float [rows, classes]. labels: the class id of each row, int64 [rows].
    """
    import numpy

    own = probabilities[numpy.arange(len(labels)), labels]
    thresholds = numpy.full(probabilities.shape[1], numpy.inf)  # no row counts as one of a class that no row has
    for label in numpy.unique(labels):
        thresholds[label] = own[labels == label].mean(dtype=numpy.float64)
    counted = numpy.where(probabilities >= thresholds, probabilities, -1)
    contradicted = (counted.max(axis=1) >= 0) & (counted.argmax(axis=1) != labels)
    contradicted &= probabilities.argmax(axis=1) != labels
    suspicious = numpy.flatnonzero(contradicted)
    return suspicious[numpy.argsort(own[suspicious], kind="stable")]


def of_classes(found: OutOfFold) -> tuple["numpy.ndarray", list[list[str]]]:
    """The suspicious rows, and their cells."""
    probabilities, labels = found.probabilities, found.output.labels
    chosen, predicted = confidently_wrong(probabilities, labels), found.output.predictions()
    lines = []
    for index in chosen:
        cells = [
            (found.label_text(label), shown(probabilities[index, label])) for label in (labels[index], predicted[index])
        ]
        lines.append([cell for pair in cells for cell in pair])
    return chosen, lines


def of_sets(found: OutOfFold) -> tuple["numpy.ndarray", list[list[str]]]:
    """The same for multi-label rows: each class is a question of its own, with the labels yes and no. A row is listed
    for each class that is suspicious."""
    import numpy

    assert found.names is not None
    all_probabilities = found.probabilities
    rows, lines, own = [], [], []
    for number, name in enumerate(found.names):
        yes, labels = all_probabilities[:, number], found.output.labels[:, number].astype(numpy.int64)
        probabilities = numpy.stack([1 - yes, yes], axis=1)
        for index in confidently_wrong(probabilities, labels).tolist():
            label = labels[index]
            given, other = shown(probabilities[index, label]), shown(probabilities[index, 1 - label])
            rows.append(index)
            lines.append([name, ("no", "yes")[label], given, ("yes", "no")[label], other])
            own.append(probabilities[index, label])
    order = numpy.argsort(numpy.array(own), kind="stable").tolist()
    return numpy.array(rows, numpy.int64)[order], [lines[place] for place in order]


def of_values(found: OutOfFold) -> tuple["numpy.ndarray", list[list[str]]]:
    """The same for a regression: by the modified z-score of the errors."""
    import numpy

    errors = found.output.labels.astype(numpy.float64) - found.output.predictions()
    from_median = errors - numpy.median(errors)
    spread = numpy.median(numpy.abs(from_median))
    scores = 0.6745 * from_median / spread if spread > 0 else numpy.zeros(len(errors))
    suspicious = numpy.flatnonzero(numpy.abs(scores) > MOST_Z)
    chosen = suspicious[numpy.argsort(-numpy.abs(scores[suspicious]), kind="stable")]
    predicted = found.output.predictions()
    return chosen, [
        [shown(found.output.labels[index]), shown(predicted[index]), f"{scores[index]:.2f}"] for index in chosen
    ]
