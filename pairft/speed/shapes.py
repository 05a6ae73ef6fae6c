"""Bucket sizes: packed batches are padded to few distinct sizes, so that a step captured for one size serves many
batches (capture.py)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pairft.data.batches import MicroBatch
from pairft.speed.packing import Packed

BLOCK = 128  # `max_seqlen` is a multiple of it: the rows that a block of a GPU's attention kernel takes at once


def spacing(tokens: int) -> int:
    """From one bucket size to the next: 16 sizes from a power of two to the next, so that a 16th at most is padding; 64
    tokens or more."""
    return max(64, (1 << tokens.bit_length() - 1) // 16)


def bucket_size(tokens: int) -> int:
    """The smallest bucket size greater than `tokens`: the padding is an example of its own, of one token or more."""
    return (tokens // spacing(tokens) + 1) * spacing(tokens)


def padded_to(packed: Packed, size: int) -> Packed:
    """`packed` padded to `size` tokens by one more example at the end, which has no label. Nothing reads its output, so
    it has no gradient. Its tokens are copies of the first one."""
    if packed.attention_mask is None and packed.input_ids.shape[1] == size:
        return packed
    real = packed.num_tokens
    extra = size - real
    assert extra > 0, (size, real)

    def longer(row: Tensor) -> Tensor:
        return torch.cat([row[:, :real], row[:, :1].expand(1, extra)], dim=1)

    lengths = (*packed.lengths[: len(packed.labels)], extra)
    return Packed(
        input_ids=longer(packed.input_ids),
        position_ids=longer(packed.position_ids),
        token_type_ids=None if packed.token_type_ids is None else longer(packed.token_type_ids),
        labels=packed.labels,
        num_tokens=real,
        lengths=lengths,
        cu_seqlens=torch.cat([packed.cu_seqlens[: len(packed.labels) + 1], torch.tensor([size])]),
        max_seqlen=-(-max(*lengths, spacing(size)) // BLOCK) * BLOCK,
        attention_mask=None,
        indices=None,
    )


def same_bucket(micro_batches: Sequence[MicroBatch]) -> list[MicroBatch]:
    """The packed ones all padded to the bucket of the largest, so that there are few combinations of sizes; padded
    batches as they are."""
    sizes = [bucket_size(batch.num_tokens) for batch in micro_batches if isinstance(batch, Packed)]
    return [padded_to(batch, max(sizes)) if isinstance(batch, Packed) else batch for batch in micro_batches]
