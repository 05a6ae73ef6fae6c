"""--streaming through train.py: exact resume, what it needs, and what it says."""

import json

import pytest
from conftest import comparable, read_lines, same_weights, some_pairs, undone, write_rows
from datasets import Dataset

from pairft.config import Config
from pairft.data.pairs import load_pairs
from pairft.errors import UserError
from pairft.runs import checkpoint

FLAGS = ("--streaming", "--max-steps", 20, "--shuffle-buffer", 16, "--lr", "1e-3", "--log-every", 3, "--save-every", 6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two shards of parquet, with row groups of 9, and a validation split."""
    path = tmp_path_factory.mktemp("parquet")
    rows = some_pairs("train", 60)
    for shard, (begin, end) in enumerate(((0, 25), (25, 60))):
        Dataset.from_list(rows[begin:end]).to_parquet(path / f"train-{shard:05d}-of-00002.parquet", batch_size=9)
    write_rows(path / "validation.jsonl", some_pairs("validation", 20))
    return path


@pytest.mark.parametrize("how", [(), ("--max-tokens", 250, "--accumulate", 2), ("jsonl",)])
def test_resume_is_exact(go, tmp_path, folder, how):
    """6 steps are within an epoch and within a block; 20 steps are more than two epochs."""
    whole, killed = tmp_path / "runs" / "whole", tmp_path / "runs" / "killed"
    more, data = ((), ()) if "jsonl" in how else (how, ("--data", folder))
    assert go(*FLAGS, *more, *data, "--run-name", "whole") == 0
    undone(whole, killed, 6)
    assert go("--resume", "--run-name", "killed", *data) == 0
    assert same_weights(whole, killed)
    for split in ("train", "validation"):
        assert comparable(whole, split) == comparable(killed, split)
    epochs = [line["epoch"] for line in read_lines(whole, "train")]
    assert epochs == sorted(epochs) and (0 in epochs) == ("jsonl" in how)  # the rows of text files aren't counted
    assert go("--resume", "--run-name", "killed", "--shuffle-buffer", 8) == 2


def test_streaming_arrives(go, tmp_path, folder):
    """Every embedding row is trained.

    In other runs, rows of tokens that aren't in the data only decay, by a factor that the checkpoint keeps.
    """
    assert go(*FLAGS, "--data", folder, "--run-name", "a") == 0
    [*_, last] = checkpoint.whole_checkpoints(tmp_path / "runs" / "a" / "checkpoints")
    assert json.loads((last / "state.json").read_text())["extra"] == {}


def test_a_bad_row_ends_the_run_and_its_checkpoint_stays(go, tmp_path, capsys):
    rows = some_pairs("train", 60)
    rows[55] = {**rows[55], "sentence2": ""}
    write_rows(tmp_path / "data" / "train.jsonl", rows)
    write_rows(tmp_path / "data" / "validation.jsonl", some_pairs("validation", 20))
    assert go(*FLAGS, "--data", tmp_path / "data", "--run-name", "a", "--save-every", 1) == 2
    message = capsys.readouterr().err
    assert "train.jsonl, row 56: 'sentence2' is empty" in message and "Traceback" not in message
    kept = checkpoint.whole_checkpoints(tmp_path / "runs" / "a" / "checkpoints")
    assert kept and not (tmp_path / "runs" / "a" / "results.json").exists()


def test_another_file_is_refused_on_a_resume(go, tmp_path, capsys):
    for split, number in (("train", 60), ("validation", 20)):
        write_rows(tmp_path / "data" / f"{split}.jsonl", some_pairs(split, number))
    assert go(*FLAGS, "--data", tmp_path / "data", "--run-name", "a") == 0
    (tmp_path / "runs" / "a" / "results.json").unlink()
    write_rows(tmp_path / "data" / "train.jsonl", some_pairs("train", 59))
    assert go("--resume", "--run-name", "a", "--data", tmp_path / "data") == 2
    assert "the train split of the data is not the one" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--max-steps", 2, "--preset", "trainer"), "exclude each other"),
        (("--max-steps", 2, "--limit", 9), "exclude each other"),
        (("--max-steps", 2, "--class-weights", "balanced"), "exclude each other"),
        (("--max-steps", 2, "--audit"), "exclude each other"),
        (("--max-steps", 2, "--drop-bad-rows"), "can't leave out rows"),
        ((), "needs --max-steps"),
        (("--max-steps", 2, "--data", "builtin"), "--data builtin is generated"),
        (("--max-steps", 2, "--shuffle-buffer", 0), "--shuffle-buffer is 0"),
    ],
)
def test_what_it_needs_and_excludes(go, capsys, flags, words):
    assert go("--streaming", *flags) == 2
    assert words in capsys.readouterr().err


def test_a_dataset_on_the_hub_is_to_be_downloaded():
    with pytest.raises(UserError, match="hf download --repo-type dataset user/pairs"):
        load_pairs(Config(data="user/pairs", streaming=True, max_steps=2))


def test_one_file_has_no_validation_split(go, pairs_folder, capsys):
    assert go("--streaming", "--max-steps", 2, "--data", pairs_folder / "train.jsonl") == 2
    assert "has no validation split, and --streaming can't hold one out" in capsys.readouterr().err
    both = f"train={pairs_folder}/train.jsonl,validation={pairs_folder}/validation.jsonl"
    assert go("--streaming", "--max-steps", 2, "--data", both) == 0
    message = capsys.readouterr().err
    assert "--streaming: an unknown number of training pairs, shuffled in blocks of 10000" in message
    assert go("--shuffle-buffer", 5, "--max-steps", 1) == 0
    assert "--shuffle-buffer 5 has no effect without --streaming" in capsys.readouterr().err


def test_shuffle_buffer_arrives(go, tmp_path, folder):
    """Another buffer, another order."""
    losses = []
    for size in (5, 50):
        assert go(*FLAGS, "--data", folder, "--shuffle-buffer", size, "--run-name", f"{size}") == 0
        losses.append([line["loss"] for line in read_lines(tmp_path / "runs" / f"{size}", "train")])
    assert losses[0] != losses[1]
