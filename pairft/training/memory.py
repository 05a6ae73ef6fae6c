"""A step that doesn't fit the device's memory is done again in smaller parts; accumulation being exact, the result is
as right as without."""

import gc
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from pairft.data.batches import MicroBatch, cut
from pairft.errors import UserError
from pairft.output import say
from pairft.training.state import TrainState

Update = Callable[[Sequence[MicroBatch], int, float | Tensor], tuple[Tensor, Tensor]]


def retry_smaller(update: Update, state: TrainState, release: Callable[[], bool] | None = None) -> Update:
    """`update`, but a step that runs out of memory is begun again from the same random state, with micro-batches half
    as large; so are all steps after it (`state.micro_batch_divisor`). Raises UserError where single examples don't fit.

    `release` gives memory back first; where it returns True, the step is tried once more as it was.
    """

    def retried(micro_batches: Sequence[MicroBatch], num_examples: int, lr: float | Tensor) -> tuple[Tensor, Tensor]:
        while True:
            before = random_state(state.bad_steps.device)
            try:
                return update(cut(micro_batches, state.micro_batch_divisor), num_examples, lr)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
            # Only here is the error gone, whose traceback holds tensors of the step.
            state.optimizer.zero_grad()
            for parameter, moments in list(state.optimizer.state.items()):
                if "exp_avg_sq" not in moments:  # memory ended while they were made
                    del state.optimizer.state[parameter]
            if state.scaler.is_enabled():  # it must not think that the gradients are unscaled already
                state.scaler._per_optimizer_states.clear()
            set_random_state(before, state.bad_steps.device)
            released = release is not None and release()
            give_back(state.bad_steps.device)
            if released:
                continue
            if all(len(batch.labels) <= state.micro_batch_divisor for batch in micro_batches):
                raise UserError(
                    "the device's memory doesn't hold a single example of this step: take a smaller --max-length or "
                    "model, or --precision bf16"
                )
            if state.micro_batch_divisor == 1:
                say("out of memory: this step and the following are done in smaller parts, which changes no result")
            state.micro_batch_divisor *= 2

    return retried


def give_back(device: torch.device) -> None:
    """What torch keeps of a GPU's memory for later, so that smaller blocks can be made of it."""
    if device.type in ("cuda", "mps"):
        gc.collect()
        (torch.cuda if device.type == "cuda" else torch.mps).empty_cache()


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether this, or what was being handled when it was raised, is memory that ended. Besides torch's own error there
    are those of the driver and of cuBLAS, which are RuntimeErrors like any other."""
    while error is not None:
        text = str(error)
        if isinstance(error, torch.OutOfMemoryError) or "out of memory" in text or "ALLOC_FAILED" in text:
            return True
        error = error.__context__
    return False


def random_state(device: torch.device) -> list[Any]:
    """What dropout draws from; reading it waits for no device."""
    if device.type == "cpu":
        return [torch.get_rng_state()]
    return [torch.get_rng_state(), (torch.cuda if device.type == "cuda" else torch.mps).get_rng_state(device)]


def set_random_state(states: list[Any], device: torch.device) -> None:
    torch.set_rng_state(states[0])
    if device.type != "cpu":
        (torch.cuda if device.type == "cuda" else torch.mps).set_rng_state(states[1], device)
