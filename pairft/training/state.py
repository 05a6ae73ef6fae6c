"""All that the loop changes. A checkpoint holds this, the random states and the best model."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pairft.data.batches import Position, StepData


@dataclass
class LogInterval:
    """What the next line of the log is about: the steps since the last line. Tensors are scalars [] on the device, so
    that counting does not wait for it."""

    loss_sum: Tensor  # of the examples whose loss is finite
    skipped: Tensor  # steps that were not finite: the gradient scaler made the optimizer leave them out
    lost: Tensor  # examples of steps whose loss was not finite
    examples: int = 0
    seconds: float = 0.0
    tokens: int = 0  # without padding
    slots: int = 0  # with padding

    def count(self, loss_sum: Tensor, bad_steps: Tensor, data: StepData) -> None:
        """Add a step, with what `update` returned for it."""
        finite = loss_sum.isfinite()
        self.loss_sum += torch.where(finite, loss_sum, 0.0)
        self.lost += ~finite * data.num_examples
        self.skipped += bad_steps > 0
        self.examples += data.num_examples
        self.tokens += sum(batch.num_tokens for batch in data.micro_batches)
        self.slots += sum(batch.input_ids.numel() for batch in data.micro_batches)


def new_interval(device: torch.device) -> LogInterval:
    loss_sum, skipped, lost = (torch.zeros((), device=device) for _ in range(3))
    return LogInterval(loss_sum, skipped, lost)


@dataclass
class TrainState:
    """The state of a training, without the random states. The loop changes it; a checkpoint saves and restores it."""

    model: torch.nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    interval: LogInterval
    bad_steps: Tensor  # on the device: how many of the latest steps in a row were not finite (step.py)
    step: int = 0  # updates done
    position: Position = field(default_factory=Position)
    examples: int = 0  # seen in all
    seconds: float = 0.0  # of training, without evaluating and saving
    extra: dict[str, Tensor] = field(default_factory=dict)  # scalars [] on the device that optional parts add, by name
    micro_batch_divisor: int = 1  # parts that a micro-batch is cut into, if it does not fit into memory (memory.py)
    num_lines: int = 0  # of metrics.jsonl, when the state was saved
    best: dict[str, Any] | None = None  # the best evaluation by the main metric
    last: dict[str, Any] | None = None  # the latest one
    lost_best: dict[str, Any] | None = None  # an evaluation that was the best, whose model was damaged on disk

    def epoch(self, num_examples: int) -> float:
        """Epochs done, with the fraction of the current one. `num_examples`: of the training split."""
        return self.position.epoch + self.position.consumed / num_examples
