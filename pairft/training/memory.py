"""Repeat a step that doesn't fit into the device's memory in smaller micro-batches. Accumulation is exact, so the
gradient is the same."""

import gc
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from pairft.data.batches import MicroBatch, cut
from pairft.errors import UserError
from pairft.output import say
from pairft.training.gradient_sum import StepSum
from pairft.training.state import TrainState
from pairft.training.step import Update


def retry_smaller(update: Update, state: TrainState, release: Callable[[], bool] | None = None) -> Update:
    """Wrap `update`: a step that runs out of memory is repeated from the same random state with micro-batches half as
    large, and later steps use that size, too (`state.micro_batch_divisor`). Raises UserError if a single example
    doesn't fit. Of several processes each repeats its own part, while the others wait for its gradients.

    `release`: called first to free memory. If it returns True, the step is repeated without splitting it further.
    """

    def retried(micro_batches: Sequence[MicroBatch], num_examples: int, lr: float | Tensor) -> tuple[Tensor, Tensor]:
        while True:
            before, sums = random_state(state.bad_steps.device), StepSum.begun
            try:
                return update(cut(micro_batches, state.micro_batch_divisor), num_examples, lr)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
            if StepSum.begun > sums:  # the other processes have this step's sum already
                raise UserError(
                    "memory ran out after all processes had summed their gradients, so that this one can't repeat the "
                    "step alone: use a smaller --batch-size or --max-length"
                )
            # Out here the error is gone, whose traceback holds tensors of the step.
            state.optimizer.zero_grad()
            for parameter, moments in list(state.optimizer.state.items()):
                if "exp_avg_sq" not in moments:  # memory ran out while they were allocated
                    del state.optimizer.state[parameter]
            if state.scaler.is_enabled():  # otherwise it takes the gradients for unscaled already
                state.scaler._per_optimizer_states.clear()
            set_random_state(before, state.bad_steps.device)
            released = release is not None and release()
            empty_cache(state.bad_steps.device)
            if released:
                continue
            if all(len(batch.labels) <= state.micro_batch_divisor for batch in micro_batches):
                raise UserError(
                    "a single example of this step doesn't fit into the device's memory: use a smaller --max-length or "
                    "model, or --precision bf16"
                )
            if state.micro_batch_divisor == 1:
                say("out of memory: this and later steps use smaller micro-batches; the gradient is the same")
            state.micro_batch_divisor *= 2

    return retried


def empty_cache(device: torch.device) -> None:
    """Free the GPU memory that torch has cached, so that blocks of other sizes can be allocated."""
    if device.type in ("cuda", "mps"):
        gc.collect()
        (torch.cuda if device.type == "cuda" else torch.mps).empty_cache()


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether the error, or one in its context, means that memory ran out. Errors of the driver and of cuBLAS are plain
    RuntimeErrors and are recognised by their text."""
    while error is not None:
        text = str(error)
        if isinstance(error, torch.OutOfMemoryError) or "out of memory" in text or "ALLOC_FAILED" in text:
            return True
        error = error.__context__
    return False


def random_state(device: torch.device) -> list[Any]:
    """The random states that dropout draws from. Reading them doesn't wait for the device."""
    if device.type == "cpu":
        return [torch.get_rng_state()]
    return [torch.get_rng_state(), (torch.cuda if device.type == "cuda" else torch.mps).get_rng_state(device)]


def set_random_state(states: list[Any], device: torch.device) -> None:
    torch.set_rng_state(states[0])
    if device.type != "cpu":
        (torch.cuda if device.type == "cuda" else torch.mps).set_rng_state(states[1], device)
