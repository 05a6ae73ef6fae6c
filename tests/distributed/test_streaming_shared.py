"""--streaming in several processes: the numbers of one process, and exact resume with another number of them."""

import json

import pyarrow
import pytest
from conftest import read_lines, some_pairs, undone, write_rows
from pyarrow import parquet
from torchrun import Torchrun

pytestmark = pytest.mark.distributed
FLAGS = ("--streaming", "--max-steps", 9, "--shuffle-buffer", 20, "--save-every", 3)  # an epoch has 4 steps


@pytest.fixture
def start(plain_model, tmp_path):
    """Start train.py on two shards of parquet, with row groups of 9, and 49 rows together."""
    rows, data = some_pairs("train", 49), tmp_path / "data"
    write_rows(data / "validation.jsonl", some_pairs("validation", 20))
    for shard, (begin, end) in enumerate(((0, 20), (20, 49))):
        path = data / f"train-{shard:05d}-of-00002.parquet"
        parquet.write_table(pyarrow.Table.from_pylist(rows[begin:end]), path, row_group_size=9)
    return Torchrun(tmp_path, plain_model, data, settings=("--batch-size", 4, "--lr", "1e-3", "--log-every", 1))


def assert_same_numbers(run, expected):
    for line, wanted in zip(read_lines(run, "train"), read_lines(expected, "train"), strict=True):
        assert line["loss"] == pytest.approx(wanted["loss"], rel=1e-6), line
        assert line["grad_norm"] == pytest.approx(wanted["grad_norm"], rel=1e-5), line
        assert (line["step"], line["epoch"]) == (wanted["step"], wanted["epoch"])
    scores, wanted = (json.loads((r / "results.json").read_text())["last"]["validation"] for r in (run, expected))
    assert scores == pytest.approx(wanted, rel=1e-6)


def test_several_processes_stream_the_steps_of_one(start, tmp_path):
    """Step 4 has a single example. The run of two processes is resumed by four within the second epoch."""
    runs = tmp_path / "runs"
    for processes, accumulate in ((1, 4), (2, 2)):
        code, errors = start.run(processes, *FLAGS, "--accumulate", accumulate, "--run-name", processes)
        assert code == 0, errors
    undone(runs / "2", runs / "resumed", 6)
    code, errors = start.run(4, "--resume", "--run-name", "resumed")
    assert code == 0, errors
    assert "from step 6" in errors
    for name in ("2", "resumed"):
        assert_same_numbers(runs / name, runs / "1")
