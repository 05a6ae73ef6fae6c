"""Several processes: with --patience all stop after the same step; rank 0 is profiled; --dry-run is for one process."""

import json

import pytest
from conftest import same_weights, undone

FLAGS = ("--epochs", 10, "--eval-every", 2, "--patience", 2)


@pytest.mark.distributed
def test_two_processes_stop_early_as_one_does(torchrun, tmp_path):
    runs, ends = tmp_path / "runs", {}
    for processes, accumulate in ((1, 4), (2, 2)):
        code, errors = torchrun.run(processes, *FLAGS, "--accumulate", accumulate, "--run-name", processes)
        assert code == 0 and errors.count("stopped after step") == 1, errors
        ends[processes] = json.loads((runs / str(processes) / "results.json").read_text())["stopped_early"]
    assert ends[1] == ends[2] and ends[1]["step"] < 40
    undone(runs / "2", runs / "killed", ends[2]["step"])  # before results.json was written
    code, errors = torchrun.run(2, *FLAGS, "--accumulate", 2, "--resume", "--run-name", "killed")
    assert code == 0, errors
    assert json.loads((runs / "killed" / "results.json").read_text())["stopped_early"] == ends[2]
    assert same_weights(runs / "2", runs / "killed")


@pytest.mark.slow
def test_rank_0_is_profiled_alone(torchrun, tmp_path):
    for name, flags in (("plain", ()), ("profiled", ("--profile",))):
        code, errors = torchrun.run(2, "--accumulate", 2, *flags, "--run-name", name)
        assert code == 0 and errors.count("profile of steps 5 to 7") == len(flags), errors
    assert same_weights(tmp_path / "runs" / "plain", tmp_path / "runs" / "profiled")
    assert len(list((tmp_path / "runs" / "profiled" / "profile").iterdir())) == 2


@pytest.mark.slow
def test_a_dry_run_is_for_one_process(torchrun, tmp_path):
    code, errors = torchrun.run(2, "--dry-run")
    assert code != 0 and "--dry-run is for one process, but torchrun has started 2" in errors, errors
    assert not (tmp_path / "runs").exists()
