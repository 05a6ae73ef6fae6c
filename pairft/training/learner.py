"""The Learner: model, optimizer, collate function and update, built from the settings."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pairft.config import Config
from pairft.data.batches import Collate
from pairft.errors import UserError
from pairft.training import distributed, layers, lora, sharding, step
from pairft.training.gradient_sum import OpenBucket, open_bucket, step_sum
from pairft.training.memory import retry_smaller
from pairft.training.optim import build_optimizer
from pairft.training.state import TrainState, new_interval
from pairft.training.step import Update

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel


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
    model: "PreTrainedModel",
    collate: Collate,
    config: Config,
    device: torch.device,
    amp_dtype: torch.dtype | None,
    class_weights: Sequence[float] | None = None,
) -> Learner:
    """A learner at step 0. Moves the model to the device or, with --shard full, shards it over the processes.
    `class_weights`: of the training loss, by id."""
    if config.shard == "full" and amp_dtype == torch.float16:
        raise UserError("--shard full has not been tried with --precision fp16: use bf16 or fp32")
    if config.lora_rank is not None:
        lora.add_adapters(model, config.lora_rank, config.lora_alpha or 2 * config.lora_rank, config.seed)
    if config.freeze is not None:
        layers.freeze(model, config.freeze)
    if config.gradient_checkpointing:
        layers.checkpoint_layers(model)
    if config.shard == "full" and distributed.world_size() > 1:
        sharding.shard_model(model, device, amp_dtype)
    else:
        model.to(device)
    weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32, device=device)
    state = TrainState(
        model=model,
        optimizer=build_optimizer(model, config.weight_decay, config.layer_decay),
        scaler=torch.amp.GradScaler(device.type, enabled=amp_dtype == torch.float16),
        interval=new_interval(device),
        bad_steps=torch.zeros((), device=device),
        sharded=config.shard == "full",
    )
    update = plain_update(state, config, device, amp_dtype, weights)
    if not sharding.is_sharded(model):  # one process alone can't repeat its part of the step
        update = retry_smaller(update, state)
    return Learner(state, collate, update, device, amp_dtype, weights)


def plain_update(
    state: TrainState,
    config: Config,
    device: torch.device,
    amp_dtype: torch.dtype | None,
    class_weights: Tensor | None = None,
    open_bucket: OpenBucket = open_bucket,
) -> Update:
    """`step.update` with all but its arguments (micro_batches, num_examples, lr) bound to this state."""
    add_up = step_sum(state.model, open_bucket)
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
        sum_over_ranks=sharding.total_loss if sharding.is_sharded(state.model) else add_up,
    )


def in_step(learner: Learner, dataset: "Dataset") -> Learner:
    """The learner whose update is in step with the other processes if the model is sharded: call it when model and
    collate function are final. `dataset`: the tokenised training split, for an example."""
    if not sharding.is_sharded(learner.state.model):
        return learner
    about = learner.state.model, learner.collate(dataset[:1]), learner.device, learner.amp_dtype
    return replace(learner, update=sharding.with_idle_passes(learner.update, *about))
