"""Thresholds for two classes: against trying each of them with scikit-learn, and computed by hand."""

import warnings

import numpy
import pytest
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef
from sklearn.model_selection import KFold

from pairft.training.thresholds import best_thresholds, thresholds_of

SCORES = {"accuracy": accuracy_score, "f1": f1_score, "matthews": matthews_corrcoef}


def drawn(rows: int, seed: int, decimals: int = 12) -> tuple[numpy.ndarray, numpy.ndarray]:
    rng = numpy.random.default_rng(seed)
    probabilities = rng.beta(0.7, 0.9, size=rows).round(decimals)
    return probabilities, rng.random(rows) < probabilities**2


@pytest.mark.parametrize("decimals", [12, 1])  # 1: with ties, and rows at 0.5 and 1
@pytest.mark.parametrize("seed", range(4))
def test_no_other_threshold_is_better(seed, decimals):
    probabilities, positives = drawn(60, seed, decimals)
    for metric, threshold in best_thresholds(probabilities, positives).items():
        found = SCORES[metric](positives, probabilities >= threshold)
        others = [SCORES[metric](positives, probabilities >= other) for other in [0, *probabilities, 1.1]]
        assert found == pytest.approx(max(others), abs=1e-12)
        assert 0 <= threshold <= 1


def test_by_hand():
    """From 0.3 on, halfway between 0.2 and 0.4, three of three positives and one negative: F1 6/7 and accuracy 4/5.
    From 0.65 on two of three and no negative: F1 4/5, accuracy 4/5, too, and closer to 0.5. Matthews' correlations are
    3/sqrt(4·3·2·1) and 4/sqrt(2·3·2·3)."""
    probabilities, positives = numpy.array([0.2, 0.4, 0.6, 0.7, 0.9]), numpy.array([False, True, False, True, True])
    found = best_thresholds(probabilities, positives)
    assert found == {"f1": pytest.approx(0.3), "accuracy": pytest.approx(0.65), "matthews": pytest.approx(0.65)}
    assert 3 / 24**0.5 < 4 / 36**0.5


def test_it_stays_at_one_half_if_nothing_is_better():
    probabilities = numpy.array([0.1, 0.45, 0.7, 0.9])
    for positives in ([False, False, True, True], [False, False, False, False]):
        found = best_thresholds(probabilities, numpy.array(positives))
        assert found["f1"] == found["matthews"] == 0.5
    assert best_thresholds(probabilities, numpy.ones(4, bool))["f1"] == pytest.approx(0.05)  # all are positive


def test_probabilities_rounded_to_0_and_1():
    probabilities, positives = numpy.array([0.0, 0.0, 1.0, 1.0]), numpy.array([True, False, True, False])
    for metric, threshold in best_thresholds(probabilities, positives).items():
        wanted = max(SCORES[metric](positives, chosen) for chosen in (probabilities >= 0, probabilities >= 1))
        assert SCORES[metric](positives, probabilities >= threshold) == pytest.approx(wanted), metric
    close = numpy.array([0.7, numpy.nextafter(0.7, 1)])  # nothing lies halfway
    assert best_thresholds(close, numpy.array([False, True]))["f1"] == close[1]


def test_many_rows():
    """Products of four counts don't fit into 64 bits."""
    probabilities, positives = drawn(200_000, 5)
    found = best_thresholds(probabilities, positives)["matthews"]
    score = matthews_corrcoef(positives, probabilities >= found)
    assert all(score >= matthews_corrcoef(positives, probabilities >= found + step) for step in (-0.05, -0.01, 0.01))


def test_scores_are_those_of_rows_that_the_threshold_has_not_seen():
    probabilities, positives = drawn(100, 9)
    folds = list(KFold(5, shuffle=True, random_state=0).split(probabilities))
    found = thresholds_of(probabilities, positives, folds)
    for metric, score in SCORES.items():
        decided = numpy.zeros(100, bool)
        for others, fold in folds:
            decided[fold] = probabilities[fold] >= best_thresholds(probabilities[others], positives[others])[metric]
        assert found[metric] == {
            "threshold": best_thresholds(probabilities, positives)[metric],
            "before": pytest.approx(score(positives, probabilities >= 0.5), abs=1e-12),
            "after": pytest.approx(score(positives, decided), abs=1e-12),
        }
    same_rows = f1_score(positives, probabilities >= found["f1"]["threshold"])
    assert found["f1"]["after"] <= same_rows


def test_one_class_alone_is_no_warning():
    """scikit-learn warns in its Matthews correlation, which would stand between the lines of a training."""
    probabilities, positives = numpy.full(10, 0.9), numpy.ones(10, bool)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = thresholds_of(probabilities, positives, KFold(5).split(probabilities))
    assert found["matthews"] == {"threshold": 0.5, "before": 0.0, "after": 0.0} and found["f1"]["before"] == 1.0
