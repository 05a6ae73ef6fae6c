"""Batches for training and evaluation: which examples they hold, and how these become tensors."""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy
import torch
from torch import Tensor

from pairft.data.order import Share, StepSize, dealt, dealt_by_place, epoch_order, micro_batch_sizes

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerFast


EVALUATION_TOKENS = 2048  # per batch; 1,024 to 4,096 are equally fast on 2 CPU cores, fewer are slower


class MicroBatch(Protocol):
    """The interface of a batch for training and evaluation. `Batch` has it, and so has any other layout of the same
    examples, such as packed batches without padding."""

    @property
    def input_ids(self) -> Tensor:
        """int64, of any shape: the token ids, with padding if the layout has any."""

    @property
    def labels(self) -> Tensor:
        """[examples]: int64 class ids, or float32 values."""

    @property
    def num_tokens(self) -> int:
        """The number of tokens without padding."""

    def to(self, device: torch.device) -> "MicroBatch":
        """The same batch with its tensors on the device. The copy is asynchronous."""

    def inputs(self) -> dict[str, Any]:
        """Keyword arguments for the model's forward."""

    def examples(self, start: int, stop: int) -> "MicroBatch":
        """The examples start:stop as a batch of their own."""


class Batch(NamedTuple):
    """Examples padded to the longest of them."""

    input_ids: Tensor  # int64 [examples, length]
    attention_mask: Tensor  # int64 [examples, length]: 1 for a token, 0 for padding
    token_type_ids: Tensor | None  # int64 [examples, length]: 0 first sentence, 1 second; None if the model has none
    labels: Tensor  # int64 [examples] class ids, or float32 [examples] values
    num_tokens: int  # without padding

    def to(self, device: torch.device) -> "Batch":
        return Batch(*to_device(self, device))

    def inputs(self) -> dict[str, Tensor]:
        """Keyword arguments for the model's forward."""
        inputs = {"input_ids": self.input_ids, "attention_mask": self.attention_mask}
        return inputs if self.token_type_ids is None else {**inputs, "token_type_ids": self.token_type_ids}

    def examples(self, start: int, stop: int) -> "Batch":
        """The examples start:stop, still padded to the same length."""
        types = None if self.token_type_ids is None else self.token_type_ids[start:stop]
        mask = self.attention_mask[start:stop]
        return Batch(self.input_ids[start:stop], mask, types, self.labels[start:stop], int(mask.sum()))


def to_device(fields: Iterable[Any], device: torch.device) -> Iterator[Any]:
    """A batch's fields, with tensors on the device. Copies use pinned memory: others wait for the GPU."""
    for field in fields:
        if isinstance(field, Tensor) and field.device.type != device.type:
            field = (field.pin_memory() if device.type == "cuda" else field).to(device, non_blocking=True)
        yield field


def cut(micro_batches: Sequence[MicroBatch], divisor: int) -> list[MicroBatch]:
    """Split each micro-batch into `divisor` parts, a power of two, or into single examples if it has fewer."""
    parts = list(micro_batches)
    while divisor > 1:
        parts = [half for batch in parts for half in halves(batch)]
        divisor //= 2
    return parts


def halves(batch: MicroBatch) -> list[MicroBatch]:
    """Split a batch into two halves. A batch of one example is returned unchanged."""
    number = len(batch.labels)
    if number == 1:
        return [batch]
    return [batch.examples(0, number // 2), batch.examples(number // 2, number)]


class Position(NamedTuple):
    """How far training has come: `consumed` examples of epoch `epoch`, in that epoch's order."""

    epoch: int = 0
    consumed: int = 0


@dataclass(frozen=True)
class StepData:
    """The examples of one optimizer step."""

    micro_batches: list[MicroBatch]
    num_examples: int
    after: Position  # the position after this step


Collate = Callable[[dict[str, Sequence[Any]]], MicroBatch]


def collate(
    examples: dict[str, Sequence[Any]], pad_token_id: int, pad_token_type_id: int, multiple: int, side: str = "right"
) -> Batch:
    """Pad tokenised examples, given as columns, on the "right" or "left" and stack them into a Batch. Its length is
    that of the longest example, rounded up to `multiple`."""
    ids = examples["input_ids"]
    lengths = numpy.array([len(one) for one in ids])
    shape = (len(ids), -(-int(lengths.max()) // multiple) * multiple)
    mask = numpy.arange(shape[1]) < lengths[:, None]
    if side == "left":
        mask = mask[:, ::-1]

    def padded(values: Sequence[Sequence[int]], padding: int) -> Tensor:
        array = numpy.full(shape, padding, numpy.int64)
        array[mask] = numpy.concatenate(values)
        return torch.from_numpy(array)

    types = examples.get("token_type_ids")
    return Batch(
        input_ids=padded(ids, pad_token_id),
        attention_mask=torch.from_numpy(mask.astype(numpy.int64, order="C")),
        token_type_ids=None if types is None else padded(types, pad_token_type_id),
        labels=torch.tensor(examples["label"]),  # floats as float32
        num_tokens=int(lengths.sum()),
    )


def collate_for(tokenizer: "PreTrainedTokenizerFast", device: torch.device) -> Collate:
    """`collate` with the tokenizer's padding ids and side; on CUDA to a multiple of 8, for tensor cores."""
    return functools.partial(
        collate,
        pad_token_id=int(tokenizer.pad_token_id),
        pad_token_type_id=tokenizer.pad_token_type_id,
        multiple=8 if device.type == "cuda" else 1,
        side=tokenizer.padding_side,
    )


def training_steps(
    dataset: "Dataset",
    collate: Collate,
    seed: int,
    size: StepSize,
    start: Position,
    loader_draw: bool,
    share: Share = Share(),  # noqa: B008  # immutable
) -> Iterator[StepData]:
    """Generate the steps from the position `start` on, epoch after epoch without end. A step never spans two epochs.

    `loader_draw`: draw once from the global random state at the start of each epoch, as a DataLoader's iterator does.
    `share`: with several processes, the micro-batches are those of this one, and the numbers those of the whole step.
    """
    epoch, consumed = start
    lengths = None if size.max_tokens is None and share.world_size == 1 else lengths_of(dataset)
    most = (size.max_tokens or size.batch_size) * size.accumulate  # examples in a step
    while True:
        if loader_draw and consumed == 0:
            torch.empty((), dtype=torch.int64).random_()
        order = epoch_order(len(dataset), seed, epoch)
        while consumed < len(order):
            indices = order[consumed : consumed + most].numpy()
            sizes = micro_batch_sizes(indices if lengths is None else lengths[indices], size)
            ends = numpy.cumsum(sizes)
            parts: Sequence[numpy.ndarray] = numpy.split(indices[: ends[-1]], ends[:-1])
            if lengths is not None and share.world_size > 1:
                parts = parts_of(share, parts, lengths, size)
            micro_batches = [collate(dataset[part.tolist()]) for part in parts]
            consumed += int(ends[-1])
            after = Position(epoch, consumed) if consumed < len(order) else Position(epoch + 1, 0)
            yield StepData(micro_batches, int(ends[-1]), after)
        epoch, consumed = epoch + 1, 0


def parts_of(
    share: Share, parts: Sequence[numpy.ndarray], lengths: numpy.ndarray | None, size: StepSize
) -> Sequence[numpy.ndarray]:
    """This process's part of a step: the indices of the examples of its micro-batches. `parts`: those of all
    micro-batches of the step; they are dealt as they are if each is full of tokens already (`max_tokens`). `lengths`:
    int [examples], the tokens of each; if it is None, examples are dealt by their place in the step."""
    if size.max_tokens is not None:
        return parts[share.rank :: share.world_size]
    indices = numpy.concatenate(parts)
    accumulate = -(-len(parts) // share.world_size)
    if lengths is None:
        return [indices[places] for places in dealt_by_place(len(indices), share, accumulate)]
    return [indices[places] for places in dealt(lengths[indices], share, accumulate)]


def lengths_of(dataset: "Dataset") -> numpy.ndarray:
    """The number of tokens of each example, int32 [examples]."""
    held = getattr(dataset, "lengths", None)  # prediction has examples in memory: Arrow's arrays would import pandas
    lengths: numpy.ndarray = dataset.data.column("length").to_numpy() if held is None else held
    return lengths


def evaluation_batches(
    dataset: "Dataset", collate: Collate, batch_size: int | None, rank: int = 0, world_size: int = 1, even: bool = False
) -> Iterator[tuple[numpy.ndarray, MicroBatch]]:
    """Generate batches that contain each example once: the indices of the batch's examples, int64 [examples], and the
    batch. Several processes take turns: each batch of one process is a batch of one of them. `even`: all get
    equally many; one that has fewer gets the last batch, too, with the indices of none of its examples.

    `batch_size`: examples per batch, in the order of the dataset. If it is None, examples are sorted, the longest
    first, and a batch holds at most EVALUATION_TOKENS tokens, padding included, or a single example. So there is little
    padding, and if a batch doesn't fit into memory, the first one fails.
    """
    order, sizes = numpy.arange(len(dataset)), numpy.full(len(dataset), batch_size)
    if batch_size is None:
        lengths = lengths_of(dataset)
        order = numpy.argsort(-lengths, kind="stable")
        sizes = numpy.maximum(1, EVALUATION_TOKENS // lengths[order])
    start = number = 0
    while start < len(order):
        indices = order[start : start + int(sizes[start])]
        if number % world_size == rank:
            yield indices, collate(dataset[indices.tolist()])
        start, number = start + len(indices), number + 1
    if even and 0 < number % world_size <= rank:
        yield indices[:0], collate(dataset[indices.tolist()])
