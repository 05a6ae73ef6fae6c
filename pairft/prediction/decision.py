"""How predict turns logits into probabilities and labels: as the model has them or, if asked to, with the temperature
and the threshold that training has saved in calibration.json."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pairft.errors import UserError
from pairft.tasks import MULTI_LABEL, REGRESSION, THRESHOLD_METRICS, positive_class

if TYPE_CHECKING:
    from pathlib import Path

    import numpy


@dataclass(frozen=True)
class Decision:
    """`temperature`: what all logits are divided by; None: they stay. `threshold`: of two classes,
    `positive` is the label if its probability is at least this; None: the most probable class is."""

    temperature: float | None = None
    threshold: float | None = None
    positive: int = 1
    threshold_is_calibrated: bool = False  # it is about probabilities at the temperature

    def scaled(self, logits: "numpy.ndarray") -> "numpy.ndarray":
        """The logits whose softmax or sigmoid are the probabilities. The most probable classes are the same."""
        return logits if self.temperature is None else logits / self.temperature

    def classes(self, logits: "numpy.ndarray") -> "numpy.ndarray | None":
        """The class ids that the threshold decides, int64 [rows]; None without one. logits: the model's, [rows, 2]."""
        if self.threshold is None:
            return None
        import numpy
        from scipy.special import expit

        logits = (self.scaled(logits) if self.threshold_is_calibrated else logits).astype(numpy.float64)
        probabilities = expit(logits[:, self.positive] - logits[:, 1 - self.positive])
        return numpy.where(probabilities >= self.threshold, self.positive, 1 - self.positive)


PLAIN = Decision()  # as the model has them


def check_threshold(threshold: str | float | None, top_k: int | None) -> None:
    """Raise UserError unless it is a metric or a number between 0 and 1, and --top-k has no other order."""
    if threshold is None:
        return
    try:
        usable = threshold in THRESHOLD_METRICS or 0 < float(threshold) < 1
    except ValueError:
        usable = False
    if not usable:
        names = ", ".join(THRESHOLD_METRICS)
        raise UserError(f"--threshold is {threshold!r}, but should be a number between 0 and 1, or one of: {names}")
    if top_k is not None:
        raise UserError("--threshold may choose the less probable class, which --top-k lists second: leave one out")


def decision_of(
    model: str,
    calibrated: bool,
    threshold: str | float | None,
    names: Sequence[str] | None,
    kind: str,
    sidecar: dict[str, Any],
) -> Decision:
    """What --calibrated and --threshold ask of a model. `threshold`: a metric, or a probability. `names`, `kind`: its
    classes and problem type. `sidecar`: the content of its pairft.json. Raises UserError if it can't be done."""
    if not calibrated and threshold is None:
        return PLAIN
    if names is None or kind == REGRESSION:
        flag = "--calibrated" if calibrated else "--threshold"
        raise UserError(f"{flag} is about probabilities, but {model} predicts scores: leave it out")
    if threshold is not None and (kind == MULTI_LABEL or len(names) != 2):
        has = "any number of labels for a row (multi-label)" if kind == MULTI_LABEL else f"{len(names)} classes"
        raise UserError(f"--threshold is for two classes, but {model} has {has}: leave it out")
    temperature = value_of(model, "--calibrated", "temperature") if calibrated else None
    if threshold is None:
        return Decision(temperature)
    named = sidecar.get("positive_class")
    positive = names.index(named) if named in names else positive_class(names)
    assert positive is not None, names
    if threshold not in THRESHOLD_METRICS:
        return Decision(temperature, float(threshold), positive, threshold_is_calibrated=calibrated)
    flag = f"--threshold {threshold}"
    value, named = value_of(model, flag, "thresholds", threshold, "threshold"), held(model, flag, "positive_class")[1]
    return Decision(temperature, value, names.index(named) if named in names else positive)


def value_of(model: str, flag: str, *keys: str) -> float:
    """A number in calibration.json. Raises UserError if there is none."""
    file, found = held(model, flag, *keys)
    try:
        number = float(found)
    except (ValueError, TypeError):
        number = math.nan
    if not (0 <= number < math.inf) or (keys[-1] == "temperature" and number == 0):
        raise UserError(f"{flag}: {file} has no usable value of {'/'.join(keys)}: save the model again")
    return number


def held(model: str, flag: str, *keys: str) -> tuple["Path", Any]:
    """The file calibration.json, and what it has below the keys: None if it has nothing. Raises UserError if there is
    no such file."""
    from pairft.model import classifier
    from pairft.model.card import CALIBRATION

    file = classifier.own_file(model, CALIBRATION)
    if file is None:
        raise UserError(
            f"{flag}: {model} has no {CALIBRATION}, which training writes beside a classifier's weights: train it "
            "again with this version, or leave the flag out"
        )
    try:
        found: Any = json.loads(file.read_text(encoding="utf-8"))
        for key in keys:
            found = found[key]
    except (OSError, ValueError, KeyError, TypeError):
        found = None
    return file, found
