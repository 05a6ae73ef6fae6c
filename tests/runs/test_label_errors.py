"""Rows whose label the out-of-fold predictions contradict: which ones, in which order, with which cells."""

import csv
from pathlib import Path

import numpy
import pytest

from pairft.runs import label_errors, out_of_fold
from pairft.runs.out_of_fold import OutOfFold
from pairft.tasks import MULTI_LABEL, REGRESSION
from pairft.training.evaluation import EvalOutput


def found_of(logits: list, labels: list, problem_type: str, names: tuple[str, ...] | None) -> OutOfFold:
    """Of single sentences, all in one fold, whose rows in the source are 10, 20, 30, …"""
    rows = 10 * numpy.arange(1, len(labels) + 1)
    kind = numpy.int64 if problem_type not in (MULTI_LABEL, REGRESSION) else numpy.float32
    output = EvalOutput(
        numpy.array(logits, numpy.float32), numpy.zeros(len(labels), numpy.float32), numpy.array(labels, kind)
    )
    return OutOfFold(rows, numpy.ones_like(rows), output, problem_type, names, None, ("label",))


def written(found: OutOfFold, tmp_path: Path, monkeypatch) -> tuple[int, list[list[str]]]:
    texts = {row: (f"text {row}",) for row in found.rows.tolist()}
    monkeypatch.setattr(out_of_fold, "texts_of", lambda *_: texts)
    number = label_errors.write(tmp_path / "label_errors.csv", found)
    with (tmp_path / "label_errors.csv").open(newline="", encoding="utf-8") as file:
        return number, list(csv.reader(file))


def test_three_classes_by_hand():
    # Mean probability of each class over its own rows: 0.6, 0.5 and 0.4.
    probabilities = [
        [0.9, 0.05, 0.05],
        [0.3, 0.45, 0.25],  # of class 0; the most probable class is 1, but not as sure as others of class 1
        [0.05, 0.9, 0.05],
        [0.88, 0.1, 0.02],  # of class 1; counts as one of class 0
        [0.61, 0.0, 0.39],
        [0.0, 0.58, 0.42],  # of class 2; counts as one of 1 and of 2, and 1 is more probable
        [0.61, 0.0, 0.39],
    ]
    labels = numpy.array([0, 0, 1, 1, 2, 2, 2])
    assert label_errors.confidently_wrong(numpy.array(probabilities), labels).tolist() == [3, 4, 6, 5]


def test_as_cleanlab():
    """find_label_issues of cleanlab 2.9.0, with filter_by="confident_learning" and ranked by "self_confidence", gives
    the same rows in the same order."""
    draw = numpy.random.default_rng(4)
    labels = draw.integers(0, 3, 120)
    true = numpy.where(draw.random(120) < 0.3, draw.integers(0, 3, 120), labels)
    scores = draw.normal(0, 1, (120, 3)) + 2 * numpy.eye(3)[true]
    probabilities = (numpy.exp(scores) / numpy.exp(scores).sum(axis=1, keepdims=True)).astype(numpy.float32)
    assert label_errors.confidently_wrong(probabilities, labels).tolist() == [
        76,
        14,
        82,
        16,
        50,
        10,
        49,
        6,
        80,
        56,
        114,
        33,
        57,
        11,
    ]


def test_a_class_that_no_row_has_is_never_suspected():
    probabilities = numpy.array([[0.6, 0.1, 0.3], [0.1, 0.3, 0.6], [0.1, 0.5, 0.4]])
    assert label_errors.confidently_wrong(probabilities, numpy.array([0, 1, 1])).tolist() == []


def test_the_cells_of_a_multi_label_row(tmp_path, monkeypatch):
    """Each class is a question of its own."""
    logits = [[4, -4], [4, -4], [-4, 4], [-4, 4], [4, 4]]
    labels = [[1, 0], [1, 0], [0, 1], [0, 1], [0, 0]]
    number, [head, *rows] = written(found_of(logits, labels, MULTI_LABEL, ("spam", "ad")), tmp_path, monkeypatch)
    assert number == 2
    assert head == [
        *("row", "fold", "class", "label", "label_probability", "predicted", "predicted_probability", "text_label")
    ]
    assert [row[:4] + row[5:6] + row[7:] for row in rows] == [
        ["50", "1", "spam", "no", "yes", "text 50"],
        ["50", "1", "ad", "no", "yes", "text 50"],
    ]
    assert [float(row[6]) for row in rows] == pytest.approx([1 / (1 + numpy.exp(-4))] * 2)


def test_the_cells_of_a_regression(tmp_path, monkeypatch):
    """Errors 0.1, -0.1, 0.2, -0.2, 0 and two far ones: their median is 0, that of their absolute values 0.2."""
    labels = [1.1, 1.9, 3.2, 3.8, 5.0, 2.0, 9.5]
    predicted = [[1.0], [2.0], [3.0], [4.0], [5.0], [5.0], [2.5]]
    number, [head, *rows] = written(found_of(predicted, labels, REGRESSION, None), tmp_path, monkeypatch)
    assert number == 2
    assert head == ["row", "fold", "label", "predicted", "z_score", "text_label"]
    assert rows == [
        ["70", "1", "9.5", "2.5", f"{0.6745 * 7 / 0.2:.2f}", "text 70"],
        ["60", "1", "2.0", "5.0", f"{0.6745 * -3 / 0.2:.2f}", "text 60"],
    ]


def test_a_regression_without_errors_has_no_suspicious_row(tmp_path, monkeypatch):
    found = found_of([[1.0], [2.0], [3.0], [4.0]], [1, 2, 3, 9], REGRESSION, None)
    assert written(found, tmp_path, monkeypatch)[0] == 0
