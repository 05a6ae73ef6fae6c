"""The order of examples, the position in it, and the tensors made of them."""

import itertools
from functools import partial

import datasets
import numpy
import torch
from torch.utils.data import RandomSampler

from pairft.data import batches
from pairft.data.batches import Position, collate, evaluation_batches, training_steps
from pairft.data.order import StepSize, epoch_order, steps_per_epoch

PAD = partial(collate, pad_token_id=9, pad_token_type_id=3, multiple=1)


def rows_of(number: int) -> datasets.Dataset:
    """Row i has i % 5 + 1 tokens, all of them i."""
    ids = [[row] * (row % 5 + 1) for row in range(number)]
    return datasets.Dataset.from_dict(
        {"input_ids": ids, "token_type_ids": ids, "length": [len(row) for row in ids], "label": [0] * number}
    )


def test_collate_pads_to_the_longest():
    rows = {"input_ids": [[5, 6, 7], [8]], "token_type_ids": [[0, 0, 1], [0]], "label": [1, 0]}
    batch = PAD(rows)
    assert batch.input_ids.tolist() == [[5, 6, 7], [8, 9, 9]]
    assert batch.attention_mask.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch.token_type_ids is not None and batch.token_type_ids.tolist() == [[0, 0, 1], [0, 3, 3]]
    assert batch.labels.tolist() == [1, 0] and batch.labels.dtype == torch.int64
    assert batch.num_tokens == 4
    assert {part.dtype for part in batch[:3]} == {torch.int64}
    assert collate(rows, 9, 3, multiple=8).input_ids.shape == (2, 8)


def test_collate_without_token_types_and_with_values():
    batch = PAD({"input_ids": [[5]], "label": [0.25]})
    assert batch.token_type_ids is None and "token_type_ids" not in batch.inputs()
    assert batch.labels.dtype == torch.float32 and batch.labels.tolist() == [0.25]


def test_the_order_is_a_function_of_seed_and_epoch_and_the_one_of_a_random_sampler():
    before = torch.get_rng_state()
    assert epoch_order(10, 1, 2).tolist() == epoch_order(10, 1, 2).tolist() == epoch_order(10, 3, 0).tolist()
    assert epoch_order(10, 1, 0).tolist() != epoch_order(10, 1, 1).tolist()
    assert torch.equal(torch.get_rng_state(), before)
    sampler = RandomSampler(range(10), generator=torch.Generator().manual_seed(3))
    assert list(sampler) == epoch_order(10, 1, 2).tolist()


def test_steps_cover_each_epoch_once_and_end_with_a_short_one():
    dataset = rows_of(11)
    steps = list(itertools.islice(training_steps(dataset, PAD, 7, StepSize(2, 2), Position(), False), 6))
    assert steps_per_epoch(11, 2, 2) == 3
    assert [data.num_examples for data in steps] == [4, 4, 3, 4, 4, 3]
    assert [len(data.micro_batches) for data in steps] == [2, 2, 2, 2, 2, 2]
    assert [data.after for data in steps] == [(0, 4), (0, 8), (1, 0), (1, 4), (1, 8), (2, 0)]
    seen = [[int(row[0]) for batch in data.micro_batches for row in batch.input_ids] for data in steps]
    assert list(itertools.chain(*seen[:3])) == epoch_order(11, 7, 0).tolist()
    assert list(itertools.chain(*seen[3:])) == epoch_order(11, 7, 1).tolist()


def test_steps_go_on_from_any_position_as_if_never_stopped():
    dataset = rows_of(11)
    whole = list(itertools.islice(training_steps(dataset, PAD, 7, StepSize(2, 2), Position(), False), 6))
    for done in range(5):
        start = whole[done].after
        rest = itertools.islice(training_steps(dataset, PAD, 7, StepSize(2, 2), start, False), 5 - done)
        for data, wanted in zip(rest, whole[done + 1 :], strict=True):
            assert data.after == wanted.after
            assert all(
                torch.equal(a.input_ids, b.input_ids)
                for a, b in zip(data.micro_batches, wanted.micro_batches, strict=True)
            )


def test_the_loader_draw_is_one_number_an_epoch_and_none_within_it():
    dataset = rows_of(4)
    torch.manual_seed(0)
    list(itertools.islice(training_steps(dataset, PAD, 7, StepSize(2, 1), Position(), True), 4))  # two epochs
    drawn = torch.get_rng_state()
    torch.manual_seed(0)
    for _ in range(2):
        torch.empty((), dtype=torch.int64).random_()
    assert torch.equal(torch.get_rng_state(), drawn)
    list(itertools.islice(training_steps(dataset, PAD, 7, StepSize(2, 1), Position(0, 2), True), 1))
    assert torch.equal(torch.get_rng_state(), drawn)


def test_evaluation_batches_hold_every_row_once_the_longest_first(monkeypatch):
    dataset = rows_of(11)
    monkeypatch.setattr(batches, "EVALUATION_TOKENS", 20)  # four rows of the longest, 5 tokens
    found = list(evaluation_batches(dataset, PAD, None))
    rows = numpy.concatenate([rows for rows, _ in found])
    assert sorted(rows.tolist()) == list(range(11))
    lengths = [batch.input_ids.shape[1] for _, batch in found]
    assert lengths == [5, 3, 1]
    assert [len(rows) for rows, _ in found] == [4, 6, 1]
    for rows, batch in found:
        assert batch.input_ids[:, 0].tolist() == rows.tolist()
    assert [rows.tolist() for rows, _ in evaluation_batches(dataset, PAD, 8)] == [
        list(range(8)),
        [8, 9, 10],
    ]


def test_evaluation_batches_dealt_evenly_hold_every_row_once():
    dataset = rows_of(11)  # in batches of 2: six, of which four processes get 2, 2, 1, 1
    dealt = [list(evaluation_batches(dataset, PAD, 2, rank, 4, even=True)) for rank in range(4)]
    assert [[rows.tolist() for rows, _ in found] for found in dealt] == [
        [[0, 1], [8, 9]],
        [[2, 3], [10]],
        [[4, 5], []],
        [[6, 7], []],
    ]
    assert {len(batch.labels) for _, batch in dealt[3]} == {2, 1}  # the last batch again
    assert [len(list(evaluation_batches(dataset, PAD, 2, rank, 4))) for rank in range(4)] == [2, 2, 1, 1]
    assert [len(list(evaluation_batches(dataset, PAD, 2, rank, 3, even=True))) for rank in range(3)] == [2, 2, 2]
