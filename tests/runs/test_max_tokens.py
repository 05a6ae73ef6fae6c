"""--max-tokens through train.py: exact resume, the number of steps, and what it excludes."""

import json

import pytest
from conftest import FLAGS, comparable, same_weights, undone, write_tiny_model

from pairft.runs import checkpoint


@pytest.mark.parametrize("accumulate", [1, 2])
def test_resume_is_exact(go, tmp_path, capsys, accumulate):
    whole, killed = tmp_path / "runs" / "whole", tmp_path / "runs" / "killed"
    flags = (*FLAGS, "--max-tokens", 200, "--accumulate", accumulate, "--save-every", 4)
    assert go(*flags, "--run-name", "whole") == 0
    assert "--batch-size 8 has no effect: --max-tokens is given" in capsys.readouterr().err
    assert json.loads((whole / "results.json").read_text())["last"]["epoch"] == 2
    undone(whole, killed, 4)
    assert go("--resume", "--run-name", "killed") == 0
    assert same_weights(whole, killed)
    for split in ("train", "validation"):
        assert comparable(whole, split) == comparable(killed, split)
    assert go("--resume", "--run-name", "killed", "--max-tokens", 100) == 2


def test_max_tokens_arrives(go, tmp_path):
    """The loss is the mean over the examples of a step, however they are filled.

    All 60 pairs are one step: in one batch of 60, in one of 10,000 tokens, and in many of 200 tokens.
    """
    model = write_tiny_model(tmp_path / "model", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    losses = []
    for number, flags in enumerate(
        (("--batch-size", 60), ("--max-tokens", 10_000), ("--max-tokens", 200, "--accumulate", 60))
    ):
        name = f"run-{number}"
        more = ("--max-steps", 1, "--log-every", 1, "--eval-every", "never", "--run-name", name)
        assert go("--model", model, *flags, *more) == 0
        [line] = comparable(tmp_path / "runs" / name, "train")
        assert line["epoch"] == 1
        losses.append((line["loss"], line["grad_norm"]))
    assert losses[1] == losses[0]
    assert losses[2] == pytest.approx(losses[0], rel=1e-5)


def test_trainers_batches_have_a_fixed_size(go, capsys):
    assert go("--preset", "trainer", "--max-tokens", 100) == 2
    assert "exclude each other" in capsys.readouterr().err
    assert go("--max-tokens", 0) == 2
    assert "--max-tokens is 0" in capsys.readouterr().err


def test_the_examples_of_a_step_that_diverged_are_named(go, tmp_path, capsys):
    assert go("--max-tokens", 100, "--lr", 1e30, "--max-steps", 9, "--log-every", 1) == 3
    assert "trains on the rows" in capsys.readouterr().err
    assert not checkpoint.whole_checkpoints(tmp_path / "runs")
