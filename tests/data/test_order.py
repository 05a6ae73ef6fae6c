"""Micro-batches filled with tokens: against an explicit loop over the examples, and from any position."""

import itertools
from functools import partial

import datasets
import numpy
import pytest
import torch
from test_batches import PAD

from pairft.data import order
from pairft.data.batches import Position, training_steps
from pairft.data.order import StepSize, batch_ends, epoch_order, examples_of_step, micro_batch_sizes, steps_in


def explicit(lengths, max_tokens):
    """The examples of each micro-batch, one example at a time."""
    batches, tokens = [[]], 0
    for number, length in enumerate(lengths):
        if batches[-1] and tokens + length > max_tokens:
            batches.append([])
            tokens = 0
        batches[-1].append(number)
        tokens += length
    return batches


@pytest.mark.parametrize("block", [1, 7, 1 << 16])
@pytest.mark.parametrize("max_tokens", [1, 9, 20, 64, 1000, 10**7])
def test_micro_batches_are_those_of_a_loop_over_the_examples(monkeypatch, block, max_tokens):
    monkeypatch.setattr(order, "BLOCK", block)
    numbers = numpy.random.default_rng(max_tokens)
    for count in (1, 2, 97, 300):
        lengths = numbers.integers(1, 40, count).astype(numpy.int32)
        wanted = explicit(lengths.tolist(), max_tokens)
        in_order = torch.arange(count, dtype=torch.int32)
        assert batch_ends(in_order, lengths, max_tokens).tolist() == [batch[-1] + 1 for batch in wanted]
        assert micro_batch_sizes(lengths, StepSize(8, count, max_tokens)) == list(map(len, wanted))


def dataset_of(lengths):
    """Row i has lengths[i] tokens, all of them i."""
    ids = [[row] * length for row, length in enumerate(lengths)]
    columns = {"input_ids": ids, "length": numpy.array(lengths, numpy.int32), "label": [0] * len(ids)}
    return datasets.Dataset.from_dict(columns)


def rows_of(step):
    return [[int(row[0]) for row in batch.input_ids] for batch in step.micro_batches]


def test_steps_are_counted_and_resume_from_any_position():
    lengths = numpy.random.default_rng(1).integers(1, 30, 83)
    dataset, size, seed = dataset_of(lengths), StepSize(8, 3, 50), 7
    start_at = partial(training_steps, dataset, PAD, seed, size, loader_draw=False)
    number = steps_in(3, lengths, size, seed)
    whole = list(itertools.islice(start_at(start=Position()), number))
    assert whole[-1].after == (3, 0)
    done = 0
    for epoch in range(3):
        in_order = epoch_order(83, seed, epoch).numpy()
        wanted = [in_order[batch].tolist() for batch in explicit(lengths[in_order].tolist(), 50)]
        steps = [wanted[begin : begin + 3] for begin in range(0, len(wanted), 3)]
        assert [rows_of(step) for step in whole[done : done + len(steps)]] == steps
        done += len(steps)
    assert done == number
    for index, step in enumerate(whole[:-1]):
        assert rows_of(next(start_at(start=step.after))) == rows_of(whole[index + 1])
        assert list(itertools.chain(*rows_of(step))) == examples_of_step(lengths, size, seed, index + 1)


@pytest.mark.parametrize("number", [1, 2, 1000, 70_001])
def test_the_order_is_torchs_permutation_in_half_the_memory(number):
    """That of HF Trainer's sampler is int64; the numbers are the same."""
    wanted = torch.randperm(number, generator=torch.Generator().manual_seed(5))
    found = epoch_order(number, 3, 2)
    assert found.dtype == torch.int32 and torch.equal(found.long(), wanted)


def test_so_many_tokens_that_all_fit_are_one_batch_of_all_examples():
    dataset = dataset_of([3, 1, 4, 1, 5])
    one = next(training_steps(dataset, PAD, 7, StepSize(8, 1, 1000), Position(), False))
    other = next(training_steps(dataset, PAD, 7, StepSize(5, 1), Position(), False))
    assert torch.equal(one.micro_batches[0].input_ids, other.micro_batches[0].input_ids)
    assert one.num_examples == other.num_examples == 5
