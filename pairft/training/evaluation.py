"""One pass over a split without training: logits and losses in the rows' order, and the metrics."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy
import torch
from torch import Tensor

from pairft.data.batches import Collate, MicroBatch, cut, evaluation_batches
from pairft.errors import UserError
from pairft.output import say
from pairft.training.memory import give_back, is_out_of_memory
from pairft.training.step import loss_of

if TYPE_CHECKING:
    from datasets import Dataset

TRAINER_BATCH_SIZE = 8


@dataclass(frozen=True)
class EvalOutput:
    """Of each row, in the rows' order."""

    logits: numpy.ndarray  # float32 [rows, classes]
    losses: numpy.ndarray  # float32 [rows]
    labels: numpy.ndarray  # int64 or float32 [rows]

    def only(self, rows: numpy.ndarray) -> "EvalOutput":
        """The rows that a bool array [rows] picks."""
        return EvalOutput(self.logits[rows], self.losses[rows], self.labels[rows])


@dataclass
class Fallbacks:
    """What the evaluations so far needed, so that the next begin with it and each is said once."""

    divisor: int = 1  # parts that each batch is cut into, since the memory didn't hold it
    overflowed: bool = False


def predict(
    model: torch.nn.Module,
    dataset: "Dataset",
    collate: Collate,
    device: torch.device,
    amp_dtype: torch.dtype | None,
    as_trainer: bool = False,
    fallbacks: Fallbacks | None = None,
) -> EvalOutput:
    """Logits and losses of every row. Leaves the model in evaluation mode, and the random state as it was.

    `as_trainer`: batches of 8 in the rows' order, each row's loss the mean of its batch, and the one draw that
    Trainer's loader takes from the global random state.

    A batch that the memory doesn't hold is computed in parts, and one whose logits overflow in half precision again in
    float32. Raises UserError where the memory doesn't hold a single example.
    """
    fallbacks = fallbacks or Fallbacks()
    model.eval()
    if as_trainer:
        torch.empty((), dtype=torch.int64).random_()
    reduction = "mean" if as_trainer else "none"

    def answer(batch: MicroBatch, amp_dtype: torch.dtype | None) -> tuple[Tensor, ...]:
        logits, labels = logits_of(model, batch, device, amp_dtype, fallbacks), batch.labels.to(device)
        return logits.float(), loss_of(logits, labels, reduction).expand(len(labels)).float(), labels

    parts, order = [], []
    with torch.inference_mode():
        for rows, batch in evaluation_batches(dataset, collate, TRAINER_BATCH_SIZE if as_trainer else None):
            parts.append(answer(batch, amp_dtype))
            order.append(rows)
        if amp_dtype is not None:  # once all are under way: this waits for the device
            finite = torch.stack([logits.isfinite().all() for logits, _, _ in parts]).tolist()
            for number in (number for number, fine in enumerate(finite) if not fine):
                parts[number] = answer(collate(dataset[order[number].tolist()]), None)
                if parts[number][0].isfinite().all() and not fallbacks.overflowed:
                    fallbacks.overflowed = True
                    say(f"warning: {amp_dtype} overflows in evaluation; such batches are computed in fp32")
        whole = [torch.cat(part).cpu().numpy() for part in zip(*parts, strict=True)]
    back = numpy.argsort(numpy.concatenate(order))
    return EvalOutput(*(part[back] for part in whole))


def logits_of(
    model: torch.nn.Module,
    batch: MicroBatch,
    device: torch.device,
    amp_dtype: torch.dtype | None,
    fallbacks: Fallbacks,
) -> Tensor:
    """[examples, classes], on the device."""
    while True:
        try:
            with torch.autocast(device.type, dtype=amp_dtype, enabled=amp_dtype is not None):
                parts = cut([batch], fallbacks.divisor)
                return torch.cat([model(**part.to(device).inputs()).logits for part in parts])
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        # Only here is the error gone, whose traceback holds tensors of the forward pass.
        give_back(device)
        if len(batch.labels) <= fallbacks.divisor:
            raise UserError(
                "the device's memory doesn't hold a single example of this evaluation: take a smaller --max-length or "
                "model, or --precision bf16"
            )
        if fallbacks.divisor == 1:
            say("out of memory: evaluations are done in smaller batches, which changes no result")
        fallbacks.divisor *= 2


def predictions_of(logits: numpy.ndarray) -> numpy.ndarray:
    """Class ids, or the values of a regression (one output)."""
    return logits[:, 0] if logits.shape[1] == 1 else logits.argmax(axis=1)


def compute_metrics(
    outcome: EvalOutput, metrics: Sequence[str], positive: int | None = None, as_trainer: bool = False
) -> dict[str, float]:
    """The mean loss and the metrics over the rows. `positive`: the class that F1 is about, None for macro F1.
    `as_trainer`: the mean taken in float32, as Trainer takes it."""
    from pairft.training.metrics import compute  # imports evaluate, which is slow: not before the first step

    loss = outcome.losses.mean(dtype=numpy.float32 if as_trainer else numpy.float64)
    return {"loss": float(loss), **compute(metrics, predictions_of(outcome.logits), outcome.labels, positive)}
