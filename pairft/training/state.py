"""The training state: all that the loop changes. A checkpoint holds it, the random states and the best model."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pairft.data.batches import Position, StepData
from pairft.training.step import losses_of_example


@dataclass
class LogInterval:
    """Sums over the steps since the last log line, for the next one. Tensors are scalars [] on the device, so that
    counting does not wait for it."""

    loss_sum: Tensor  # over the steps whose loss is finite
    skipped: Tensor  # steps that the gradient scaler skipped because they were not finite
    lost: Tensor  # examples of steps whose loss was not finite
    examples: int = 0
    seconds: float = 0.0
    tokens: int = 0  # without padding
    slots: int = 0  # tokens with padding
    data_seconds: float = 0.0  # of `seconds`, those in which the loop waited for its next step's examples
    losses_of_example: int = 1  # terms of each example in `loss_sum`: the classes if it is multi-label

    def count(self, loss_sum: Tensor, bad_steps: Tensor, data: StepData) -> None:
        """Add a step. `loss_sum`: from `update`."""
        finite = loss_sum.isfinite()
        self.loss_sum += torch.where(finite, loss_sum, 0.0)
        self.lost += ~finite * data.num_examples
        self.skipped += bad_steps > 0
        self.examples += data.num_examples
        for batch in data.micro_batches[:1]:
            self.losses_of_example = losses_of_example(batch.labels)
        self.tokens += sum(batch.num_tokens for batch in data.micro_batches)
        self.slots += sum(batch.input_ids.numel() for batch in data.micro_batches)


def new_interval(device: torch.device) -> LogInterval:
    loss_sum, skipped, lost = (torch.zeros((), device=device) for _ in range(3))
    return LogInterval(loss_sum, skipped, lost)


@dataclass
class TrainState:
    """The state of a training run, without the random states. The loop changes it; checkpoints save and restore it."""

    model: torch.nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    interval: LogInterval
    bad_steps: Tensor  # [] on the device: the number of latest steps in a row that were not finite (step.py)
    step: int = 0  # updates done
    position: Position = field(default_factory=Position)
    examples: int = 0  # seen so far
    seconds: float = 0.0  # of training, without evaluation and saving
    extra: dict[str, Tensor] = field(default_factory=dict)  # scalars [] on the device, added by optional parts, by name
    micro_batch_divisor: int = 1  # parts that each micro-batch is split into, to fit into memory (memory.py)
    sharded: bool = False  # checkpoints hold the shards of each process (--shard full)
    num_lines: int = 0  # of metrics.jsonl when the state was saved
    best: dict[str, Any] | None = None  # the best evaluation by the main metric
    last: dict[str, Any] | None = None  # the latest one
    lost_best: dict[str, Any] | None = None  # the best evaluation, if its model was damaged on disk
    stopped_early: str | None = None  # why the latest evaluation ends the run before its last step

    def timed(self, steps: Iterable[StepData]) -> Iterator[StepData]:
        """Generate `steps`, and count the seconds that each takes to be made."""
        began = time.perf_counter()
        for data in steps:
            self.interval.data_seconds += time.perf_counter() - began
            yield data
            began = time.perf_counter()

    def epoch(self, num_examples: int | None) -> float:
        """Epochs done, including the fraction of the current one. `num_examples`: size of the training split; if it is
        None, only whole epochs count."""
        if num_examples is None:
            return float(self.position.epoch)
        return self.position.epoch + self.position.consumed / num_examples
