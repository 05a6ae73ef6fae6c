"""What --resume may change, runs that have finished, and the command that resumes a run."""

import json
import shlex
import shutil
import subprocess
import sys

import pytest
from conftest import FLAGS, ROOT

from pairft.checks import run_name_problems
from pairft.config import Config
from pairft.runs import directory


@pytest.mark.parametrize(
    "model", [".", "..", "/", "~", "a/b:c ", "-x/-y", "…", "x/" + "é" * 120, "a\nb", "x/" + "m" * 255]
)
def test_a_generated_name_is_one_that_run_name_takes(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_name_problems(directory.generated_name(Config(model=model))) == []


def test_a_run_of_the_model_in_the_working_directory_resumes(go, tiny_model, tmp_path, monkeypatch):
    monkeypatch.chdir(shutil.copytree(tiny_model, tmp_path / ".model"))
    assert go("--model", ".", "--max-steps", 2) == 0
    [made] = (tmp_path / "runs").iterdir()
    assert made.name.startswith("model-mrpc-")
    (made / "results.json").unlink()
    assert go("--model", ".", "--resume") == 0


def test_another_length_of_a_finished_run_is_refused(go, tmp_path, capsys):
    assert go(*FLAGS, "--run-name", "a") == 0
    capsys.readouterr()
    for flags in (("--epochs", 6), ("--epochs", 1), ("--max-steps", 17), ("--max-steps", 3)):
        assert go("--resume", "--run-name", "a", *flags) == 2
        message = capsys.readouterr().err
        assert f"{flags[0]} is {flags[1]}" in message and "finished after 16 steps" in message
        assert f"--model {tmp_path / 'runs' / 'a' / 'last'}" in message
    for flags in ((), ("--epochs", 2), ("--max-steps", 16)):
        assert go("--resume", "--run-name", "a", *flags) == 0
        assert "nothing to do" in capsys.readouterr().err
    assert go("--resume", "--run-name", "a", "--log-every", 7, "--eval-every", "epoch") == 0
    assert "note: without effect: --log-every\n" in capsys.readouterr().err
    assert go("--resume", "--run-name", "a", "--lr", 1) == 2
    assert "--lr is 1.0" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "{}", "[1]"])
def test_results_that_are_none(go, tmp_path, capsys, content):
    (tmp_path / "runs" / "a").mkdir(parents=True)
    (tmp_path / "runs" / "a" / "config.yaml").write_text("epochs: 1\n")
    (tmp_path / "runs" / "a" / "results.json").write_text(content)
    assert go("--resume", "--run-name", "a", "--model", "google-bert/bert-base-uncased") == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ") and str(tmp_path / "runs" / "a") in message


def test_epochs_replace_the_max_steps_of_a_run(go, tmp_path, capsys):
    assert go("--max-steps", 8, "--run-name", "a") == 0
    (tmp_path / "runs" / "a" / "results.json").unlink()
    assert go("--resume", "--run-name", "a", "--epochs", 4) == 0
    assert "--epochs 4 replaces the run's --max-steps 8" in capsys.readouterr().err
    results = json.loads((tmp_path / "runs" / "a" / "results.json").read_text())
    assert results["train"]["steps"] == 32
    assert go("--seeds", "1,2", "--max-steps", 2, "--run-name", "s") == 0
    (tmp_path / "runs" / "s" / "summary.json").unlink()
    assert go("--resume", "--run-name", "s", "--epochs", 3) == 2
    assert "--epochs 3 has no effect" in capsys.readouterr().err


def test_a_setting_that_an_older_run_lacks_had_its_default(go, tmp_path, capsys):
    assert go("--max-steps", 2, "--run-name", "a") == 0
    run = tmp_path / "runs" / "a"
    (run / "results.json").unlink()
    settings = (run / "config.yaml").read_text().replace("truncation: longest\n", "")
    (run / "config.yaml").write_text(settings)
    assert go("--resume", "--run-name", "a", "--truncation", "first") == 2
    assert "--truncation is 'first'" in (message := capsys.readouterr().err) and "'longest'" in message
    assert go("--resume", "--run-name", "a", "--truncation", "longest") == 0


def test_a_flag_without_effect_is_named(go, capsys):
    flags = ("--epochs", 5, "--max-steps", 1, "--tf32", "--capture", "never", "--seed", 3, "--seeds", "1,2")
    assert go(*flags) == 0
    message = capsys.readouterr().err
    for flag, why in (("--epochs 5", "--max-steps"), ("--seed 3", "--seeds")):
        assert f"note: {flag} has no effect: {why} is given" in message
    for flag in ("--tf32", "--capture"):
        assert f"note: {flag} has no effect on cpu" in message


def test_a_boolean_is_turned_off_against_a_file(go, tmp_path, capsys):
    (tmp_path / "a.yaml").write_text("deterministic: true\ntf32: true\n")
    assert go("--config", tmp_path / "a.yaml", "--no-deterministic", "--max-steps", 1, "--run-name", "a") == 0
    written = (tmp_path / "runs" / "a" / "config.yaml").read_text()
    assert "deterministic: false" in written and "tf32: true" in written


@pytest.mark.slow
def test_the_command_that_resumes_can_be_pasted(tiny_model, pairs_folder, tmp_path):
    """With blanks and quotes in the paths, and a name that looks like a flag."""
    runs = tmp_path / "my 'own' runs"
    command = [sys.executable, ROOT / "train.py", "--model", tiny_model, "--data", pairs_folder, "--runs-dir", runs]
    command += ["--run-name=-a b", "--max-steps", 3, "--device", "cpu", "--eval-every", 1]
    code = "import os, sys, runpy; from pairft.training import evaluation; score = evaluation.compute_metrics\n"
    code += "once = [1]\nstopped = lambda *a: (once and os.kill(once.pop() * os.getpid(), 15), score(*a))[1]\n"
    code += "evaluation.compute_metrics = stopped\n"
    code += "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    command[1:1] = ["-c", code]
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=ROOT, check=False)
    assert result.returncode == 143, result.stderr
    [line] = [line for line in result.stderr.splitlines() if line.startswith("stopped after step 2")]
    pasted = line.partition(": ")[2]
    assert shlex.split(pasted)[1].endswith("train.py")
    pasted = pasted.replace("python ", f"{shlex.quote(sys.executable)} ", 1)
    result = subprocess.run(["sh", "-c", pasted], capture_output=True, text=True, cwd=ROOT, check=False)
    assert result.returncode == 0, result.stderr
    assert (runs / "-a b" / "results.json").exists()
