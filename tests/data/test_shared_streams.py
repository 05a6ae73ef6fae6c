"""--streaming in several processes: each makes its share of the steps of one process, and tokenises no more."""

import functools
import itertools

import pytest
import streams
from streams import ALONE, content, epochs_of, numbered

from pairft.data import streaming
from pairft.data.order import Share, StepSize
from pairft.errors import UserError

NUMBER = 49


@pytest.fixture
def opened(tmp_path, tiny_model):
    """Open a stream (streams.py)."""
    return functools.partial(streams.opened, tmp_path, tiny_model)


@pytest.mark.parametrize(
    ("size", "processes"),
    [(StepSize(4, 4), 2), (StepSize(4, 4), 4), (StepSize(4, 3), 2), (StepSize(8, 1), 3), (StepSize(3, 4, 25), 3)],
)
def test_processes_share_the_examples_of_each_step_of_one(opened, monkeypatch, size, processes):
    """An epoch of 49 ends with a step of one example. A resume from any position has the same steps."""
    monkeypatch.setattr(streaming, "ROWS_AT_ONCE", 3)
    stream, collate = opened("parquet", numbered(NUMBER), 10)
    wanted = epochs_of(stream, collate, size)
    shares = [Share(rank, processes) for rank in range(processes)]
    ranks = [epochs_of(stream, collate, size, share=share) for share in shares]
    for number, (one, *parts) in enumerate(zip(wanted, *ranks, strict=True)):
        assert {(step.num_examples, step.after) for step in parts} == {(one.num_examples, one.after)}
        examples = [list(itertools.chain(*content(step))) for step in parts]
        assert sorted(itertools.chain(*examples)) == sorted(itertools.chain(*content(one)))
        counts = [len(batch.labels) for step in parts for batch in step.micro_batches]
        if size.max_tokens is None:
            assert max(counts) <= size.batch_size
            assert max(map(len, examples)) - min(map(len, examples)) <= 1
        if number + 1 < len(wanted):
            again = [next(streaming.steps(stream, collate, 7, size, one.after, share)) for share in shares]
            assert [content(step) for step in again] == [content(steps[number + 1]) for steps in ranks]


def test_a_process_tokenises_only_its_own_examples(opened, monkeypatch):
    stream, collate = opened("jsonl", numbered(NUMBER), 10)
    encode, rows = streaming.encode_rows, []
    monkeypatch.setattr(streaming, "encode_rows", lambda some, *more: rows.append(len(some)) or encode(some, *more))
    for share, own in ((Share(0, 4), 13), (Share(3, 4), 12), (ALONE, 49)):  # 3 steps of 16, then one of 1
        rows.clear()
        epochs_of(stream, collate, StepSize(4, 4), 1, share)
        assert sum(rows) == own


def test_a_bad_row_ends_each_process(opened):
    """Whichever of them the row belongs to: so they show one message."""
    rows = numbered(NUMBER)
    rows[25]["sentence2"] = ""
    stream, collate = opened("jsonl", rows, 5)
    for rank in range(4):
        with pytest.raises(UserError, match=r"train-00002-of-00003\.jsonl, row 5: 'sentence2' is empty"):
            epochs_of(stream, collate, StepSize(4, 4), share=Share(rank, 4))
