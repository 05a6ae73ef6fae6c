"""The entry points of the fast paths: `add_fast_paths` for training, `faster_layers` and `padding_free` for the forward
pass alone.

train.py and predictor.py call these functions if this folder exists. Nothing else outside the folder imports it.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from pairft.config import Config
from pairft.data.batches import Collate
from pairft.data.lengths import first_position, length_limit
from pairft.errors import UserError
from pairft.speed import dropout, embedding, unpad
from pairft.speed.capture import replay_steps
from pairft.speed.linear import use_onednn
from pairft.speed.shared_sum import open_shared_bucket
from pairft.training import distributed
from pairft.training.device import is_on
from pairft.training.learner import Learner, plain_update
from pairft.training.memory import retry_smaller
from pairft.training.optim import build_optimizer

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


def add_fast_paths(
    learner: Learner, config: Config, dataset: "Dataset", tokenizer: "PreTrainedTokenizerFast"
) -> Learner:
    """The learner with every fast path that `config` turns on for its device.

    Call it at step 0, before a checkpoint is restored: if the parameters change, the state gets a new optimizer.
    `dataset`: the tokenised training split. Changes the model in place, and leaves it in evaluation mode if it is now
    padding-free. With the preset "trainer", dropout and the embedding are not replaced.

    Raises UserError for `--unpad always` if the model can't be padding-free.
    """
    model: Any = learner.state.model
    device, amp_dtype, as_trainer = learner.device, learner.amp_dtype, config.preset == "trainer"
    collate, layout = padding_free(model, learner.collate, dataset, tokenizer, amp_dtype, config.unpad)
    if not as_trainer:
        dropout.replace_dropout(model)
    used_rows = None
    may_reduce = not config.streaming and not learner.state.sharded  # a stream may bring any token; shards are whole
    if not as_trainer and may_reduce and is_on("auto", device):
        used_rows = embedding.train_used_rows(model, dataset, tokenizer.pad_token_id)
    may_capture = device.type == "cuda" and not config.deterministic and distributed.world_size() == 1
    captured = may_capture and is_on(config.capture, device)

    state, update = learner.state, learner.update
    if used_rows is not None or captured:
        state.optimizer = build_optimizer(model, config.weight_decay, config.layer_decay, capturable=captured)
        if used_rows is not None:
            embedding.decay_unused_rows(used_rows, state.optimizer)
            state.extra["embedding_decay"] = used_rows.decay_factor
    several = distributed.world_size() > 1 and not learner.state.sharded
    if used_rows is not None or captured or several:
        update = plain_update(state, config, device, amp_dtype, learner.class_weights, open_shared_bucket)
        release = None
        if captured:
            update, release = replay_steps(update, device)
        update = retry_smaller(update, state, release)
    return replace(learner, collate=collate, update=update, layout=layout)


def faster_layers(model: "PreTrainedModel", amp_dtype: torch.dtype | None) -> None:
    """Make the forward pass of a model that only predicts faster, on a CPU in float32. Changes the model in place."""
    if model.device.type == "cpu" and amp_dtype is None:
        use_onednn(model)


def padding_free(
    model: "PreTrainedModel",
    collate: Collate,
    dataset: "Dataset",
    tokenizer: "PreTrainedTokenizerFast",
    amp_dtype: torch.dtype | None,
    choice: str = "auto",
) -> tuple[Collate, str]:
    """Make the model's forward pass padding-free, if `choice` (--unpad) turns it on for the model's device and it
    computes the same on a few examples of `dataset` (unpad.py). Returns the collate function to use, and a description
    of the layout of its batches; if the model is not changed, these are `collate` and the reason.

    Raises UserError if `choice` is "always" and the model can't be padding-free.
    """
    if not is_on(choice, model.device):
        return collate, "with padding"
    trial = unpad.trial_examples(dataset, model.config, length_limit(tokenizer, model.config))
    packed, layout = unpad.prepare(model, collate, trial, first_position(model.config), amp_dtype)
    if packed is collate and choice == "always":
        raise UserError(f"--unpad always: {layout}; leave it out")
    return packed, layout
