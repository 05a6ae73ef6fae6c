"""The share of the hardware's floating point operations that training uses (model FLOPs utilisation)."""

import functools
import time
from typing import TYPE_CHECKING

import torch

from pairft.errors import UserError
from pairft.training.layers import heights
from pairft.training.memory import is_out_of_memory

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# The formula is that of a standard encoder: every token attends to every other, and each layer has weights of its own.
STANDARD = ("bert", "roberta", "xlm-roberta", "camembert", "electra", "distilbert", "mpnet")

SIZES = (256, 512, 1024, 2048, 4096)  # of the matmuls that are timed
LONG_ENOUGH = 0.002  # seconds, to be timed


def flops_per_token(model: "PreTrainedModel", mean_length: float, attended: float) -> float | None:
    """The floating point operations of training, forward and backward, for each token without padding. None for a model
    or a training that the formula doesn't describe: another architecture, or frozen weights above the embeddings.

    6 operations for each weight of the layers, and, in each layer, 12 * width * length for attention (Chowdhery et al.
    2022, PaLM, appendix B); and 6 for each weight of the head, which sees one token of an example. Embeddings don't
    count. It is the whole model's number: a fast path that computes less reaches a higher share.

    mean_length: tokens of an example of the training split.
    attended: the sum of the squared lengths over the sum of the lengths, which is the length that attention sees.
    """
    if model.config.model_type not in STANDARD:
        return None
    try:
        at = heights(model, "")
    except UserError:
        return None
    top = max(at.values())
    parameters = [(at[name], p) for name, p in model.named_parameters() if at[name]]
    if not all(p.requires_grad for _, p in parameters):
        return None
    in_layers = sum(p.numel() for height, p in parameters if height < top)
    in_head = sum(p.numel() for height, p in parameters if height == top)
    attention: float = 12 * (top - 1) * model.config.hidden_size * attended
    return float(6 * in_layers + attention + 6 * in_head / mean_length)


@functools.cache
def measured_peak(device: torch.device, dtype: torch.dtype) -> float | None:
    """The floating point operations a second that matmuls reach on this device, measured once in a process. None if
    there is no memory for them. It draws no random numbers.

    Matmuls of doubling size, until they take long enough to be timed: a CPU that only emulates `dtype` is not kept busy
    for seconds, and one with many cores gets matmuls that are large enough for it.
    """
    repeats = 10 if device.type == "cuda" else 1
    found = []
    try:
        for size in SIZES:
            a = torch.full((size, size), 0.5, dtype=dtype, device=device)
            seconds = min([seconds_of(a, repeats) for _ in range(4)][1:])  # the first one is the warm-up
            found.append(2 * size**3 * repeats / seconds)
            if seconds > LONG_ENOUGH:
                break
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    return max(found, default=None)


def seconds_of(a: torch.Tensor, repeats: int) -> float:
    """The seconds of `repeats` products a @ a, [size, size] each."""
    wait_for(a.device)
    began = time.perf_counter()
    for _ in range(repeats):
        a @ a
    wait_for(a.device)
    return time.perf_counter() - began


def wait_for(device: torch.device) -> None:
    if device.type != "cpu":
        torch.get_device_module(device).synchronize(device)
