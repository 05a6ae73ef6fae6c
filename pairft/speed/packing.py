"""Batches without padding: all tokens of the examples in one row, one example after the other."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pairft.data.batches import Batch, to_device


class Packed(NamedTuple):
    """A Batch's examples without its padding: a MicroBatch, too.

    One that is padded to a bucket (shapes.py) has one more example at the end, without a label, that only brings the
    row to the bucket's size.
    """

    input_ids: Tensor  # int64 [1, tokens]
    position_ids: Tensor  # int64 [1, tokens]
    token_type_ids: Tensor | None  # int64 [1, tokens]
    labels: Tensor  # [examples], as a Batch's
    num_tokens: int  # without those of the padding to a bucket
    lengths: tuple[int, ...]  # tokens of each example
    cu_seqlens: Tensor  # int64 [examples + 1]: where each example begins, and where the last one ends
    max_seqlen: int  # at least the length of the longest example
    attention_mask: Tensor | None  # int64 [examples, length]: of the Batch that this was; None if padded to a bucket
    indices: Tensor | None  # int64 [tokens]: of each token in that Batch, flattened; None if padded to a bucket

    @property
    def cls_positions(self) -> Tensor:
        """int64 [examples that have a label]: where each begins, with its CLS token."""
        return self.cu_seqlens[: len(self.labels)]

    def to(self, device: torch.device) -> "Packed":
        return Packed(*to_device(self, device))

    def inputs(self) -> dict[str, Any]:
        """What the forward of a model takes that unpad.py has prepared."""
        inputs = {
            "input_ids": self.input_ids,
            "position_ids": self.position_ids,
            "attention_mask": self.attention_mask,
            "token_type_ids": self.token_type_ids,
        }
        return {"packing": self, **{name: part for name, part in inputs.items() if part is not None}}

    def examples(self, start: int, stop: int) -> "Packed":
        """Some of the examples, without any padding to a bucket."""
        lengths = self.lengths[start:stop]
        begin = sum(self.lengths[:start])
        tokens = slice(begin, begin + sum(lengths))
        mask = None if self.attention_mask is None else self.attention_mask[start:stop]
        return Packed(
            input_ids=self.input_ids[:, tokens],
            position_ids=self.position_ids[:, tokens],
            token_type_ids=None if self.token_type_ids is None else self.token_type_ids[:, tokens],
            labels=self.labels[start:stop],
            num_tokens=sum(lengths),
            lengths=lengths,
            cu_seqlens=self.cu_seqlens[start : stop + 1] - begin,
            max_seqlen=self.max_seqlen,
            attention_mask=mask,
            indices=None if mask is None else mask.flatten().nonzero().flatten(),
        )


def pack(batch: Batch, first_position: int) -> Packed:
    """A Batch without its padding, on whichever side it is; positions count from `first_position`."""
    mask = batch.attention_mask.bool()
    lengths = batch.attention_mask.sum(1)
    positions = batch.attention_mask.cumsum(1) + (first_position - 1)
    return Packed(
        input_ids=batch.input_ids[mask][None],
        position_ids=positions[mask][None],
        token_type_ids=None if batch.token_type_ids is None else batch.token_type_ids[mask][None],
        labels=batch.labels,
        num_tokens=batch.num_tokens,
        lengths=tuple(lengths.tolist()),
        cu_seqlens=F.pad(lengths.cumsum(0), (1, 0)),
        max_seqlen=int(lengths.max()),
        attention_mask=batch.attention_mask,
        indices=mask.flatten().nonzero().flatten(),
    )
