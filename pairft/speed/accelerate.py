"""Where the fast paths are plugged in: a Learner in, a faster Learner out; and the forward pass alone, for predictions.

Nothing below this folder knows it: train.py and predict.py call these two functions if the folder is there, and train
and predict without them, slower, if it isn't.
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
from pairft.training.device import is_on
from pairft.training.learner import Learner, plain_update
from pairft.training.memory import retry_smaller
from pairft.training.optim import build_optimizer

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerFast


def accelerate(learner: Learner, config: Config, dataset: "Dataset", tokenizer: "PreTrainedTokenizerFast") -> Learner:
    """The learner with every fast path that `config` asks for, or that is the default, on its device.

    Call it at step 0, before a checkpoint is restored: its state has a new optimizer if the parameters have changed.
    `dataset`: the tokenised training split. Changes the model in place, and leaves it in evaluation mode if it is now
    padding-free. With the preset "trainer" dropout and the embedding stay torch's own.

    Raises UserError for `--unpad always` if the model can't be padding-free.
    """
    model: Any = learner.state.model
    device, amp_dtype, as_trainer = learner.device, learner.amp_dtype, config.preset == "trainer"
    collate, layout = padding_free(model, learner.collate, dataset, tokenizer, amp_dtype, config.unpad)
    if not as_trainer:
        dropout.replace_dropout(model)
    rows = None
    if not as_trainer and is_on("auto", device):
        rows = embedding.train_used_rows(model, dataset, tokenizer.pad_token_id)
    captured = device.type == "cuda" and is_on(config.capture, device) and not config.deterministic

    state, update = learner.state, learner.update
    if rows is not None or captured:
        state = replace(state, optimizer=build_optimizer(model, config.weight_decay, capturable=captured))
        if rows is not None:
            embedding.decay_unused_rows(rows, state.optimizer)
            state.extra = {**state.extra, "embedding_decay": rows.decay_factor}
        update = plain_update(state, config, device, amp_dtype)
        release = None
        if captured:
            update, release = replay_steps(update, device)
        update = retry_smaller(update, state, release)
    return replace(learner, state=state, collate=collate, update=update, layout=layout)


def padding_free(
    model: "PreTrainedModel",
    collate: Collate,
    dataset: "Dataset",
    tokenizer: "PreTrainedTokenizerFast",
    amp_dtype: torch.dtype | None,
    choice: str = "auto",
) -> tuple[Collate, str]:
    """Change the model to a padding-free forward pass. Returns the collate for it, and the layout of its batches in
    words; or `collate` as it is, and why: `choice` (--unpad) excludes it on the model's device, or the model doesn't
    compute the same, which unpad.py tries on a few examples of `dataset`.

    Raises UserError if `choice` is "always" and the model can't compute without padding.
    """
    if not is_on(choice, model.device):
        return collate, "with padding"
    trial = unpad.trial_examples(dataset, model.config, length_limit(tokenizer, model.config))
    packed, layout = unpad.prepare(model, collate, trial, first_position(model.config), amp_dtype)
    if packed is collate and choice == "always":
        raise UserError(f"--unpad always: {layout}; leave it out")
    return packed, layout
