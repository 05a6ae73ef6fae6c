"""Which examples make a step, in which order, and how they become tensors."""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy
import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerFast


EVALUATION_TOKENS = 2048  # in a batch; 1,024 to 4,096 are alike on 2 CPU cores, and smaller ones slower


class Batch(NamedTuple):
    """Examples padded to the longest of them."""

    input_ids: Tensor  # int64 [examples, length]
    attention_mask: Tensor  # int64 [examples, length]: 1 for a token, 0 for padding
    token_type_ids: Tensor | None  # int64 [examples, length]: 0 first sentence, 1 second; None if the model has none
    labels: Tensor  # int64 [examples] class ids, or float32 [examples] values
    num_tokens: int  # without padding

    def to(self, device: torch.device) -> "Batch":
        return Batch(*moved(self, device))

    def inputs(self) -> dict[str, Tensor]:
        """What the model's forward takes."""
        inputs = {"input_ids": self.input_ids, "attention_mask": self.attention_mask}
        return inputs if self.token_type_ids is None else {**inputs, "token_type_ids": self.token_type_ids}


class Packed(NamedTuple):
    """The same examples without padding: all their tokens in one row, one example after the other. A filled one
    (shapes.py) has one more at the end, without a label, that only brings the row to a certain length."""

    input_ids: Tensor  # int64 [1, tokens]
    position_ids: Tensor  # int64 [1, tokens]
    token_type_ids: Tensor | None  # int64 [1, tokens]
    labels: Tensor  # [examples], as a Batch's
    num_tokens: int  # without that filling
    lengths: tuple[int, ...]  # tokens of each example
    offsets: Tensor  # int64 [examples + 1]: where each begins, and where the last ends
    longest: int  # at least the length of the longest
    attention_mask: Tensor | None  # int64 [examples, length]: of the Batch that this was; None if filled
    slots: Tensor | None  # int64 [tokens]: the place of each in that Batch, row after row; None if filled

    @property
    def first(self) -> Tensor:
        """int64 [examples that have a label]: where each begins."""
        return self.offsets[: len(self.labels)]

    def to(self, device: torch.device) -> "Packed":
        return Packed(*moved(self, device))

    def inputs(self) -> dict[str, Any]:
        """What a forward that unpad.py has prepared takes."""
        inputs = {
            "input_ids": self.input_ids,
            "position_ids": self.position_ids,
            "attention_mask": self.attention_mask,
            "token_type_ids": self.token_type_ids,
        }
        return {"packing": self, **{name: part for name, part in inputs.items() if part is not None}}


def moved(batch: Batch | Packed, device: torch.device) -> Iterator[Any]:
    """Its parts, the tensors on the device; from pinned memory, since a copy from other memory waits for a GPU."""
    for part in batch:
        if isinstance(part, Tensor) and part.device.type != device.type:
            part = (part.pin_memory() if device.type == "cuda" else part).to(device, non_blocking=True)
        yield part


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
        offsets=F.pad(lengths.cumsum(0), (1, 0)),
        longest=int(lengths.max()),
        attention_mask=batch.attention_mask,
        slots=mask.flatten().nonzero().flatten(),
    )


class Position(NamedTuple):
    """How far a training has come: `consumed` examples of the order of epoch `epoch`."""

    epoch: int = 0
    consumed: int = 0


@dataclass(frozen=True)
class StepData:
    """The examples of one optimizer step."""

    micro_batches: list[Batch | Packed]
    num_examples: int
    after: Position  # the position once this step is done


Collate = Callable[[dict[str, Sequence[Any]]], Batch | Packed]


def collate(
    rows: dict[str, Sequence[Any]], pad_token_id: int, pad_token_type_id: int, multiple: int, side: str = "right"
) -> Batch:
    """Rows of the tokenised data as one Batch, padded on the "right" or "left" to the longest of them, rounded up to
    `multiple`."""
    ids = rows["input_ids"]
    lengths = numpy.array([len(row) for row in ids])
    shape = (len(ids), -(-int(lengths.max()) // multiple) * multiple)
    mask = numpy.arange(shape[1]) < lengths[:, None]
    if side == "left":
        mask = mask[:, ::-1]

    def padded(values: Sequence[Sequence[int]], padding: int) -> Tensor:
        array = numpy.full(shape, padding, numpy.int64)
        array[mask] = numpy.concatenate(values)
        return torch.from_numpy(array)

    types = rows.get("token_type_ids")
    return Batch(
        input_ids=padded(ids, pad_token_id),
        attention_mask=torch.from_numpy(mask.astype(numpy.int64, order="C")),
        token_type_ids=None if types is None else padded(types, pad_token_type_id),
        labels=torch.tensor(rows["label"]),  # floats as float32
        num_tokens=int(lengths.sum()),
    )


def collate_for(tokenizer: "PreTrainedTokenizerFast", device: torch.device) -> Collate:
    """`collate` with the tokenizer's padding and on its side; on CUDA to a multiple of 8, for its tensor cores."""
    return functools.partial(
        collate,
        pad_token_id=int(tokenizer.pad_token_id),
        pad_token_type_id=tokenizer.pad_token_type_id,
        multiple=8 if device.type == "cuda" else 1,
        side=tokenizer.padding_side,
    )


def epoch_order(num_rows: int, seed: int, epoch: int) -> Tensor:
    """The order of the rows in an epoch, int64 [num_rows]: a function of seed and epoch alone, the one HF Trainer uses.

    Its generator is its own, so that it draws nothing from the random state that dropout draws from.
    """
    return torch.randperm(num_rows, generator=torch.Generator().manual_seed(seed + epoch))


def steps_per_epoch(num_rows: int, batch_size: int, accumulate: int) -> int:
    """Optimizer steps in an epoch; the last may have fewer examples."""
    return -(-num_rows // (batch_size * accumulate))


def rows_of_step(num_rows: int, seed: int, step_size: int, step: int) -> list[int]:
    """The rows that a step, counted from 1, is made of."""
    epoch, number = divmod(step - 1, -(-num_rows // step_size))
    rows: list[int] = epoch_order(num_rows, seed, epoch)[number * step_size : (number + 1) * step_size].tolist()
    return rows


def training_steps(
    dataset: "Dataset",
    collate: Collate,
    seed: int,
    batch_size: int,
    accumulate: int,
    start: Position,
    loader_draw: bool,
) -> Iterator[StepData]:
    """The steps from a position on, epoch after epoch without end. A step never reaches across epochs.

    `loader_draw`: take one draw from the global random state as each epoch begins, as a DataLoader's iterator does.
    """
    epoch, consumed = start
    while True:
        if loader_draw and consumed == 0:
            torch.empty((), dtype=torch.int64).random_()
        order = epoch_order(len(dataset), seed, epoch)
        while consumed < len(order):
            rows = order[consumed : consumed + batch_size * accumulate]
            micro_batches = [collate(dataset[part.tolist()]) for part in rows.split(batch_size)]
            consumed += len(rows)
            after = Position(epoch, consumed) if consumed < len(order) else Position(epoch + 1, 0)
            yield StepData(micro_batches, len(rows), after)
        epoch, consumed = epoch + 1, 0


def evaluation_batches(
    dataset: "Dataset", collate: Collate, batch_size: int | None
) -> Iterator[tuple[numpy.ndarray, Batch | Packed]]:
    """Every row once, with the rows' indices: `batch_size` at a time in their order; or, where it is None, the longest
    first and as many as fill EVALUATION_TOKENS, so that there is little padding and what is too large for the memory
    fails at once."""
    order, sizes = numpy.arange(len(dataset)), numpy.full(len(dataset), batch_size)
    if batch_size is None:
        lengths = dataset.with_format("numpy")["length"][:]
        order = numpy.argsort(-lengths, kind="stable")
        sizes = numpy.maximum(1, EVALUATION_TOKENS // lengths[order])
    start = 0
    while start < len(order):
        rows = order[start : start + int(sizes[start])]
        yield rows, collate(dataset[rows.tolist()])
        start += len(rows)
