"""Packed batches: the tokens of all examples in one sequence, without padding."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pairft.data.batches import Batch, to_device


class Packed(NamedTuple):
    """The examples of a Batch without its padding. It implements MicroBatch.

    If it is padded to a bucket size (shapes.py), there is one more example at the end, without a label, that fills the
    sequence up.
    """

    input_ids: Tensor  # int64 [1, tokens]
    position_ids: Tensor  # int64 [1, tokens]
    token_type_ids: Tensor | None  # int64 [1, tokens]
    labels: Tensor  # [examples], as in Batch
    num_tokens: int  # without the padding to a bucket
    lengths: tuple[int, ...]  # tokens of each example
    cu_seqlens: Tensor  # int64 [examples + 1]: the start of each example, and the end of the last one
    max_seqlen: int  # at least the length of the longest example
    attention_mask: Tensor | None  # int64 [examples, length]: that of the Batch; None if padded to a bucket
    indices: Tensor | None  # int64 [tokens]: each token's index in the flattened Batch; None if padded to a bucket

    @property
    def cls_positions(self) -> Tensor:
        """int64 [examples], without the padding example: the index of each example's CLS token, its first one."""
        return self.cu_seqlens[: len(self.labels)]

    def to(self, device: torch.device) -> "Packed":
        return Packed(*to_device(self, device))

    def inputs(self) -> dict[str, Any]:
        """Keyword arguments for the forward of a model that unpad.py has prepared."""
        inputs = {
            "input_ids": self.input_ids,
            "position_ids": self.position_ids,
            "attention_mask": self.attention_mask,
            "token_type_ids": self.token_type_ids,
        }
        return {"packing": self, **{name: value for name, value in inputs.items() if value is not None}}

    def examples(self, start: int, stop: int) -> "Packed":
        """The examples start:stop, without padding to a bucket."""
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
    """Remove the padding of a Batch, on either side. The first token of each example gets position `first_position`."""
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
