"""The metrics against scikit-learn and SciPy, and the cases where these are undefined."""

import numpy
import pytest
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from pairft.tasks import TASKS, positive_class
from pairft.training.metrics import compute


@pytest.mark.parametrize("num_labels", [2, 3, 5])
def test_classification_equals_scikit_learn(num_labels):
    rng = numpy.random.default_rng(0)
    predictions, references = rng.integers(num_labels, size=(2, 101))
    scores = compute(("accuracy", "f1"), predictions, references, 1 if num_labels == 2 else None)
    average = "binary" if num_labels == 2 else "macro"
    assert scores == {
        "accuracy": accuracy_score(references, predictions),
        "f1": f1_score(references, predictions, average=average),
    }


@pytest.mark.parametrize("positive", [0, 1])
def test_f1_of_either_class_equals_scikit_learn(positive):
    predictions, references = numpy.random.default_rng(1).integers(2, size=(2, 101))
    wanted = f1_score(references, predictions, pos_label=positive)
    assert compute(("f1",), predictions, references, positive) == {"f1": wanted}
    assert wanted != f1_score(references, predictions, pos_label=1 - positive)


def test_macro_f1_counts_the_classes_that_occur():
    """Of four classes, one in the labels alone, one in the predictions alone, one in neither."""
    predictions, references = numpy.array([0, 0, 1, 3]), numpy.array([0, 0, 0, 1])
    wanted = (2 * 2 / 5 + 0 + 0) / 3
    assert compute(("f1",), predictions, references)["f1"] == pytest.approx(wanted)
    assert f1_score(references, predictions, average="macro", zero_division=0.0) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("names", "positive"),
    [
        (("0", "1"), "1"),
        (("1", "0"), "1"),
        (("-1", "1"), "1"),
        (("1.0", "0.0"), "1.0"),
        (("1", "2"), "2"),
        (("2", "1"), "1"),
        (("no", "yes"), "yes"),
        (("Yes", "No"), "Yes"),
        (("TRUE", "FALSE"), "TRUE"),
        (("negative", "positive"), "positive"),
        (("duplicate", "not_duplicate"), "duplicate"),
        (("is_duplicate", "is-not-duplicate"), "is_duplicate"),
        (("duplicate", "unrelated"), "duplicate"),
        (("entailment", "not_entailment"), "entailment"),
        (("contradiction", "entailment"), "entailment"),
        (("entailment", "neutral"), "entailment"),
        (("equivalent", "not_equivalent"), "equivalent"),
        (("paraphrase", "non-paraphrase"), "paraphrase"),
        (("similar", "dissimilar"), "similar"),
        (("relevant", "irrelevant"), "relevant"),
        (("correct", "incorrect"), "correct"),
        (("same", "different"), "same"),
        (("spam", "not spam"), "spam"),
        (("spam", "nonspam"), "spam"),
        (("toxic", "non_toxic"), "toxic"),
        (("fraud", "other"), "fraud"),
        (("ham", "spam"), "spam"),  # neither affirms or denies: the second
        (("same", "similar"), "similar"),
        (("no", "not sure"), "not sure"),
        (("LABEL_0", "LABEL_1"), "LABEL_1"),
        (("は", "いいえ"), "いいえ"),
    ],
)
def test_the_class_that_f1_is_about(names, positive):
    assert names[positive_class(names)] == positive


def test_no_class_is_positive_among_three_or_in_a_regression():
    assert positive_class(None) is None
    assert positive_class(("no", "maybe", "yes")) is None
    assert positive_class(TASKS["mrpc"].label_names) == 1


def test_regression_equals_scipy():
    rng = numpy.random.default_rng(0)
    predictions, references = rng.normal(size=(2, 50)).astype(numpy.float32)
    scores = compute(("pearson", "spearman"), predictions, references)
    wide = predictions.astype(numpy.float64), references.astype(numpy.float64)  # float32 would round the sums
    assert scores["pearson"] == pytest.approx(pearsonr(*wide).statistic, abs=1e-12)
    assert scores["spearman"] == pytest.approx(spearmanr(*wide).statistic, abs=1e-12)


@pytest.mark.parametrize("num_labels", [2, 3, 5])
def test_matthews_equals_scikit_learn(num_labels):
    predictions, references = numpy.random.default_rng(2).integers(num_labels, size=(2, 101))
    predictions[:60] = references[:60]
    found = compute(("matthews",), predictions, references)
    assert found == {"matthews": pytest.approx(matthews_corrcoef(references, predictions), abs=1e-12)}
    assert 0.3 < found["matthews"] < 0.9


def test_matthews_of_two_classes_is_their_pearson_correlation():
    predictions, references = numpy.random.default_rng(3).integers(2, size=(2, 101))
    wanted = pearsonr(predictions, references).statistic
    assert compute(("matthews",), predictions, references)["matthews"] == pytest.approx(wanted, abs=1e-12)
    assert compute(("matthews",), 1 - references, references)["matthews"] == pytest.approx(-1.0, abs=1e-12)


def test_hand_computed():
    predictions, references = numpy.array([1, 1, 0, 0]), numpy.array([1, 0, 1, 0])
    assert compute(("accuracy", "f1"), predictions, references, 1) == {"accuracy": 0.5, "f1": 0.5}
    assert compute(("f1",), numpy.array([0, 1, 1]), numpy.array([0, 1, 2]))["f1"] == pytest.approx((1 + 2 / 3) / 3)


def test_one_class_predicted_and_constant_values_score_zero_without_a_warning(recwarn):
    zeros, ones = numpy.zeros(4, numpy.int64), numpy.ones(4, numpy.int64)
    assert compute(("f1",), zeros, ones, 1) == {"f1": 0.0}
    assert compute(("f1",), ones, ones, 1) == {"f1": 1.0}
    for predictions, references in ((ones, ones), (ones, numpy.array([0, 1, 1, 0])), (zeros[:1], ones[:1])):
        assert compute(("matthews",), predictions, references) == {"matthews": 0.0}
    constant = numpy.full(4, 0.5, numpy.float32)
    values = numpy.arange(4, dtype=numpy.float32)
    assert compute(("pearson", "spearman"), constant, values) == {"pearson": 0.0, "spearman": 0.0}
    assert not recwarn.list
