"""For two classes: the probability at which a row becomes positive, chosen for a metric by trying all."""

import functools
import warnings
from collections.abc import Iterable
from typing import Any

import numpy

from pairft.tasks import THRESHOLD_METRICS


def thresholds_of(
    probabilities: numpy.ndarray, positives: numpy.ndarray, folds: Iterable[tuple[numpy.ndarray, numpy.ndarray]]
) -> dict[str, dict[str, float]]:
    """For each metric: the best threshold on all rows; its value `before`, at 0.5; and `after`, with each fold's rows
    decided at the threshold that is best on the other folds, since the value on the very rows would flatter it.

    probabilities: float64 [rows], of the positive class. positives: bool [rows]. folds: the indices of the other rows
    and of the fold's.
    """
    from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

    decided = {metric: numpy.empty_like(positives) for metric in THRESHOLD_METRICS}
    for others, fold in folds:
        for metric, threshold in best_thresholds(probabilities[others], positives[others]).items():
            decided[metric][fold] = probabilities[fold] >= threshold
    scores = {
        "accuracy": accuracy_score,
        "f1": functools.partial(f1_score, zero_division=0.0),
        "matthews": matthews_corrcoef,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of Matthews' correlation, if there is only one class
        return {
            metric: {
                "threshold": threshold,
                "before": float(scores[metric](positives, probabilities >= 0.5)),
                "after": float(scores[metric](positives, decided[metric])),
            }
            for metric, threshold in best_thresholds(probabilities, positives).items()
        }


def best_thresholds(probabilities: numpy.ndarray, positives: numpy.ndarray) -> dict[str, float]:
    """For each metric, the threshold with the highest value; of several, the one closest to 0.5.

    Tried is one threshold between each two neighbours among the distinct probabilities, one below all and one above
    all: others decide no row differently. It is 0.5 if that lies between the two, else halfway, so that rounding
    elsewhere doesn't change the decision on a row.
    """
    values, place = numpy.unique(probabilities, return_inverse=True)
    low, high = numpy.append(0.0, values), numpy.append(values, 1.0)
    middle = (low + high) / 2
    thresholds = numpy.where((low < 0.5) & (high >= 0.5), 0.5, numpy.where(middle > low, middle, high))

    # Threshold i calls the rows with values[i:] positive: all rows but those with values[:i].
    # Counts are floats, since products of four of them don't fit into an integer.
    missed = numpy.append(0.0, numpy.cumsum(numpy.bincount(place, weights=positives)))
    below = numpy.append(0.0, numpy.cumsum(numpy.bincount(place)))
    true_positives, false_negatives, true_negatives = missed[-1] - missed, missed, below - missed
    false_positives = below[-1] - below - true_positives
    scores = metrics_from_counts(true_positives, false_positives, false_negatives, true_negatives)

    possible = slice(None, -1 if values[-1] == 1 else None)  # no threshold lies above a probability of 1
    distance = numpy.abs(thresholds[possible] - 0.5)
    return {
        metric: float(thresholds[min(numpy.flatnonzero(score[possible] == score[possible].max()), key=distance.item)])
        for metric, score in scores.items()
    }


def metrics_from_counts(
    tp: numpy.ndarray, fp: numpy.ndarray, fn: numpy.ndarray, tn: numpy.ndarray
) -> dict[str, numpy.ndarray]:
    """The metrics of many confusion matrices: counts of true and false positives and negatives, [matrices]. 0 where F1
    or Matthews' correlation is undefined."""
    spread: Any = numpy.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    found = {
        "accuracy": (tp + tn) / (tp + tn + fp + fn),
        "f1": 2 * tp / numpy.maximum(2 * tp + fp + fn, 1),
        "matthews": (tp * tn - fp * fn) / numpy.where(spread == 0, 1, spread),
    }
    return {metric: found[metric] for metric in THRESHOLD_METRICS}
