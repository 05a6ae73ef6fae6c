"""With --patience all processes stop after the same step, and so does a run that is resumed."""

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
