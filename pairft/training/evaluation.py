"""Evaluate a model on a split: logits and losses in the order of the examples, and the metrics."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy
import torch
from torch import Tensor

from pairft.data.batches import Collate, MicroBatch, cut, evaluation_batches, to_device
from pairft.errors import UserError
from pairft.output import say
from pairft.training import distributed
from pairft.training.memory import empty_cache, is_out_of_memory
from pairft.training.sharding import is_sharded
from pairft.training.step import loss_of

if TYPE_CHECKING:
    from datasets import Dataset

TRAINER_BATCH_SIZE = 8


@dataclass(frozen=True)
class EvalOutput:
    """Logits, losses and labels of a split, in the order of its examples."""

    logits: numpy.ndarray  # float32 [examples, classes]
    losses: numpy.ndarray  # float32 [examples]
    labels: numpy.ndarray  # int64 or float32 [examples]; float32 [examples, classes] if multi-label

    def only(self, chosen: numpy.ndarray) -> "EvalOutput":
        """The output for the examples that `chosen`, bool [examples], marks."""
        return EvalOutput(self.logits[chosen], self.losses[chosen], self.labels[chosen])

    def predictions(self) -> numpy.ndarray:
        """The predicted class ids, values or rows of 0 and 1, of the shape of `labels`."""
        return predictions_of(self.logits, is_multi_label=self.labels.ndim == 2)


@dataclass
class Fallbacks:
    """What earlier evaluations had to fall back on. Later ones start with it, and the user is told only once."""

    divisor: int = 1  # parts that each batch is split into, to fit into memory
    overflowed: bool = False  # a batch has overflowed in half precision


def predict(
    model: torch.nn.Module,
    dataset: "Dataset",
    collate: Collate,
    device: torch.device,
    amp_dtype: torch.dtype | None,
    as_trainer: bool = False,
    fallbacks: Fallbacks | None = None,
) -> EvalOutput:
    """Compute logits and losses of every example. Leaves the model in evaluation mode and, unless `as_trainer`, draws
    nothing from the random state.

    `as_trainer`: evaluate as Trainer does, in batches of 8 in the order of the examples. The loss of each example is
    the mean of its batch, and there is one draw from the global random state, as by Trainer's DataLoader.

    A batch that doesn't fit into memory is computed in parts; one whose logits overflow in half precision is repeated
    in float32. Raises UserError if a single example doesn't fit. Neither is done with a sharded model, since one
    process alone can't repeat a batch.
    """
    fallbacks = fallbacks or Fallbacks()
    model.eval()
    if as_trainer:
        torch.empty((), dtype=torch.int64).random_()
    reduction = "mean" if as_trainer else "none"

    def forward(batch: MicroBatch, amp_dtype: torch.dtype | None) -> tuple[Tensor, ...]:
        logits = logits_of(model, batch, device, amp_dtype, fallbacks)
        [labels] = to_device([batch.labels], device)  # otherwise the copy would wait for the forward pass
        return logits.float(), loss_of(logits, labels, reduction).expand(len(labels)).float(), labels

    parts, order = [], []
    batch_size = TRAINER_BATCH_SIZE if as_trainer else None
    sharded = is_sharded(model)
    share = distributed.rank(), distributed.world_size(), sharded
    with torch.inference_mode():
        for indices, batch in evaluation_batches(dataset, collate, batch_size, *share):
            parts.append(tuple(part[: len(indices)] for part in forward(batch, amp_dtype)))
            order.append(indices)
        if amp_dtype is not None and not sharded:  # after all batches are queued: this waits for the device
            finite = torch.stack([logits.isfinite().all() for logits, _, _ in parts]).tolist() if parts else []
            for number in (number for number, fine in enumerate(finite) if not fine):
                parts[number] = forward(collate(dataset[order[number].tolist()]), None)
                if parts[number][0].isfinite().all() and not fallbacks.overflowed:
                    fallbacks.overflowed = True
                    say(f"warning: {amp_dtype} overflows in evaluation; such batches are repeated in fp32")
        whole = [torch.cat(part).cpu().numpy() for part in zip(*parts, strict=True)]
    if distributed.world_size() > 1:  # the parts of all processes, each of which may have none
        found = [some for some in distributed.gathered((order, whole)) if some[0]]
        order = [indices for some, _ in found for indices in some]
        whole = [numpy.concatenate(some) for some in zip(*(arrays for _, arrays in found), strict=True)]
    original = numpy.argsort(numpy.concatenate(order))
    return EvalOutput(*(part[original] for part in whole))


def logits_of(
    model: torch.nn.Module,
    batch: MicroBatch,
    device: torch.device,
    amp_dtype: torch.dtype | None,
    fallbacks: Fallbacks,
) -> Tensor:
    """The logits of a batch, [examples, classes] on the device, computed in parts if memory runs out."""
    while True:
        try:
            with torch.autocast(device.type, dtype=amp_dtype, enabled=amp_dtype is not None):
                parts = cut([batch], fallbacks.divisor)
                return torch.cat([model(**part.to(device).inputs()).logits for part in parts])
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        # Out here the error is gone, whose traceback holds tensors of the forward pass.
        empty_cache(device)
        if is_sharded(model):
            raise UserError(
                "memory ran out in an evaluation, and with --shard full its batches are not split: use a smaller "
                "--max-length, or more processes"
            )
        if len(batch.labels) <= fallbacks.divisor:
            raise UserError(
                "a single example of this evaluation doesn't fit into the device's memory: use a smaller --max-length "
                "or model, or --precision bf16"
            )
        if fallbacks.divisor == 1:
            say("out of memory: evaluations use smaller batches; the results are the same")
        fallbacks.divisor *= 2


def predictions_of(logits: numpy.ndarray, is_multi_label: bool = False) -> numpy.ndarray:
    """Class ids, int64 [examples]; the values of a regression (one output), float32 [examples]; or, multi-label, 1 for
    each class whose probability is above 0.5 and 0 for the others, int64 [examples, classes]."""
    if is_multi_label:
        return (logits > 0).astype(numpy.int64)
    return logits[:, 0] if logits.shape[1] == 1 else logits.argmax(axis=1)


def compute_metrics(
    output: EvalOutput,
    metrics: Sequence[str],
    positive: int | None = None,
    as_trainer: bool = False,
    predictions: numpy.ndarray | None = None,
) -> dict[str, float]:
    """The mean loss and the metrics over the examples. `positive`: id of the positive class for F1; None for macro F1.
    `as_trainer`: compute the mean loss in float32, as Trainer does. `predictions`: others than the most probable
    classes."""
    from pairft.training.metrics import compute  # imports evaluate, which is slow, so not before the first step

    predictions = output.predictions() if predictions is None else predictions
    loss = output.losses.mean(dtype=numpy.float32 if as_trainer else numpy.float64)
    return {"loss": float(loss), **compute(metrics, predictions, output.labels, positive)}
