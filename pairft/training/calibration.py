"""How far the probabilities of a classifier can be trusted, and the temperature that makes them more honest.

The logits are those of an evaluation of the validation split; nothing here changes them or the weights. Temperature
scaling (Guo et al. 2017, https://arxiv.org/abs/1706.04599) divides all logits by one number, T: the predicted classes
stay, and with T > 1 the probabilities move away from 0 and 1.

A multi-label row is a decision between two classes for each label, with one temperature for all of them.
"""

from collections.abc import Sequence
from typing import Any

import numpy

from pairft.tasks import REGRESSION, SINGLE_LABEL, positive_class
from pairft.training.evaluation import EvalOutput
from pairft.training.thresholds import thresholds_of

BINS = 15  # of the expected calibration error, as in Guo et al.
FOLDS = 5
TEMPERATURES = (0.05, 20.0)  # the range in which it is sought


def calibration_of(
    output: EvalOutput, problem_type: str, names: Sequence[str] | None, positive: int | None
) -> dict[str, Any] | None:
    """The content of calibration.json; None for a regression, and for fewer rows than folds.

    `before` has the scores of the probabilities as they are. `after` has those at the temperature: each fold's rows at
    one that was fitted on the other folds, since scores on the very rows of the fit would flatter it. `temperature` is
    fitted on all rows. `names`: of the classes. Of two, `thresholds` are chosen for the one with the id `positive`; if
    no metric of the task needs one, for that which `positive_class` takes.
    """
    from scipy.special import softmax
    from sklearn.model_selection import KFold

    rows = len(output.labels)
    if problem_type == REGRESSION or rows < FOLDS:
        return None
    folds = list(KFold(FOLDS, shuffle=True, random_state=0).split(numpy.arange(rows)))
    divided = output.logits.astype(numpy.float64)
    for others, fold in folds:
        divided[fold] /= fit_temperature(output.logits[others], output.labels[others])
    found: dict[str, Any] = {
        "split": "validation",
        "rows": rows,
        "temperature": fit_temperature(output.logits, output.labels),
        "before": probability_scores(output.logits, output.labels),
        "after": probability_scores(divided, output.labels),
    }
    if problem_type == SINGLE_LABEL and names is not None and len(names) == 2:
        positive = positive_class(names) if positive is None else positive
        assert positive is not None, names
        found["positive_class"] = names[positive]
        probabilities = softmax(output.logits.astype(numpy.float64), axis=1)[:, positive]
        found["thresholds"] = thresholds_of(probabilities, output.labels == positive, folds)
    return found


def decisions(logits: numpy.ndarray, labels: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Logits, float64 [decisions, classes], and class ids, int64 [decisions]: a decision for each row or, multi-label,
    for each label of each row, between no (with the logit 0) and yes."""
    logits = logits.astype(numpy.float64)
    if labels.ndim == 2:
        logits = numpy.stack([numpy.zeros(logits.size), logits.ravel()], axis=1)
    return logits, labels.ravel().astype(numpy.int64)


def fit_temperature(logits: numpy.ndarray, labels: numpy.ndarray) -> float:
    """The temperature with the smallest log loss, which has a single minimum: it is convex in 1 / temperature.

    If every label has the highest logit of its row, the log loss falls to 0 with the temperature, and the rows don't
    say how confident to be. Then it is 1.
    """
    from scipy.optimize import minimize_scalar

    logits, labels = decisions(logits, labels)
    below = (logits - logits.max(axis=1, keepdims=True)).T.copy()  # [classes, rows]: the distance to the highest logit
    missed = -below[labels, numpy.arange(len(labels))].mean()
    if missed == 0:
        return 1.0

    def log_loss(log_temperature: float) -> float:
        temperature = numpy.exp(log_temperature)
        return float(missed / temperature + numpy.log(numpy.exp(below / temperature).sum(axis=0)).mean())

    found = minimize_scalar(log_loss, bounds=numpy.log(TEMPERATURES), method="bounded", options={"xatol": 1e-8})
    return float(numpy.exp(found.x))


def probability_scores(logits: numpy.ndarray, labels: numpy.ndarray) -> dict[str, float]:
    """Log loss, Brier score and expected calibration error of the probabilities."""
    from scipy.special import softmax
    from sklearn.metrics import log_loss

    logits, labels = decisions(logits, labels)
    probabilities = softmax(logits, axis=1)
    return {
        "log_loss": float(log_loss(labels, probabilities, labels=range(logits.shape[1]))),
        "brier": brier_score(probabilities, labels),
        "ece": expected_calibration_error(probabilities, labels),
    }


def brier_score(probabilities: numpy.ndarray, labels: numpy.ndarray) -> float:
    """The mean squared error of the probabilities: for two classes of one of them, as usual (0 to 1), for more summed
    over the classes (0 to 2).

    It is scikit-learn's score of one class against the others, since those before 1.7 have no other.
    """
    from sklearn.metrics import brier_score_loss

    classes = range(probabilities.shape[1]) if probabilities.shape[1] > 2 else [1]
    return float(sum(brier_score_loss(labels == one, probabilities[:, one], pos_label=True) for one in classes))


def expected_calibration_error(probabilities: numpy.ndarray, labels: numpy.ndarray) -> float:
    """The difference between confidence (the probability of the predicted class) and accuracy in each of 15 bins of
    equal width, (0, 1/15] to (14/15, 1], weighted by the number of rows in it. As in Guo et al. 2017."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    bins = numpy.ceil(confidence * BINS).astype(numpy.int64)
    differences = numpy.bincount(bins, weights=right - confidence)  # the sum over the rows of each bin
    return float(numpy.abs(differences).sum() / len(labels))
