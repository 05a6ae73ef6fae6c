"""--streaming: each row once per epoch, in an order that the position determines, and rows that are no examples."""

import functools
import itertools
import json

import numpy
import pytest
import streams
from conftest import write_rows
from streams import ENOUGH, content, epochs_of, numbered
from transformers import AutoTokenizer

from pairft.config import Config
from pairft.data import blocks, pairs, streaming
from pairft.data.batches import Position
from pairft.data.order import StepSize
from pairft.errors import UserError
from pairft.tasks import MULTI_LABEL

NUMBER = 53


@pytest.fixture
def opened(tmp_path, tiny_model):
    """Open a stream (streams.py)."""
    return functools.partial(streams.opened, tmp_path, tiny_model)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("block", [4, 10, 1000])
def test_each_row_comes_once_per_epoch_in_another_order(opened, kind, block):
    stream, collate = opened(kind, numbered(NUMBER), block)
    steps = epochs_of(stream, collate, StepSize(4, 2))
    assert [step.num_examples for step in steps] == 2 * ([8] * 6 + [5])
    rows = list(itertools.chain(*(itertools.chain(*content(step)) for step in steps)))
    first, second = rows[:NUMBER], rows[NUMBER:]
    assert len(set(first)) == NUMBER and set(first) == set(second) and first != second
    labels = [label for step in steps for batch in step.micro_batches for label in batch.labels.tolist()]
    digits = {stream.tokenizer.convert_tokens_to_ids(str(digit)): digit for digit in range(10)}
    assert labels == [[digits[token] for token in row if token in digits][-1] % 2 for row in rows]
    assert stream.num_examples == (NUMBER if kind == "parquet" else None)


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
@pytest.mark.parametrize("size", [StepSize(4, 2), StepSize(8, 1, 40), StepSize(8, 3, 25)])
def test_steps_resume_from_any_position(opened, monkeypatch, kind, size):
    stream, collate = opened(kind, numbered(NUMBER), 10)
    steps = epochs_of(stream, collate, size)
    for rows_at_once in (3, 1000):  # how many rows are tokenised together changes nothing
        monkeypatch.setattr(streaming, "ROWS_AT_ONCE", rows_at_once)
        for step, following in itertools.pairwise(steps):
            again = next(streaming.steps(stream, collate, 7, size, step.after))
            assert again.after == following.after and content(again) == content(following)


def test_micro_batches_are_filled_with_tokens(opened):
    stream, collate = opened("parquet", numbered(NUMBER), 10)
    for step in epochs_of(stream, collate, StepSize(8, 3, 40)):
        lengths = [[len(row) for row in batch] for batch in content(step)]
        assert all(sum(batch) <= 40 for batch in lengths)
        assert all(sum(batch) + following[0] > 40 for batch, following in itertools.pairwise(lengths))


def test_blocks_are_shuffled_by_seed_epoch_and_number(opened):
    stream, _ = opened("jsonl", numbered(NUMBER), 25)
    block = next(blocks.blocks(stream.files, 7, 0, 0))
    orders = [tuple(blocks.shuffled(block, *key)) for key in ((7, 0, 0), (8, 0, 0), (7, 1, 0), (7, 0, 1))]
    assert len(set(orders)) == 4 and all(sorted(order) == list(range(25)) for order in orders)
    assert orders[0] == tuple(blocks.shuffled(block, 7, 0, 0))


def test_row_groups_before_the_position_are_not_read(opened, monkeypatch):
    stream, _ = opened("parquet", numbered(NUMBER), 10)
    read, reads = blocks.read, []
    monkeypatch.setattr(blocks, "read", lambda training, part: reads.append(part) or read(training, part))
    assert len(list(blocks.blocks(stream.files, 7, 0, 4))) == 2
    assert sum(part.num_rows for part in reads) <= 13 + 7


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sentence2": " "}, "'sentence2' is empty"),
        ({"label": "5"}, "has the label '5' in the column 'label'; it should be one of"),
        ({"label": ""}, "has no label in the column 'label'"),
    ],
)
def test_a_row_that_is_no_example_is_named_when_it_is_met(opened, kind, change, words):
    rows = [{name: str(value) for name, value in row.items()} for row in numbered(NUMBER)]
    rows[25] |= change
    stream, collate = opened(kind, rows, 5)
    with pytest.raises(UserError, match=f"train-00002-of-00003.{kind}, row 5") as raised:
        epochs_of(stream, collate, StepSize(4, 2))
    assert words in str(raised.value)


def test_a_sentence_that_leaves_no_room_is_named(opened):
    rows = numbered(NUMBER)
    rows[25]["sentence2"] = "a " * 70
    stream, collate = opened("jsonl", rows, 5, truncation="first")
    with pytest.raises(UserError, match=r"train-00002-of-00003.jsonl, row 5 the second sentence alone fills the 64"):
        epochs_of(stream, collate, StepSize(4, 2))


def test_a_token_without_an_embedding_is_named(opened):
    stream, collate = opened("jsonl", numbered(NUMBER), 5, num_embeddings=4)
    with pytest.raises(UserError, match="the model's embedding has 4 rows"):
        epochs_of(stream, collate, StepSize(4, 2))


@pytest.mark.parametrize(("regression", "is_value"), [(False, False), (True, True)])
def test_minus_one_among_scores_is_no_label_in_later_blocks_too(opened, regression, is_value):
    rows = [{**row, "label": n % 5} for n, row in enumerate(numbered(NUMBER))]
    rows[25]["label"] = -1
    stream, collate = opened("jsonl", rows, 5, task="sts", regression=regression)
    if is_value:
        [*_, last] = epochs_of(stream, collate, StepSize(64, 1), 1)
        assert last.micro_batches[0].labels.min() == -1
        return
    with pytest.raises(UserError, match=r"train-00002-of-00003\.jsonl, row 5 has the label '-1'"):
        epochs_of(stream, collate, StepSize(4, 2))


def test_classes_are_those_of_the_validation_split(opened):
    """And the first rows may all be of one class, since files are often sorted."""
    rows = sorted(numbered(NUMBER), key=lambda row: row["label"])
    stream, collate = opened("csv", rows, 5, task="custom", text_columns=("sentence1", "sentence2"))
    assert stream.pairs.label_names == ("0", "1")
    assert "the classes are the validation split's" in stream.about()
    [step] = epochs_of(stream, collate, StepSize(64, 1), 1)
    assert step.micro_batches[0].labels.bincount().tolist() == [27, 26]


@pytest.mark.parametrize(
    ("labels", "wanted"),
    [([0.5, 1.25, 3], [0.5, 1.25, 3.0]), (['["a"]', '["a", "b"]', "[]"], [[1, 0], [1, 1], [0, 0]])],
)
def test_values_and_lists_are_read_as_in_a_whole_file(tmp_path, tiny_model, labels, wanted):
    for split in ("train", "validation"):
        rows = [{"a": "a b c", "y": label} for label in labels]
        write_rows(tmp_path / f"{split}.jsonl", rows)
    config = Config(
        task="custom", data=str(tmp_path), text_columns=("a",), label_column="y", streaming=True, max_steps=1
    )
    found = pairs.load_pairs(config)
    assert (found.problem_type == MULTI_LABEL) == isinstance(labels[0], str)
    stream = streaming.open_stream(config, found, AutoTokenizer.from_pretrained(tiny_model), 64, ENOUGH)
    _, columns = next(streaming.examples(stream, 7, Position(), StepSize(8, 1)))
    assert not any(isinstance(value, numpy.ndarray) for value in columns["label"])  # slow to collate, with a warning
    block = next(blocks.blocks(stream.files, 7, 0, 0))
    order = block.rows.column("y").take(blocks.shuffled(block, 7, 0, 0)).to_pylist()
    texts = [json.dumps(label) if not isinstance(label, str) else label for label in labels]
    assert [list(map(float, value)) if isinstance(wanted[0], list) else float(value) for value in columns["label"]] == [
        wanted[texts.index(text)] for text in order
    ]


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_change_of_a_file_is_noticed_by_its_fingerprint(opened, kind):
    stream, _ = opened(kind, numbered(NUMBER), 10)
    before = stream.fingerprint
    path = stream.files.parts[-1].path
    path.touch()
    assert stream.fingerprint == before
    text = path.read_bytes()
    path.write_bytes(text.replace(b"a b a b", b"a b b a", 1))
    assert stream.fingerprint != before
    path.write_bytes(text + b"\n")
    assert stream.fingerprint != before
