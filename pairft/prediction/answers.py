"""The answer for each row, from its logits, and the metrics if there are labels."""

from typing import TYPE_CHECKING, Any

from pairft.errors import UserError
from pairft.model import head
from pairft.prediction.decision import PLAIN, Decision
from pairft.tasks import MULTI_LABEL, REGRESSION, SINGLE_LABEL, TASKS, f1_of, metrics_of, positive_class
from pairft.training.evaluation import EvalOutput, compute_metrics, predictions_of

if TYPE_CHECKING:
    import numpy
    from datasets import Dataset
    from transformers import PretrainedConfig

    from pairft.data.meaning import Target


def labels_of(
    rows: "Dataset",
    where: str,
    column: str,
    names: tuple[str, ...] | None,
    config: "PretrainedConfig",
    about: dict[str, Any],
) -> dict[str, "Target"]:
    """The target of each distinct label in the column; empty if no row has a label. Raises UserError for labels that
    the model's answers can't be compared with."""
    from pairft.data.meaning import has_comma, read_labels

    kind, *_ = head.meaning_of(config, about)
    if names is not None and kind == REGRESSION:
        raise UserError(f"the model gives {head.described(config)} for each row, and {where} has one label")
    numbered = "task" not in about or TASKS[about["task"]].label_names is not None
    by_number = about.get("labels_by_number", numbered)
    comma = kind == REGRESSION and has_comma([rows], where, column)
    return read_labels(rows, where, column, kind, names, by_number, label_needed=False, comma=comma)


def probabilities_of(logits: "numpy.ndarray", kind: str) -> "numpy.ndarray":
    """The one place where logits become probabilities: the softmax over the classes or, multi-label, the sigmoid of
    each. Both are float32 [rows, classes]."""
    import torch

    values = torch.from_numpy(logits)
    found: numpy.ndarray = (values.sigmoid() if kind == MULTI_LABEL else values.softmax(1)).numpy()
    return found


def answers_of(
    logits: "numpy.ndarray",
    names: tuple[str, ...] | None,
    kind: str,
    top_k: int | None = None,
    decision: Decision = PLAIN,
) -> dict[str, list[Any]]:
    """The output columns. Classification: the predicted label and the probability of each class; with `top_k` those of
    the most probable classes, in descending order. Multi-label: the labels with a probability above 0.5. Regression:
    the score or, if `names` is not None, a score per output.

    logits: float32 [rows, outputs]. decision: what --calibrated and --threshold ask for.
    """
    if top_k is not None and (top_k < 1 or names is None or kind == REGRESSION):
        raise UserError(f"--top-k {top_k}: it should be at least 1, and the model should predict classes, not scores")
    if names is None:
        return {"score": predictions_of(logits).tolist()}
    if kind == REGRESSION:
        return {f"score_{name}": logits[:, index].tolist() for index, name in enumerate(names)}
    probabilities = probabilities_of(decision.scaled(logits), kind)
    if top_k is not None:
        return most_probable(logits, probabilities, names, top_k)
    if kind == MULTI_LABEL:
        predicted = predictions_of(logits, is_multi_label=True)
        chosen = [", ".join(name for name, high in zip(names, row, strict=True) if high) for row in predicted]
    else:
        decided = decision.classes(logits)
        chosen = [names[index] for index in (predictions_of(logits) if decided is None else decided)]
    return {"label": chosen} | {f"probability_{name}": probabilities[:, i].tolist() for i, name in enumerate(names)}


def most_probable(
    logits: "numpy.ndarray", probabilities: "numpy.ndarray", names: tuple[str, ...], top_k: int
) -> dict[str, list[Any]]:
    """The columns of --top-k: label and probability, label_2 and probability_2, … The first label is the predicted one,
    also where several classes have the same probability."""
    order = (-logits).argsort(axis=1, kind="stable")[:, :top_k]
    columns: dict[str, list[Any]] = {}
    for rank, indices in enumerate(order.T):
        suffix = f"_{rank + 1}" if rank else ""
        columns[f"label{suffix}"] = [names[index] for index in indices]
        columns[f"probability{suffix}"] = probabilities[range(len(indices)), indices].tolist()
    return columns


def scores_of(
    output: EvalOutput,
    names: tuple[str, ...] | None,
    kind: str,
    about: dict[str, Any],
    decision: Decision = PLAIN,
) -> str:
    """The metrics over the rows that have a label, as a line of text. With --calibrated, those of the probabilities,
    too."""
    from pairft.data.targets import has_label

    labelled = output.only(has_label(output.labels))
    metrics, _ = metrics_of(TASKS[about.get("task", "custom")], kind)
    positive = positive_class(names) if kind == SINGLE_LABEL else None
    if names and about.get("positive_class") in names:
        positive = names.index(about["positive_class"])
    scores = compute_metrics(labelled, metrics, positive, predictions=decision.classes(labelled.logits))
    if decision.temperature is not None:
        from pairft.training.calibration import probability_scores  # not needed otherwise

        scores |= probability_scores(decision.scaled(labelled.logits), labelled.labels)
    line = "  ".join(f"{name} {value:.4f}" for name, value in scores.items()) + f"  ({len(labelled.labels)} rows)"
    if len(labelled.labels) < len(output.labels):
        line += f", {len(output.labels) - len(labelled.labels)} without a label left out"
    if names and "f1" in metrics:
        line += f", {f1_of(None if positive is None else names[positive])}"
    return line
