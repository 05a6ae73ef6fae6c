"""Bucket sizes: packed batches are padded to one of a few sizes, so that a step captured for a size can be replayed for
many batches (capture.py)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pairft.data.batches import MicroBatch
from pairft.speed.packing import Packed

BLOCK = 128  # `max_seqlen` is a multiple of it: the tokens that one block of a GPU's attention kernel processes


def spacing(tokens: int) -> int:
    """The distance between neighbouring bucket sizes: 16 sizes between two powers of two, so that at most 1/16 is
    padding; at least 64 tokens."""
    return max(64, (1 << tokens.bit_length() - 1) // 16)


def bucket_size(tokens: int) -> int:
    """The smallest bucket size greater than `tokens`. It is never equal: the padding is an example of at least one
    token."""
    return (tokens // spacing(tokens) + 1) * spacing(tokens)


def padded_to(packed: Packed, size: int) -> Packed:
    """Pad `packed` to `size` tokens with one more example at the end, which has no label. Its output is not used, so it
    has no gradient. Its tokens are copies of the first one."""
    if packed.attention_mask is None and packed.input_ids.shape[1] == size:
        return packed
    num_tokens = packed.num_tokens
    extra = size - num_tokens
    assert extra > 0, (size, num_tokens)

    def padded(row: Tensor) -> Tensor:
        return torch.cat([row[:, :num_tokens], row[:, :1].expand(1, extra)], dim=1)

    lengths = (*packed.lengths[: len(packed.labels)], extra)
    return Packed(
        input_ids=padded(packed.input_ids),
        position_ids=padded(packed.position_ids),
        token_type_ids=None if packed.token_type_ids is None else padded(packed.token_type_ids),
        labels=packed.labels,
        num_tokens=num_tokens,
        lengths=lengths,
        cu_seqlens=torch.cat([packed.cu_seqlens[: len(packed.labels) + 1], torch.tensor([size])]),
        max_seqlen=-(-max(*lengths, spacing(size)) // BLOCK) * BLOCK,
        attention_mask=None,
        indices=None,
    )


def same_bucket(micro_batches: Sequence[MicroBatch]) -> list[MicroBatch]:
    """Pad all packed micro-batches to the bucket size of the largest, so that there are few combinations of sizes.
    Other batches are unchanged."""
    sizes = [bucket_size(batch.num_tokens) for batch in micro_batches if isinstance(batch, Packed)]
    return [padded_to(batch, max(sizes)) if isinstance(batch, Packed) else batch for batch in micro_batches]
