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
from sklearn.metrics import accuracy_score, f1_score


def info(description: str, kind: str) -> evaluate.MetricInfo:
    features = datasets.Features(predictions=datasets.Value(kind), references=datasets.Value(kind))
    return evaluate.MetricInfo(description=description, citation="", features=features, inputs_description="")


class Accuracy(evaluate.Metric):
    """The fraction of correct predictions."""

    def _info(self) -> evaluate.MetricInfo:
        return info("accuracy", "int64")

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        return {"accuracy": float(accuracy_score(references, predictions))}


class F1(evaluate.Metric):
    """F1 of the positive class or, if there is none, macro F1: the mean over the classes that occur."""

    def _info(self) -> evaluate.MetricInfo:
        return info("F1", "int64")

    def _compute(self, predictions: Any, references: Any, positive: int | None) -> dict[str, float]:
        if positive is None:
            return {"f1": float(f1_score(references, predictions, average="macro", zero_division=0.0))}
        # One class against all others. scikit-learn's pos_label would be an error if the class doesn't occur.
        true, predicted = (numpy.asarray(ids) == positive for ids in (references, predictions))
        return {"f1": float(f1_score(true, predicted, zero_division=0.0))}


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
    return float(statistic(predictions, references).statistic)


MODULES: dict[str, type[evaluate.Metric]] = {"accuracy": Accuracy, "f1": F1, "pearson": Pearson, "spearman": Spearman}


def compute(
    names: Sequence[str], predictions: numpy.ndarray, references: numpy.ndarray, positive: int | None = None
) -> dict[str, float]:
    """Compute the named metrics. Predictions and references are class ids, or the values of a regression. `positive`:
    id of the positive class for F1; None for macro F1."""
    scores: dict[str, float] = {}
    for name in names:
        module = MODULES[name](keep_in_memory=True, hash="pairft", experiment_id="pairft")
        options = {"positive": positive} if name == "f1" else {}
        scores |= module.compute(predictions=predictions, references=references, **options) or {}
    return scores
