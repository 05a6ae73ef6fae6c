"""The metrics, as `evaluate` modules that are part of this package: nothing is downloaded, no script is run.

scikit-learn and SciPy compute the values. Importing this file imports `evaluate`, which takes half a second or more, so
import it only where a metric is computed.
"""

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate
import numpy
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef


def info(description: str, kind: str) -> evaluate.MetricInfo:
    one = datasets.Value(kind)
    features = [
        datasets.Features(predictions=value, references=value)
        for value in (one, datasets.List(one))  # multi-label
    ]
    return evaluate.MetricInfo(description=description, citation="", features=features, inputs_description="")


class Accuracy(evaluate.Metric):
    """The fraction of correct predictions; of a multi-label row, all labels have to be correct."""

    def _info(self) -> evaluate.MetricInfo:
        return info("accuracy", "int64")

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        true, predicted = numpy.asarray(references), numpy.asarray(predictions)
        if true.ndim == 2:
            return {"accuracy": float((true == predicted).all(axis=1).mean())}
        return {"accuracy": float(accuracy_score(true, predicted))}


class F1(evaluate.Metric):
    """F1 of the positive class or, if there is none, macro F1: the mean over the classes that occur. Multi-label: the
    mean over all labels, where one that neither occurs nor is predicted has 0."""

    def _info(self) -> evaluate.MetricInfo:
        return info("F1", "int64")

    def _compute(self, predictions: Any, references: Any, positive: int | None) -> dict[str, float]:
        if numpy.ndim(references) == 2:
            labels = zip(numpy.transpose(references), numpy.transpose(predictions), strict=True)
            return {"f1": float(numpy.mean([f1_score(*label, zero_division=0.0) for label in labels]))}
        if positive is None:
            return {"f1": float(f1_score(references, predictions, average="macro", zero_division=0.0))}
        # One class against all others. scikit-learn's pos_label would be an error if the class doesn't occur.
        true, predicted = (numpy.asarray(ids) == positive for ids in (references, predictions))
        return {"f1": float(f1_score(true, predicted, zero_division=0.0))}


class F1Micro(evaluate.Metric):
    """F1 over all labels of all rows of multi-label data, each a decision of its own."""

    def _info(self) -> evaluate.MetricInfo:
        return info("micro F1", "int64")

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        true, predicted = numpy.ravel(references), numpy.ravel(predictions)
        return {"f1_micro": float(f1_score(true, predicted, zero_division=0.0))}


class Matthews(evaluate.Metric):
    """Matthews' correlation of class ids; 0 where one side is constant and it is undefined."""

    def _info(self) -> evaluate.MetricInfo:
        return info("Matthews correlation", "int64")

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        return {"matthews": correlation(matthews_corrcoef, predictions, references)}


class Pearson(evaluate.Metric):
    """Pearson correlation; 0 if either side is constant, for which it is undefined."""

    def _info(self) -> evaluate.MetricInfo:
        return info("Pearson correlation", "float64")

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        return {"pearson": correlation(pearsonr, predictions, references)}


class Spearman(evaluate.Metric):
    """Spearman rank correlation; 0 if either side is constant, for which it is undefined."""

    def _info(self) -> evaluate.MetricInfo:
        return info("Spearman correlation", "float64")

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        return {"spearman": correlation(spearmanr, predictions, references)}


def correlation(statistic: Any, predictions: Any, references: Any) -> float:
    if len(references) < 2 or min(numpy.ptp(predictions), numpy.ptp(references)) == 0:
        return 0.0
    found = statistic(predictions, references)
    return float(getattr(found, "statistic", found))  # SciPy's come with a p-value


MODULES: dict[str, type[evaluate.Metric]] = {
    "accuracy": Accuracy,
    "f1": F1,
    "f1_micro": F1Micro,
    "matthews": Matthews,
    "pearson": Pearson,
    "spearman": Spearman,
}


def compute(
    names: Sequence[str], predictions: numpy.ndarray, references: numpy.ndarray, positive: int | None = None
) -> dict[str, float]:
    """Compute the named metrics. Predictions and references are class ids or the values of a regression, [examples], or
    multi-label, 0 and 1 [examples, classes]. `positive`: id of the positive class for F1; None for macro F1."""
    scores: dict[str, float] = {}
    for name in names:
        module = MODULES[name](keep_in_memory=True, hash="pairft", experiment_id="pairft")
        options = {"positive": positive} if name == "f1" else {}
        scores |= module.compute(predictions=predictions, references=references, **options) or {}
    return scores
