"""Batches cut smaller, for a device whose memory they don't fit; and batches without padding brought to few distinct
sizes, so that a step recorded for one serves many (capture.py)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pairft.data.batches import Batch, Packed

LENGTHS = 128  # what `longest` is rounded up to: the rows that a block of a GPU's attention kernel takes at once


def cut(micro_batches: Sequence[Batch | Packed], split: int) -> list[Batch | Packed]:
    """Each in `split` parts, a power of two; those with fewer examples in single ones."""
    parts = list(micro_batches)
    while split > 1:
        parts = [half for batch in parts for half in halves(batch)]
        split //= 2
    return parts


def halves(batch: Batch | Packed) -> list[Batch | Packed]:
    """The first and the second half of the examples; a single one stays as it is."""
    number = len(batch.labels)
    if number == 1:
        return [batch]
    return [examples_of(batch, 0, number // 2), examples_of(batch, number // 2, number)]


def examples_of(batch: Batch | Packed, start: int, stop: int) -> Batch | Packed:
    """Some of the examples, padded to the same length as before."""
    if isinstance(batch, Batch):
        types = None if batch.token_type_ids is None else batch.token_type_ids[start:stop]
        mask = batch.attention_mask[start:stop]
        return Batch(batch.input_ids[start:stop], mask, types, batch.labels[start:stop], int(mask.sum()))
    lengths = batch.lengths[start:stop]
    first = sum(batch.lengths[:start])
    tokens = slice(first, first + sum(lengths))
    part = None if batch.attention_mask is None else batch.attention_mask[start:stop]
    return Packed(
        input_ids=batch.input_ids[:, tokens],
        position_ids=batch.position_ids[:, tokens],
        token_type_ids=None if batch.token_type_ids is None else batch.token_type_ids[:, tokens],
        labels=batch.labels[start:stop],
        num_tokens=sum(lengths),
        lengths=lengths,
        offsets=batch.offsets[start : stop + 1] - first,
        longest=batch.longest,
        attention_mask=part,
        slots=None if part is None else part.flatten().nonzero().flatten(),
    )


def spacing(tokens: int) -> int:
    """Between the sizes: 16 of them from a power of two to the next, so that a 16th at most is filling; 64 or more."""
    return max(64, (1 << tokens.bit_length() - 1) // 16)


def rounded(tokens: int) -> int:
    """The size that holds so many tokens and at least one more."""
    return (tokens // spacing(tokens) + 1) * spacing(tokens)


def filled(packed: Packed, tokens: int) -> Packed:
    """The same examples, and one more at the end that brings the row to `tokens`. Nobody reads what comes of it, and so
    it has no gradient. Its tokens are copies of the first one."""
    if packed.attention_mask is None and packed.input_ids.shape[1] == tokens:
        return packed
    real = packed.num_tokens
    extra = tokens - real
    assert extra > 0, (tokens, real)

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
        offsets=torch.cat([packed.offsets[: len(packed.labels) + 1], torch.tensor([tokens])]),
        longest=-(-max(*lengths, spacing(tokens)) // LENGTHS) * LENGTHS,
        attention_mask=None,
        slots=None,
    )


def alike(micro_batches: Sequence[Batch | Packed]) -> list[Batch | Packed]:
    """Those without padding all of one size, so that there are few combinations of sizes."""
    sizes = [rounded(batch.num_tokens) for batch in micro_batches if isinstance(batch, Packed)]
    return [filled(batch, max(sizes)) if isinstance(batch, Packed) else batch for batch in micro_batches]
