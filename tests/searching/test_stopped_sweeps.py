"""A sweep that is killed or stopped, as a process of its own, and resumed: it equals one that never was."""

import shlex
import signal
import subprocess
import sys

import pytest
import yaml
from conftest import ROOT, same_weights, wait_for
from sweeps import Sweeps

from pairft import sweep
from pairft.searching import study

pytestmark = pytest.mark.xdist_group("stopped sweeps")  # one process trains the sweep that all compare with
STEPS = ("--max-steps", 60, "--eval-every", 20, "--save-every", 20)
FLAGS = ("--seed", 2, "--seeds-of-best", 2)


@pytest.fixture(scope="module")
def sweeps(tiny_model, tmp_path_factory):
    found = Sweeps(tmp_path_factory.mktemp("stopped"), tiny_model)
    assert found.run("whole", *FLAGS, steps=STEPS) == 0
    return found


def assert_equal(sweeps, name):
    assert sweeps.trials(name) == sweeps.trials("whole")
    one, other = (sweeps.record(which)["comparison"] for which in (name, "whole"))
    assert one == other
    for trial in sweeps.trials(name):
        assert same_weights(sweeps.runs / name / trial["run"], sweeps.runs / "whole" / trial["run"])


@pytest.mark.slow
def test_kill_9(sweeps):
    places = ["trial-0000", "trial-0003", "*-on-2-seeds/seed-4"]
    more = ()
    for place in places:  # while that run evaluates for the first time, or soon after
        process = sweeps.begin("killed", *FLAGS, *more, steps=STEPS)
        wait_for(lambda place=place: written(sweeps.runs / "killed", place), process)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        process.stderr.close()
        more = ("--resume",)
    assert sweeps.run("killed", *FLAGS, "--resume", steps=STEPS) == 0
    assert_equal(sweeps, "killed")


def written(folder, place):
    """Whether a run has logged an evaluation."""
    return any('"validation"' in path.read_text() for path in folder.glob(f"{place}/metrics.jsonl"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code", "place"),
    [
        (signal.SIGTERM, 143, "trial-0001"),
        (signal.SIGINT, 130, "*-on-2-seeds/seed-3"),
    ],
)
def test_a_signal_stops_after_a_checkpoint_and_says_how_to_go_on(sweeps, number, code, place):
    name = f"stopped-{code}"
    process = sweeps.begin(name, *FLAGS, steps=STEPS)
    wait_for(lambda: written(sweeps.runs / name, place), process)
    process.send_signal(number)
    message = process.communicate(timeout=120)[1]
    assert process.returncode == code, message
    words = shlex.split(message.strip().splitlines()[-1].removeprefix("resume the sweep with: "))
    assert words[:3] == ["python", "-m", "pairft.sweep"] and words[-1] == "--resume"
    done = subprocess.run([sys.executable, *words[1:]], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert_equal(sweeps, name)


@pytest.mark.slow
def test_more_trials_are_those_of_a_longer_sweep(sweeps):
    assert sweeps.run("short", *FLAGS, trials=3, steps=STEPS) == 0
    assert sweeps.run("short", *FLAGS, "--resume", steps=STEPS) == 0
    assert_equal(sweeps, "short")


@pytest.mark.slow
def test_data_that_changes_ends_the_sweep(sweeps, capsys):
    file = sweeps.folder / "letters" / "train.jsonl"
    before = file.read_text()
    assert sweeps.run("changed", *FLAGS, trials=1, steps=STEPS) == 0
    try:
        file.write_text("".join(before.splitlines(keepends=True)[:60]))
        assert sweeps.run("changed", *FLAGS, "--resume", trials=2, steps=STEPS) == 2
    finally:
        file.write_text(before)
    assert "the data has changed since" in capsys.readouterr().err


@pytest.mark.slow
def test_a_full_disk_ends_the_sweep_and_no_trial(sweeps, capsys, monkeypatch):
    from pairft import disk
    from pairft.errors import DiskError

    def full(place, needed, held=0):
        raise DiskError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(disk, "check_space", full)
        assert sweeps.run("full", *FLAGS, steps=STEPS) == 2
        assert not (sweeps.runs / "full").exists()
    assert sweeps.run("full", *FLAGS, trials=1, steps=STEPS) == 0
    with monkeypatch.context() as patch:
        patch.setattr(disk, "check_space", full)
        assert sweeps.run("full", *FLAGS, "--resume", trials=2, steps=STEPS) == 2
    assert capsys.readouterr().err.count("error: no room") == 2
    assert sweeps.run("full", *FLAGS, "--resume", steps=STEPS) == 0
    assert_equal(sweeps, "full")


@pytest.mark.slow
def test_without_the_hub_all_trials_fall_back(tmp_path, capsys):
    space = tmp_path / "space.yaml"
    space.write_text("lr: [1e-5, 1e-4]\n")
    flags = [space, "--trials", 1, "--name", "a", "--seeds-of-best", 0, "--limit", 8, "--max-steps", 1]
    words = [str(word) for word in (*flags, "--runs-dir", tmp_path / "runs", "--device", "cpu")]
    assert sweep.main(words) == 0
    assert "Training the builtin model" in capsys.readouterr().err
    assert sweep.main([*words, "--trials", "2", "--resume"]) == 0
    for name in ("trial-0000/config.yaml", "trial-0001/config.yaml", "best.yaml"):
        settings = yaml.safe_load((tmp_path / "runs" / "a" / name).read_text())
        assert (settings["model"], settings["data"], settings["fallback"]) == ("builtin", "builtin", True)
    assert sweep.main([*words, "--resume", "--model", "builtin"]) == 2
    assert "is not what the sweep" in capsys.readouterr().err


@pytest.mark.slow
def test_help_needs_no_heavy_import():
    code = (
        "import sys, pairft.sweep; print(sorted(set(sys.modules) & {'torch', 'numpy', 'optuna', 'yaml', 'matplotlib'}))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert result.stdout.strip() == "[]"
    with pytest.raises(SystemExit) as done:
        sweep.main(["--help"])
    assert done.value.code == 0


def test_a_damaged_study_is_no_bug(tmp_path, tiny_model, capsys):
    sweeps = Sweeps(tmp_path, tiny_model)
    assert sweeps.run("a", "--seeds-of-best", 0, trials=1) == 0
    file = sweeps.runs / "a" / study.FILE
    whole = file.read_bytes()
    file.write_bytes(b"no database" * 1000)
    capsys.readouterr()
    assert sweeps.run("a", "--seeds-of-best", 0, "--resume", trials=2) == 2
    error = capsys.readouterr().err
    assert f"{file}: file is not a database; make room or restore the file, then add --resume" in error
    file.write_bytes(whole)
    assert sweeps.run("a", "--seeds-of-best", 0, "--resume", trials=2) == 0
