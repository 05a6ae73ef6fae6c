"""One pass over a split without training: logits and losses in the rows' order, and the metrics."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy
import torch

from pairft.batches import Collate, evaluation_batches
from pairft.step import loss_of

if TYPE_CHECKING:
    from datasets import Dataset

TRAINER_BATCH_SIZE = 8


@dataclass(frozen=True)
class Outcome:
    """Of each row, in the rows' order."""

    logits: numpy.ndarray  # float32 [rows, classes]
    losses: numpy.ndarray  # float32 [rows]
    labels: numpy.ndarray  # int64 or float32 [rows]

    def only(self, rows: numpy.ndarray) -> "Outcome":
        """The rows that a bool array [rows] picks."""
        return Outcome(self.logits[rows], self.losses[rows], self.labels[rows])


def run_model(
    model: torch.nn.Module,
    dataset: "Dataset",
    collate: Collate,
    device: torch.device,
    amp_dtype: torch.dtype | None,
    as_trainer: bool = False,
) -> Outcome:
    """Logits and losses of every row. Leaves the model in evaluation mode, and the random state as it was.

    `as_trainer`: batches of 8 in the rows' order, each row's loss the mean of its batch, and the one draw that
    Trainer's loader takes from the global random state.
    """
    model.eval()
    if as_trainer:
        torch.empty((), dtype=torch.int64).random_()
    parts, order = [], []
    size = TRAINER_BATCH_SIZE if as_trainer else None
    with torch.inference_mode():
        for rows, batch in evaluation_batches(dataset, collate, size):
            batch = batch.to(device)
            with torch.autocast(device.type, dtype=amp_dtype, enabled=amp_dtype is not None):
                logits = model(**batch.inputs()).logits
            losses = loss_of(logits, batch.labels, "mean" if as_trainer else "none").expand(len(rows))
            parts.append((logits.float(), losses.float(), batch.labels))
            order.append(rows)
        whole = [torch.cat(part).cpu().numpy() for part in zip(*parts, strict=True)]
    back = numpy.argsort(numpy.concatenate(order))
    return Outcome(*(part[back] for part in whole))


def predictions_of(logits: numpy.ndarray) -> numpy.ndarray:
    """Class ids, or the values of a regression (one output)."""
    return logits[:, 0] if logits.shape[1] == 1 else logits.argmax(axis=1)


def score(
    outcome: Outcome, metrics: Sequence[str], positive: int | None = None, as_trainer: bool = False
) -> dict[str, float]:
    """The mean loss and the metrics over the rows. `positive`: the class that F1 is about, None for macro F1.
    `as_trainer`: the mean taken in float32, as Trainer takes it."""
    from pairft.metrics import compute  # imports evaluate: seconds, not wanted before the first step

    loss = outcome.losses.mean(dtype=numpy.float32 if as_trainer else numpy.float64)
    return {"loss": float(loss), **compute(metrics, predictions_of(outcome.logits), outcome.labels, positive)}
