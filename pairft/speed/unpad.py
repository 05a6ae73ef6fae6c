"""Make a model padding-free, if its head then gets the same input as with padding.

Padding-free means: no padding goes through the linear layers, attention stays within each pair, and the last layer
computes only what the head reads (packed_forward.py, for the architectures in last_layer.py). On a GPU the attention is
flash attention, packed batches are padded to one of a few bucket sizes (shapes.py), and the last layer computes keys
and values for all tokens.
"""

from typing import TYPE_CHECKING, Any

import numpy
import torch
from torch import Tensor, nn

from pairft.data.batches import Batch, Collate, lengths_of
from pairft.speed.last_layer import JAGGED, LAST_LAYERS
from pairft.speed.packed_forward import PackedForward
from pairft.speed.packing import Packed, pack
from pairft.speed.shapes import bucket_size, padded_to

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PretrainedConfig, PreTrainedModel

# Relative to the norm of the input of the head's last linear layer. Not of the logits, which may nearly cancel.
TOLERANCE = 1e-4  # rounding errors in float32 are a hundred times smaller, mistakes are larger
HALF_TOLERANCE = 2e-2  # in 64 trials with four encoders bf16 rounding was up to 6e-3, positions off by one 0.3 and more
HALF = (torch.bfloat16, torch.float16)


def trial_examples(dataset: "Dataset", config: "PretrainedConfig", limit: int) -> dict[str, Any]:
    """Examples for `prepare`, as columns: the longest, the longest of at most 3/4 of its length, and the longest of at
    most 1/2. If the model has sliding window attention and none of them exceeds the window, a made-up example does.

    `limit`: the maximum number of tokens.
    """
    lengths = lengths_of(dataset)
    longest = lengths.max()
    chosen = {int(numpy.where(lengths <= longest * share, lengths, 0).argmax()) for share in (1, 0.75, 0.5)}
    picked = dataset[sorted(chosen, key=lambda index: -lengths[index])]
    columns = {name: list(values) for name, values in picked.items()}
    window = getattr(config, "local_attention", limit)
    if longest <= window < limit:
        number = min(2 * window, limit)
        for values in columns.values():
            first = values[0]
            values.append((first * (number // len(first) + 1))[:number] if isinstance(first, list) else first)
    return columns


def prepare(
    model: "PreTrainedModel",
    collate: Collate,
    examples: dict[str, Any],
    first_position: int,
    amp_dtype: torch.dtype | None = None,
) -> tuple[Collate, str]:
    """Make the model padding-free, if its head then gets the same input from `examples` as with padding. Returns a
    collate function that makes Packed batches, and "padding-free"; otherwise `collate`, and the reason.

    `collate`: makes padded Batches from examples, given as columns.
    `first_position`: the position id of each pair's first token.
    `amp_dtype`: of autocast, as in training.

    Leaves the model in evaluation mode.
    """
    device = model.device
    reason = padded_because(model, amp_dtype)
    if reason:
        return collate, f"with padding: {reason}"
    on_gpu = device.type == "cuda"

    def collate_packed(examples: dict[str, Any]) -> Packed:
        batch = collate(examples)
        assert isinstance(batch, Batch), type(batch)
        packed = pack(batch, first_position)
        return padded_to(packed, bucket_size(packed.num_tokens)) if on_gpu else packed

    model.eval()
    packed_forward = PackedForward(model, jagged=on_gpu)
    tolerance = HALF_TOLERANCE if amp_dtype in HALF else TOLERANCE
    with torch.inference_mode(), torch.autocast(device.type, dtype=amp_dtype, enabled=amp_dtype is not None):
        expected = head_input(model, collate(examples).to(device).inputs())
        try:
            packed_forward.install(model)
            got = head_input(model, collate_packed(examples).to(device).inputs())
            error = ((got - expected).norm() / expected.norm()).item() if got.shape == expected.shape else float("inf")
            trouble = "" if error <= tolerance else f"what its head reads differs by {error:.1e}"
        except Exception as raised:  # another version of transformers may raise anything
            trouble = f"{type(raised).__name__}: {raised}"
    if trouble:
        packed_forward.remove(model)
        return collate, f"with padding: without it, {trouble}"
    return collate_packed, "padding-free"


def padded_because(model: "PreTrainedModel", amp_dtype: torch.dtype | None) -> str:
    """Why the model can't be padding-free on its device with this autocast dtype; "" if it may be tried."""
    kind, device = model.config.model_type, model.device
    known = {"cpu": LAST_LAYERS.keys(), "cuda": JAGGED}.get(device.type, set())
    if kind not in known:
        return f"for {kind} on {device.type}, padding-free is not implemented"
    if device.type == "cuda" and not (amp_dtype in HALF and torch.cuda.get_device_capability(device) >= (8, 0)):
        return "flash attention needs bf16 or fp16, and a GPU of compute capability 8.0"
    return ""


def head_input(model: nn.Module, inputs: dict[str, Any]) -> Tensor:
    """The input of the last linear layer called in a forward pass, which is the head's: float32 [pairs, width].

    The last one in `modules()` may be another: XLM-RoBERTa registers its head before the encoder.
    """
    read: list[Tensor] = []  # at most one

    def keep(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        read[:] = [args[0]]

    handles = [part.register_forward_pre_hook(keep) for part in model.modules() if isinstance(part, nn.Linear)]
    try:
        model(**inputs)
    finally:
        for handle in handles:
            handle.remove()
    return read[0].float()
