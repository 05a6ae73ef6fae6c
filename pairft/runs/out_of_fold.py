"""Out-of-fold predictions: for each training row, the answer of the run that held it out (--folds).

They are those of each run's last model. Its best one was chosen by its score on the very rows that it held out, so that
its answers to them look better than answers to other rows.
"""

import csv
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairft import disk
from pairft.config import Config
from pairft.runs import evaluations
from pairft.runs.evaluations import shown
from pairft.tasks import TASKS, metrics_of

if TYPE_CHECKING:
    import numpy

    from pairft.training.evaluation import EvalOutput


@dataclass(frozen=True)
class OutOfFold:
    """The out-of-fold predictions, in the order of the rows in their source, and what is needed to understand them."""

    rows: "numpy.ndarray"  # int64 [rows], counted from 1
    fold: "numpy.ndarray"  # int64 [rows], counted from 1
    output: "EvalOutput"
    problem_type: str
    names: tuple[str, ...] | None  # of the classes, by id; None for a regression
    positive: int | None  # the id of the class that F1 is about
    text_columns: tuple[str, ...]

    @property
    def probabilities(self) -> "numpy.ndarray":
        """float32 [rows, classes]; of a regression, its values [rows, 1]."""
        return evaluations.probabilities_of(self.output.logits, self.problem_type)

    def label_text(self, label: Any) -> str:
        """A label, or a prediction, as a cell of a csv file."""
        return evaluations.label_text(label, self.problem_type, self.names)


def read(group: Path, folds: Sequence[int]) -> OutOfFold:
    """What the last models of these folds answered."""
    import numpy

    from pairft.training.evaluation import EvalOutput

    found = [of_fold(group, fold) for fold in folds]
    rows = numpy.concatenate([part.rows for part in found])
    order = numpy.argsort(rows, kind="stable")
    rows = rows[order]
    assert (numpy.diff(rows) > 0).all(), "a row was held out twice"
    fold = numpy.repeat(list(folds), [len(part.rows) for part in found])[order]
    arrays = zip(*((part.output.logits, part.output.losses, part.output.labels) for part in found), strict=True)
    output = EvalOutput(*(numpy.concatenate(some)[order] for some in arrays))
    last = found[-1]
    return OutOfFold(rows, fold, output, last.problem_type, last.names, last.positive, last.text_columns)


def of_fold(group: Path, fold: int) -> evaluations.Evaluated:
    return evaluations.read(group / f"fold-{fold}", "last")


def texts_of(group: Path, found: OutOfFold, chosen: "numpy.ndarray") -> dict[int, tuple[str, ...]]:
    """The sentences of some rows, by the number of the row. `chosen`: indices of `found`."""
    import numpy

    texts: dict[int, tuple[str, ...]] = {}
    wanted = found.rows[chosen]
    for fold in sorted(set(found.fold[chosen].tolist())):
        part = of_fold(group, fold)
        held = numpy.flatnonzero(numpy.isin(part.rows, wanted))
        texts |= dict(zip(part.rows[held].tolist(), part.texts_of(held), strict=True))
    return texts


def write(path: Path, found: OutOfFold) -> None:
    """Write the out-of-fold predictions as csv, without the sentences: a row's number says which one it is."""
    head = ["row", "fold", "label", "predicted"]
    head += [] if found.names is None else [f"probability_{name}" for name in found.names]
    probabilities, predictions = found.probabilities, found.output.predictions()

    def lines() -> Iterator[list[Any]]:
        for index in range(len(found.rows)):
            line: list[Any] = [int(found.rows[index]), int(found.fold[index])]
            line += [found.label_text(values[index]) for values in (found.output.labels, predictions)]
            yield line if found.names is None else [*line, *map(shown, probabilities[index])]

    write_csv(path, head, lines())


def write_csv(path: Path, head: Sequence[str], lines: Iterator[list[Any]]) -> None:
    """Write a csv file, completely or not at all."""
    part = path.with_name(f".{path.name}.part")
    with part.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(head)
        table.writerows(lines)
    disk.flush(part)
    os.replace(part, path)


def pooled_scores(found: OutOfFold, config: Config) -> dict[str, float]:
    """The mean loss and the task's metrics over all out-of-fold predictions together."""
    from pairft.training.evaluation import compute_metrics

    metrics, _ = metrics_of(TASKS[config.task], found.problem_type)
    return compute_metrics(found.output, metrics, found.positive)
