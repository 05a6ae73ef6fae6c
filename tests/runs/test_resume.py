"""Going on from a checkpoint ends as if never stopped: weights, best, lines and scores, bit for bit."""

import json
import os

import pytest
import torch
from conftest import FLAGS, comparable, read_lines, undone
from safetensors.torch import load_file

from pairft.runs import checkpoint, random_states


@pytest.mark.parametrize("step", [11, 8])  # within an epoch and between two lines of the log; at the end of an epoch
@pytest.mark.parametrize("preset", [(), ("--preset", "trainer")])
def test_resume_is_exact(go, tmp_path, step, preset):
    whole, killed = tmp_path / "runs" / "whole", tmp_path / "runs" / "killed"
    assert go(*FLAGS, *preset, "--save-every", step, "--run-name", "whole") == 0
    undone(whole, killed, step)
    torch.manual_seed(99)  # another process would begin elsewhere
    assert go("--resume", "--run-name", "killed") == 0
    weights, resumed = (load_file(run / "last" / "model.safetensors") for run in (whole, killed))
    assert all(torch.equal(weights[name], resumed[name]) for name in weights)
    for split in ("train", "validation"):
        assert comparable(whole, split) == comparable(killed, split)
    before, after = (json.loads((run / "results.json").read_text()) for run in (whole, killed))
    assert (before["best"], before["last"]) == (after["best"], after["last"])


def test_a_finished_run_stays_as_it_is(go, tmp_path, capsys):
    assert go(*FLAGS, "--run-name", "a") == 0
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs" / "a").rglob("*")}
    assert go("--resume", "--run-name", "a") == 0
    assert "is finished" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "runs" / "a").rglob("*")} == files


def test_resume_without_a_name_takes_the_newest_unfinished_run(go, tmp_path):
    for age, name in enumerate(("newer", "older", "finished")):
        assert go(*FLAGS, "--run-name", name) == 0
        os.utime(tmp_path / "runs" / name / "config.yaml", (1e9 - age, 1e9 - age))
    for name in ("newer", "older"):
        (tmp_path / "runs" / name / "results.json").unlink()
    assert go("--resume") == 0
    assert (tmp_path / "runs" / "newer" / "results.json").exists()
    assert not (tmp_path / "runs" / "older" / "results.json").exists()


def test_a_run_killed_before_its_first_checkpoint_begins_again_and_says_so(go, tmp_path, capsys):
    whole, killed = tmp_path / "runs" / "whole", tmp_path / "runs" / "killed"
    assert go(*FLAGS, "--run-name", "whole") == 0
    undone(whole, killed, 0)
    assert go("--resume", "--run-name", "killed") == 0
    assert "no complete checkpoint" in capsys.readouterr().err
    assert comparable(whole, "train") == comparable(killed, "train")


def test_a_checkpoint_holds_the_optimizer_under_parameter_names_and_its_layout(go, tmp_path):
    assert go(*FLAGS, "--run-name", "a") == 0
    folder = checkpoint.whole_checkpoints(tmp_path / "runs" / "a" / "checkpoints")[-1]
    weights, moments = load_file(folder / "model.safetensors"), load_file(folder / "optimizer.safetensors")
    name = "bert.encoder.layer.0.attention.self.query.weight"
    assert moments[f"exp_avg/{name}"].shape == moments[f"exp_avg_sq/{name}"].shape == weights[name].shape
    assert moments[f"step/{name}"].item() == 16
    state = json.loads((folder / "state.json").read_text())
    assert state["layout"] == checkpoint.LAYOUT and state["position"] == {"epoch": 2, "consumed": 0}
    state["layout"] = 99
    (folder / "state.json").write_text(json.dumps(state))
    (tmp_path / "runs" / "a" / "results.json").unlink()
    assert go("--resume", "--run-name", "a") == 2


def test_what_defines_a_run_may_not_change_on_resume_but_its_length_may(go, tmp_path, capsys):
    runs = tmp_path / "runs"
    assert go(*FLAGS, "--run-name", "a") == 0
    (runs / "a" / "results.json").unlink()
    capsys.readouterr()
    for flags in (("--seed", 7), ("--lr", "2e-3"), ("--batch-size", 4), ("--preset", "trainer")):
        assert go("--resume", "--run-name", "a", *flags) == 2
        message = capsys.readouterr().err
        assert f"{flags[0]} is" in message and "was started with" in message and "--epochs, --max-steps" in message
    assert go("--resume", "--run-name", "a", "--max-steps", 12) == 2
    assert "is at step 16 already" in capsys.readouterr().err
    assert go("--resume", "--run-name", "a", "--epochs", 3) == 0
    assert json.loads((runs / "a" / "results.json").read_text())["train"]["steps"] == 24
    assert "epochs: 3" in (runs / "a" / "config.yaml").read_text()


def test_a_run_that_is_cut_short_to_where_it_stopped_is_evaluated_there(go, tmp_path, capsys):
    runs = tmp_path / "runs"
    for name, every in (("a", "never"), ("b", 5)):
        flags = ("--max-steps", 8, "--eval-every", every, "--save-every", 7)
        assert go(*FLAGS, *flags, "--run-name", f"whole-{name}") == 0
        undone(runs / f"whole-{name}", runs / name, 7)
        assert go("--resume", "--run-name", name, "--max-steps", 7) == 0
        assert "from step 7\n" in capsys.readouterr().err
        results = json.loads((runs / name / "results.json").read_text())
        assert results["train"]["steps"] == results["last"]["step"] == 7
        assert read_lines(runs / name, "validation")[-1]["f1"] == results["last"]["validation"]["f1"]
        kept = load_file(runs / name / "checkpoints" / "step-00000007" / "model.safetensors")
        weights = load_file(runs / name / "last" / "model.safetensors")
        assert all(torch.equal(kept[key], weights[key]) for key in weights)
        assert results["best"]["step"] in ((7,) if every == "never" else (5, 7))


def test_random_states_come_back():
    import random

    import numpy

    def draw():
        return torch.rand(3).tolist(), numpy.random.rand(3).tolist(), random.random(), random.gauss(0, 1)

    random.gauss(0, 1)  # leaves a second number in wait
    numpy.random.randn()
    states = random_states.random_states()
    first = draw()
    random_states.restore_random_states(states)
    assert draw() == first
