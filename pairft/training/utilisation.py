"""The share of the hardware's floating point operations that training uses (model FLOPs utilisation)."""

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


def measured_peak(device: torch.device, dtype: torch.dtype) -> float | None:
    """The floating point operations a second that a large matmul reaches on this device, the best of a few, in about
    0.1 s. None if there is no memory for it. It draws no random numbers."""
    size, repeats = (4096, 10) if device.type == "cuda" else (1024, 1)
    try:
        a = torch.full((size, size), 0.5, dtype=dtype, device=device)
        seconds = [seconds_of(a, repeats) / repeats for _ in range(5)]
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return None
    return 2 * size**3 / min(seconds[1:])  # the first one is the warm-up


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
