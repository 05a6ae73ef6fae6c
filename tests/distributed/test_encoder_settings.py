"""Settings of how the encoder is trained give the same numbers in two processes as in one."""

import pytest
from test_shard_full import assert_same_run

pytestmark = pytest.mark.distributed
SETTINGS = {
    "decay": ("--layer-decay", 0.5),
    "freeze": ("--freeze", "embeddings,layers.0"),
    "checkpointing": ("--gradient-checkpointing",),
}


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("shard", ["none", "full"])
def test_two_processes_give_the_same_numbers(torchrun, tmp_path, name, shard):
    for processes, accumulate, more in ((1, 4, ()), (2, 2, ("--shard", shard))):
        flags = (*SETTINGS[name], *more, "--accumulate", accumulate, "--run-name", processes)
        code, errors = torchrun.run(processes, *flags)
        assert code == 0, errors
    assert "padding-free" in errors
    assert_same_run(tmp_path / "runs" / "2", tmp_path / "runs" / "1")
