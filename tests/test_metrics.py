"""The metrics against scikit-learn and SciPy, and the cases where these are undefined."""

import numpy
import pytest
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, f1_score

from pairft.metrics import compute


@pytest.mark.parametrize("num_labels", [2, 3, 5])
def test_classification_equals_scikit_learn(num_labels):
    rng = numpy.random.default_rng(0)
    predictions, references = rng.integers(num_labels, size=(2, 101))
    scores = compute(("accuracy", "f1"), predictions, references, num_labels)
    average = "binary" if num_labels == 2 else "macro"
    assert scores == {
        "accuracy": accuracy_score(references, predictions),
        "f1": f1_score(references, predictions, average=average),
    }


def test_regression_equals_scipy():
    rng = numpy.random.default_rng(0)
    predictions, references = rng.normal(size=(2, 50)).astype(numpy.float32)
    scores = compute(("pearson", "spearman"), predictions, references, 1)
    assert scores["pearson"] == pytest.approx(pearsonr(predictions, references).statistic, abs=1e-6)
    assert scores["spearman"] == pytest.approx(spearmanr(predictions, references).statistic, abs=1e-12)


def test_hand_computed():
    predictions, references = numpy.array([1, 1, 0, 0]), numpy.array([1, 0, 1, 0])
    assert compute(("accuracy", "f1"), predictions, references, 2) == {"accuracy": 0.5, "f1": 0.5}
    assert compute(("f1",), numpy.array([0, 1, 1]), numpy.array([0, 1, 2]), 3)["f1"] == pytest.approx((1 + 2 / 3) / 3)


def test_one_class_predicted_and_constant_values_score_zero_without_a_warning(recwarn):
    zeros, ones = numpy.zeros(4, numpy.int64), numpy.ones(4, numpy.int64)
    assert compute(("f1",), zeros, ones, 2) == {"f1": 0.0}
    assert compute(("f1",), ones, ones, 2) == {"f1": 1.0}
    constant = numpy.full(4, 0.5, numpy.float32)
    values = numpy.arange(4, dtype=numpy.float32)
    assert compute(("pearson", "spearman"), constant, values, 1) == {"pearson": 0.0, "spearman": 0.0}
    assert not recwarn.list
