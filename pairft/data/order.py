"""The order of the examples in an epoch, and how they are grouped into micro-batches and steps."""

from typing import NamedTuple

import numpy
import torch
from torch import Tensor

from pairft.config import Config

BLOCK = 1 << 16  # examples that `batch_ends` looks at together


class StepSize(NamedTuple):
    """A step has `accumulate` micro-batches, those of all processes together, each of `batch_size` examples or, if
    `max_tokens` is given, of as many as have `max_tokens` tokens together, without padding. A longer example is a
    micro-batch of its own."""

    batch_size: int
    accumulate: int
    max_tokens: int | None = None


def step_size(config: Config) -> StepSize:
    return StepSize(config.batch_size, config.accumulate * config.processes, config.max_tokens)


class Share(NamedTuple):
    """Which examples of a step this process trains on: those of number `rank` of `world_size` processes."""

    rank: int = 0
    world_size: int = 1


def dealt(lengths: numpy.ndarray, share: Share, accumulate: int) -> list[numpy.ndarray]:
    """This process's micro-batches of a step: the places in the step of their examples, in order. `lengths`: int
    [examples], the tokens of each example of the step. `accumulate`: micro-batches in each process.

    A step takes as long as its fullest process. So each example, the longest first, goes to the micro-batch with the
    fewest tokens among those that have room (Graham 1969, with a limit on their number): all have as many examples,
    give or take one, and nearly as many tokens. With fewer examples than processes, some have none.
    """
    number = share.world_size * accumulate
    most = -(-len(lengths) // number)
    tokens, places = [0] * number, [[] for _ in range(number)]  # type: tuple[list[int], list[list[int]]]
    for place in numpy.argsort(-lengths, kind="stable").tolist():
        least = min((n for n in range(number) if len(places[n]) < most), key=tokens.__getitem__)
        places[least].append(place)
        tokens[least] += int(lengths[place])
    return [numpy.sort(numpy.array(found)) for found in places[share.rank :: share.world_size] if found]


def dealt_by_place(number: int, share: Share, accumulate: int) -> list[numpy.ndarray]:
    """What `dealt` returns for `number` examples whose tokens aren't known: they go to the micro-batches in turn. So
    place p is that of process p % world_size, whatever the number and `accumulate`."""
    in_all = share.world_size * accumulate
    return [numpy.arange(n, number, in_all) for n in range(share.rank, min(in_all, number), share.world_size)]


def epoch_order(num_examples: int, seed: int, epoch: int) -> Tensor:
    """The order of the examples in an epoch, int32 [num_examples] (int64 from 2^31 examples on): the order that HF
    Trainer uses, a function of seed and epoch only.

    It is drawn from its own generator, so that dropout's random state doesn't change.
    """
    dtype = torch.int32 if num_examples < 2**31 else torch.int64  # the same numbers in half the memory
    return torch.randperm(num_examples, generator=torch.Generator().manual_seed(seed + epoch), dtype=dtype)


def micro_batch_sizes(lengths: numpy.ndarray, size: StepSize) -> list[int]:
    """The number of examples in each micro-batch of the next step. `lengths`: int [examples], the tokens of each one
    to come, in order; without `max_tokens` only their number matters. At their end, the step has fewer."""
    sizes: list[int] = []
    while len(sizes) < size.accumulate and len(lengths):
        number = min(size.batch_size, len(lengths))
        if size.max_tokens is not None:
            total = lengths[: size.max_tokens].cumsum(dtype=numpy.int64)
            number = max(1, int(numpy.searchsorted(total, size.max_tokens, side="right")))
        sizes.append(number)
        lengths = lengths[number:]
    return sizes


def batch_ends(order: Tensor, lengths: numpy.ndarray, max_tokens: int) -> numpy.ndarray:
    """Where each micro-batch of an epoch ends in its order, int64 [micro-batches], as `micro_batch_sizes` fills them.
    `order`: int [examples]. `lengths`: int [examples], the tokens of each example. 10 million take 1 s."""
    ends, start = [numpy.zeros(0, numpy.int64)], 0
    while start < len(order):
        here = lengths[order[start : start + max(BLOCK, max_tokens + 1)].numpy()]
        total = here.cumsum(dtype=numpy.int64)
        # Of a micro-batch that starts at each example: where it would end. Then follow these from the first one on.
        next_start = numpy.searchsorted(total, total - here + max_tokens, side="right")
        next_start = numpy.maximum(next_start, numpy.arange(1, len(here) + 1)).tolist()
        is_last = start + len(here) == len(order)
        found, place = [], 0
        while place < len(here) and (is_last or next_start[place] < len(here)):
            place = next_start[place]
            found.append(place)
        assert found, (start, max_tokens, here.min())  # an example has at least one token
        ends.append(numpy.array(found, numpy.int64) + start)
        start += place
    return numpy.concatenate(ends)


def steps_per_epoch(num_examples: int, batch_size: int, accumulate: int) -> int:
    """The number of optimizer steps in an epoch. The last step may have fewer examples."""
    return -(-num_examples // (batch_size * accumulate))


def step_ends(lengths: numpy.ndarray, size: StepSize, seed: int, epoch: int) -> numpy.ndarray:
    """Where each step of an epoch ends in its order, int64 [steps], if micro-batches are filled with tokens."""
    assert size.max_tokens is not None
    ends = batch_ends(epoch_order(len(lengths), seed, epoch), lengths, size.max_tokens)
    return numpy.append(ends[size.accumulate - 1 : -1 : size.accumulate], ends[-1])


def steps_in(epochs: int, lengths: numpy.ndarray, size: StepSize, seed: int) -> int:
    """The number of optimizer steps in the first `epochs` epochs. `lengths`: int [examples], the tokens of each."""
    if size.max_tokens is None:
        return epochs * steps_per_epoch(len(lengths), size.batch_size, size.accumulate)
    return sum(len(step_ends(lengths, size, seed, epoch)) for epoch in range(epochs))


def examples_of_step(lengths: numpy.ndarray, size: StepSize, seed: int, step: int) -> list[int]:
    """The indices of the examples of a step (counted from 1). `lengths`: int [examples], the tokens of each."""
    if size.max_tokens is None:
        number_of_examples = size.batch_size * size.accumulate
        epoch, number = divmod(step - 1, steps_per_epoch(len(lengths), size.batch_size, size.accumulate))
        begin, end = number * number_of_examples, (number + 1) * number_of_examples
    else:
        epoch, number = 0, step - 1
        while number >= len(ends := step_ends(lengths, size, seed, epoch)):
            epoch, number = epoch + 1, number - len(ends)
        begin, end = int(ends[number - 1]) if number else 0, int(ends[number])
    indices: list[int] = epoch_order(len(lengths), seed, epoch)[begin:end].tolist()
    return indices
