"""`--preset trainer` against HF Trainer itself, each in its own process, dropout on, in fp32 on the CPU: every number
that either of them has, bit for bit."""

import importlib.util
import sys
from pathlib import Path

import pytest
from conftest import ROOT, write_tiny_model

sys.path.insert(0, str(ROOT / "benchmarks"))

from parity import TRAIN_ROWS, VALIDATION_ROWS, Comparison, compare, write_pairs

from pairft.data import builtin

STEPS_PER_EPOCH = -(-TRAIN_ROWS // 8)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("parity") / "pairs")


def assert_equal(found: Comparison, steps: int, evaluated_after: list[int]) -> None:
    assert [line["step"] for line in found.our_steps] == list(range(1, steps + 1))
    assert [line["step"] for line in found.our_evaluations] == evaluated_after
    for theirs, ours in zip(found.their_steps, found.our_steps, strict=True):
        assert {key: ours[key] for key in theirs} == theirs
    for theirs, ours in zip(found.their_evaluations, found.our_evaluations, strict=True):
        assert {key: ours[key] for key in theirs} == theirs
    assert found.weights == 0.0
    assert found.logits == 0.0


@pytest.mark.parametrize(
    ("eval_every", "evaluated_after"),
    [
        ("epoch", [26, 52]),
        pytest.param("7", [7, 14, 21, 28, 35, 42, 49, 52], marks=pytest.mark.slow),
        pytest.param("never", [52], marks=pytest.mark.slow),
    ],
)
def test_evaluation_at_any_interval(tiny_model, pairs, tmp_path, eval_every, evaluated_after):
    # Short last batches, in training and in evaluation, of sizes by which a division is not exact.
    assert TRAIN_ROWS % 8 == 7 and VALIDATION_ROWS % 8 == 5
    found = compare(str(tiny_model), pairs, tmp_path / "both", ["--epochs", "2", "--eval-every", eval_every], threads=1)
    assert_equal(found, 2 * STEPS_PER_EPOCH, evaluated_after)


@pytest.mark.slow
def test_another_seed_and_a_last_batch_of_one(tiny_model, tmp_path):
    pairs = write_pairs(tmp_path / "pairs", rows=161)
    found = compare(str(tiny_model), pairs, tmp_path / "both", ["--epochs", "2", "--seed", "7"], threads=1)
    assert_equal(found, 42, [21, 42])


@pytest.mark.slow
@pytest.mark.parametrize("task", ["stsb", "sst2", "mnli"])
def test_a_regression_a_single_sentence_and_two_validation_splits(tiny_model, tmp_path, task):
    """The last batch of each epoch is of one example."""
    pairs = write_pairs(tmp_path / "pairs", rows=33, task=task)
    found = compare(str(tiny_model), pairs, tmp_path / "both", ["--task", task, "--epochs", "2"], threads=1)
    assert_equal(found, 10, [5, 5, 10, 10] if task == "mnli" else [5, 10])
    keys = {"stsb": {"pearson", "spearman"}, "sst2": {"accuracy"}, "mnli": {"accuracy"}}[task]
    assert all(line.keys() - {"split", "step", "epoch", "loss"} == keys for line in found.our_evaluations)


@pytest.mark.slow
def test_several_labels_a_row(tiny_model, tmp_path):
    """Three labels, and 7 examples in the last batch of an epoch: the divisor 21 is divided by once."""
    pairs = write_pairs(tmp_path / "pairs", rows=39, task="custom")
    flags = ["--task", "custom", "--text-columns", "sentence1,sentence2", "--epochs", "2"]
    found = compare(str(tiny_model), pairs, tmp_path / "both", flags, threads=1)
    assert_equal(found, 10, [5, 10])
    assert found.our_evaluations[0].keys() >= {"accuracy", "f1", "f1_micro"}


@pytest.mark.slow
def test_a_number_of_steps_that_ends_within_an_epoch(tiny_model, pairs, tmp_path):
    found = compare(str(tiny_model), pairs, tmp_path / "both", ["--max-steps", "40"], threads=1)
    assert_equal(found, 40, [26, 40])


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["distilbert", "roberta", "electra", "albert"])
def test_other_architectures(pairs, tmp_path, architecture):
    encoder = write_tiny_model(tmp_path / architecture, architecture)
    found = compare(str(encoder), pairs, tmp_path / "both", ["--epochs", "2"], threads=1)
    assert_equal(found, 2 * STEPS_PER_EPOCH, [26, 52])


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["xlnet", "gpt2"])
def test_padding_on_the_left_and_a_missing_padding_id(pairs, tmp_path, architecture):
    encoder = write_tiny_model(tmp_path / architecture, architecture)
    found = compare(str(encoder), pairs, tmp_path / "both", ["--epochs", "2"], threads=1)
    assert_equal(found, 2 * STEPS_PER_EPOCH, [26, 52])


@pytest.mark.skipif(importlib.util.find_spec(builtin.PACKAGE) is None, reason=f"{builtin.PACKAGE} is not installed")
@pytest.mark.slow
def test_the_packaged_encoder(tmp_path):
    pairs = write_pairs(tmp_path / "pairs", rows=156)
    encoder = str(builtin.model_folder())
    found = compare(encoder, pairs, tmp_path / "both", ["--epochs", "2", "--seed", "7"])
    assert_equal(found, 40, [20, 40])
