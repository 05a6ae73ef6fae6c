"""The Learner: model, optimizer, collate function and update, built from the settings."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pairft.config import Config
from pairft.data.batches import Collate
from pairft.training import distributed, step
from pairft.training.memory import retry_smaller
from pairft.training.optim import build_optimizer
from pairft.training.state import TrainState, new_interval
from pairft.training.step import Update


@dataclass(frozen=True)
class Learner:
    """A model on its device, with all that is needed to train and evaluate it."""

    state: TrainState  # holds the model and the optimizer
    collate: Collate  # makes a batch from examples
    update: Update  # one optimizer step; repeated in smaller micro-batches if memory runs out
    device: torch.device
    amp_dtype: torch.dtype | None  # of autocast; None: float32 throughout
    class_weights: Tensor | None = None  # float32 [classes] on the device: of the training loss, not of evaluations
    layout: str = "with padding"  # of the batches, in words


def build_learner(
    model: torch.nn.Module,
    collate: Collate,
    config: Config,
    device: torch.device,
    amp_dtype: torch.dtype | None,
    class_weights: Sequence[float] | None = None,
) -> Learner:
    """A learner at step 0. `model` must be on the device already. `class_weights`: of the training loss, by id."""
    weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32, device=device)
    state = TrainState(
        model=model,
        optimizer=build_optimizer(model, config.weight_decay),
        scaler=torch.amp.GradScaler(device.type, enabled=amp_dtype == torch.float16),
        interval=new_interval(device),
        bad_steps=torch.zeros((), device=device),
    )
    update = retry_smaller(plain_update(state, config, device, amp_dtype, weights), state)
    return Learner(state, collate, update, device, amp_dtype, weights)


def plain_update(
    state: TrainState,
    config: Config,
    device: torch.device,
    amp_dtype: torch.dtype | None,
    class_weights: Tensor | None = None,
) -> Update:
    """`step.update` with all but its arguments (micro_batches, num_examples, lr) bound to this state."""
    return functools.partial(
        step.update,
        state.model,
        state.optimizer,
        state.scaler,
        state.bad_steps,
        device=device,
        amp_dtype=amp_dtype,
        max_grad_norm=config.max_grad_norm,
        class_weights=class_weights,
        label_smoothing=config.label_smoothing,
        sum_over_ranks=distributed.step_sum(state.model),
    )
