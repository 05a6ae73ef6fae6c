"""One pass over a split without training: logits and losses in the order of the examples, and the metrics."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy
import torch
from torch import Tensor

from pairft.data.batches import Collate, MicroBatch, cut, evaluation_batches, to_device
from pairft.errors import UserError
from pairft.output import say
from pairft.training.memory import give_back, is_out_of_memory
from pairft.training.step import loss_of

if TYPE_CHECKING:
    from datasets import Dataset

TRAINER_BATCH_SIZE = 8


@dataclass(frozen=True)
class EvalOutput:
    """Logits, losses and labels of the examples of a split, in their order."""

    logits: numpy.ndarray  # float32 [examples, classes]
    losses: numpy.ndarray  # float32 [examples]
    labels: numpy.ndarray  # int64 or float32 [examples]

    def only(self, chosen: numpy.ndarray) -> "EvalOutput":
        """The examples that a bool array [examples] marks."""
        return EvalOutput(self.logits[chosen], self.losses[chosen], self.labels[chosen])


@dataclass
class Fallbacks:
    """What the evaluations so far fell back on: the next ones start with it, and the person is told once."""

    divisor: int = 1  # parts that each batch is cut into to fit into memory
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
    """Logits and losses of every example. Leaves the model in evaluation mode, and the random state as it was.

    `as_trainer`: batches of 8 in the order of the examples, the loss of each example the mean of its batch, and one
    draw from the global random state, as Trainer's loader takes it.

    A batch that doesn't fit into memory is computed in parts; one whose logits overflow in half precision is computed
    again in float32. Raises UserError if a single example doesn't fit.
    """
    fallbacks = fallbacks or Fallbacks()
    model.eval()
    if as_trainer:
        torch.empty((), dtype=torch.int64).random_()
    reduction = "mean" if as_trainer else "none"

    def answer(batch: MicroBatch, amp_dtype: torch.dtype | None) -> tuple[Tensor, ...]:
        logits = logits_of(model, batch, device, amp_dtype, fallbacks)
        [labels] = to_device([batch.labels], device)  # a plain copy would wait for the forward pass
        return logits.float(), loss_of(logits, labels, reduction).expand(len(labels)).float(), labels

    parts, order = [], []
    with torch.inference_mode():
        for indices, batch in evaluation_batches(dataset, collate, TRAINER_BATCH_SIZE if as_trainer else None):
            parts.append(answer(batch, amp_dtype))
            order.append(indices)
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
    """The mean loss and the metrics over the examples. `positive`: the class that F1 is about, None for macro F1.
    `as_trainer`: the mean taken in float32, as Trainer takes it."""
    from pairft.training.metrics import compute  # imports evaluate, which is slow: not before the first step

    loss = outcome.losses.mean(dtype=numpy.float32 if as_trainer else numpy.float64)
    return {"loss": float(loss), **compute(metrics, predictions_of(outcome.logits), outcome.labels, positive)}
