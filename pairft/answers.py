"""What predict says: each row's answer, and the scores where there are labels."""

from typing import TYPE_CHECKING, Any

from pairft.errors import UserError
from pairft.model import head
from pairft.tasks import TASKS, f1_of, metrics_of, positive_class
from pairft.training.evaluation import EvalOutput, compute_metrics, predictions_of

if TYPE_CHECKING:
    import numpy
    from datasets import Dataset
    from transformers import PretrainedConfig


def labels_of(
    rows: "Dataset",
    where: str,
    column: str,
    names: tuple[str, ...] | None,
    config: "PretrainedConfig",
    about: dict[str, Any],
) -> dict[str, float]:
    """The id or value of each text that the label column holds; empty where no row has a label. Raises UserError for
    labels that can't be scored against."""
    from pairft.data.labels import read_labels

    if names is not None and head.kind_of(config) != head.SINGLE_LABEL:
        raise UserError(f"the model gives {head.described(config)} for each row, and {where} has one label")
    numbered = "task" not in about or TASKS[about["task"]].label_names is not None
    by_number = about.get("labels_by_number", numbered)
    return read_labels(rows, where, column, names, by_number, label_needed=False)


def answers_of(logits: "numpy.ndarray", names: tuple[str, ...] | None, kind: str) -> dict[str, list[Any]]:
    """Columns: the label's name and the probability of each, or the score (without names) or scores of a regression.
    Of several labels a row, those with a probability above one half. logits: [rows, outputs]."""
    from scipy.special import expit, softmax

    if names is None:
        return {"score": predictions_of(logits).tolist()}
    if kind == head.REGRESSION:
        return {f"score_{name}": logits[:, index].tolist() for index, name in enumerate(names)}
    probabilities = expit(logits) if kind == head.MULTI_LABEL else softmax(logits, axis=1)
    if kind == head.MULTI_LABEL:
        chosen = [", ".join(name for name, high in zip(names, row, strict=True) if high) for row in probabilities > 0.5]
    else:
        chosen = [names[index] for index in predictions_of(logits)]
    return {"label": chosen} | {f"probability_{name}": probabilities[:, i].tolist() for i, name in enumerate(names)}


def scores_of(outcome: EvalOutput, names: tuple[str, ...] | None, about: dict[str, Any]) -> str:
    """The metrics over the rows that have a label, as a line."""
    from pairft.data.targets import has_label

    known = outcome.only(has_label(outcome.labels))
    metrics, _ = metrics_of(TASKS[about.get("task", "custom")], names)
    positive = positive_class(names)
    if names and about.get("positive_class") in names:
        positive = names.index(about["positive_class"])
    scores = compute_metrics(known, metrics, positive)
    line = "  ".join(f"{name} {value:.4f}" for name, value in scores.items()) + f"  ({len(known.labels)} rows)"
    if len(known.labels) < len(outcome.labels):
        line += f", {len(outcome.labels) - len(known.labels)} without a label left out"
    if names and "f1" in metrics:
        line += f", {f1_of(None if positive is None else names[positive])}"
    return line
