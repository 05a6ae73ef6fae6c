"""Settings of how the encoder is trained give the same numbers in two processes as in one."""

import pytest
from test_shard_full import assert_same_run

pytestmark = pytest.mark.slow
SETTINGS = ("--layer-decay", 0.5, "--freeze", "embeddings,layers.0", "--gradient-checkpointing", "--one-logit")


@pytest.mark.parametrize("shard", ["none", "full"])
def test_two_processes_give_the_same_numbers(torchrun, tmp_path, shard):
    check_same_numbers(torchrun, tmp_path, (*SETTINGS, "--shard", shard))


def test_two_processes_train_the_same_adapters(torchrun, tmp_path):
    check_same_numbers(torchrun, tmp_path, ("--lora-rank", 4))
    _, errors = torchrun.run(2, "--lora-rank", 4, "--shard", "full")
    assert "--lora-rank and --shard full exclude each other" in errors


def check_same_numbers(torchrun, tmp_path, flags):
    for processes, accumulate in ((1, 4), (2, 2)):
        code, errors = torchrun.run(processes, *flags, "--accumulate", accumulate, "--run-name", processes)
        assert code == 0, errors
    assert "padding-free" in errors
    assert_same_run(tmp_path / "runs" / "2", tmp_path / "runs" / "1")
