"""What a user does to a run directory, and what is said with --resume, never costs a checkpoint."""

import json
import os
import shlex
import shutil
import stat
import subprocess
import sys

import pytest
import torch
from conftest import FLAGS, ROOT, read_lines, same_weights, undone
from safetensors.torch import load_file
from test_damage import flip

from pairft import disk
from pairft.checks import run_name_problems
from pairft.config import Config
from pairft.runs import checkpoint, directory


@pytest.fixture
def stopped(go, tmp_path):
    """A run with checkpoints at steps 12 and 16, killed before it wrote its results; the whole run beside it."""
    killed, whole = tmp_path / "runs" / "killed", tmp_path / "runs" / "whole"
    assert go(*FLAGS, "--save-every", 6, "--run-name", "whole") == 0
    undone(whole, killed, 16)
    return killed, whole


def test_an_edit_in_best_reaches_no_checkpoint(go, tmp_path, capsys):
    killed = tmp_path / "runs" / "a"
    assert go(*FLAGS, "--save-every", 6, "--run-name", "a") == 0
    last = load_file(killed / "last" / "model.safetensors")
    (killed / "results.json").unlink()
    for file in (killed / "best").iterdir():  # in place: the inode stays
        with file.open("ab") as opened:
            opened.write(b"note")
    kept = checkpoint.whole_checkpoints(killed / "checkpoints")
    assert len(kept) == 2 and all(disk.damage(folder) == {} for folder in kept)
    assert go("--resume", "--run-name", "a") == 0
    assert "from step 16\n" in capsys.readouterr().err
    again = load_file(killed / "last" / "model.safetensors")
    assert all(torch.equal(last[name], again[name]) for name in last)
    assert not list(killed.rglob("damaged-*"))


def test_checkpoints_share_their_best_model_and_nothing_else_does(go, tmp_path):
    kept = tmp_path / "runs" / "a" / "checkpoints"
    assert go("--max-steps", 9, "--eval-every", 4, "--save-every", 3, "--lr", "1e-9", "--run-name", "a") == 0
    older, newer = (folder / "best" / "model.safetensors" for folder in checkpoint.whole_checkpoints(kept))
    assert older.samefile(newer) and newer.stat().st_nlink == 2  # the evaluation of step 4, or of 8, is both's best
    assert not newer.samefile(tmp_path / "runs" / "a" / "best" / "model.safetensors")


def test_damage_in_a_linked_best_model_is_not_taken_for_its_content(go, tmp_path):
    """The next checkpoint links the file, and must not compute its checksum from what it holds by then."""
    kept = tmp_path / "runs" / "a" / "checkpoints"
    assert go("--max-steps", 8, "--eval-every", 4, "--save-every", 4, "--lr", "1e-9", "--run-name", "a") == 0
    newer = checkpoint.whole_checkpoints(kept)[-1]
    flip(newer / "best" / "model.safetensors")
    wanted = disk.read_list(newer)["best/model.safetensors"]
    assert checkpoint.listed_best(newer)["best/model.safetensors"] == wanted
    assert list(disk.damage(newer)) == ["best/model.safetensors"]


def test_a_damaged_best_in_a_checkpoint_is_replaced_by_the_one_beside_it(go, capsys, stopped):
    killed, whole = stopped
    damaged = killed / "checkpoints" / "step-00000016"
    flip(damaged / "best" / "model.safetensors")
    (damaged / "best" / "README.md").unlink()
    assert go("--resume", "--run-name", "killed") == 0
    assert "from step 16\n" in capsys.readouterr().err
    assert disk.damage(damaged) == {}  # the next checkpoint would link it
    assert same_weights(whole, killed)
    for name in ("best", "last", "lost_best"):
        before, after = (json.loads((folder / "results.json").read_text())[name] for folder in (whole, killed))
        assert before == after


def test_a_best_model_that_is_damaged_everywhere_is_forgotten(go, capsys, tmp_path):
    """That costs the best model, not the checkpoint: training resumes at step 8, and a later evaluation is the best."""
    killed, whole = tmp_path / "runs" / "killed", tmp_path / "runs" / "whole"
    assert go(*FLAGS, "--save-every", 8, "--run-name", "whole") == 0
    undone(whole, killed, 8)
    flip(killed / "best" / "model.safetensors")
    flip(killed / "checkpoints" / "step-00000008" / "best" / "model.safetensors")
    assert go("--resume", "--run-name", "killed") == 0
    shown = capsys.readouterr()
    assert "from step 8\n" in shown.err and "it is lost" in shown.err
    assert same_weights(whole, killed)
    results = json.loads((killed / "results.json").read_text())
    assert (results["lost_best"]["step"], results["best"]["step"]) == (8, 16)
    assert "the evaluation after step 8 was the best, but its model was damaged" in shown.out
    assert (killed / "damaged-best").is_dir()
    assert json.loads((killed / "best" / "pairft.json").read_text())["step"] == 16


def test_a_second_damaged_checkpoint_of_the_same_step_gets_a_name_of_its_own(tmp_path):
    for _ in range(3):
        (tmp_path / "step-00000004").mkdir()
        disk.set_aside(tmp_path / "step-00000004")
    assert {path.name for path in tmp_path.iterdir()} == {f"damaged-step-00000004{end}" for end in ("", "-2", "-3")}


@pytest.mark.parametrize("content", [None, b"", b"{\n[1]\nnull\n", b"\xff\n"])
def test_metrics_that_are_gone_at_the_end(go, tmp_path, capsys, stopped, content):
    killed, whole = stopped
    if content is None:
        (killed / "metrics.jsonl").unlink()
    else:
        (killed / "metrics.jsonl").write_bytes(content)
    assert go("--resume", "--run-name", "killed") == 0
    shown = capsys.readouterr()
    assert "lines" in shown.err and " 16 " in shown.out
    before, after = (json.loads((folder / "results.json").read_text()) for folder in (whole, killed))
    assert (before["best"], before["last"]) == (after["best"], after["last"])


def test_metrics_that_are_removed_during_the_training(go, tmp_path, capsys, monkeypatch):
    from pairft.runs.log import RunLog

    validation = RunLog.validation

    def removing(record, *arguments):
        (record.folder / "metrics.jsonl").unlink()
        validation(record, *arguments)

    monkeypatch.setattr(RunLog, "validation", removing)
    assert go(*FLAGS, "--run-name", "a") == 0
    assert "is gone" in capsys.readouterr().err
    assert [line["step"] for line in read_lines(tmp_path / "runs" / "a", "validation")] == [16]


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


def test_a_lost_best_model_that_a_later_one_beats_is_no_loss(go, capsys, tmp_path):
    killed, whole = tmp_path / "runs" / "killed", tmp_path / "runs" / "whole"
    assert go(*FLAGS, "--save-every", 8, "--run-name", "whole") == 0
    undone(whole, killed, 8)
    kept = killed / "checkpoints" / "step-00000008"
    content = json.loads((kept / "state.json").read_text())
    content["best"]["validation"]["f1"] = -1.0
    (kept / "state.json").write_text(json.dumps(content))
    (kept / disk.LIST).unlink()
    disk.seal(kept)
    for folder in (killed, kept):
        flip(folder / "best" / "model.safetensors")
    assert go("--resume", "--run-name", "killed") == 0
    shown = capsys.readouterr()
    assert "it is lost" in shown.err and "was the best, but" not in shown.out
    results = json.loads((killed / "results.json").read_text())
    assert (results["lost_best"], results["best"]["step"]) == (None, 16)


def test_other_versions_or_threads_are_named_on_resume(go, capsys, stopped):
    killed, _ = stopped
    manifest = json.loads((killed / "manifest.json").read_text())
    manifest["versions"]["numpy"], manifest["machine"]["threads"] = "0.9", 64
    (killed / "manifest.json").write_text(json.dumps(manifest))
    assert go("--resume", "--run-name", "killed") == 0
    [line] = [line for line in capsys.readouterr().err.splitlines() if "last bits may differ" in line]
    assert "numpy 0.9 -> " in line and "threads 64 -> " in line and "torch" not in line


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_files_follow_the_umask(go, tmp_path, mask):
    before = os.umask(mask)
    try:
        assert go("--max-steps", 2, "--run-name", "a") == 0
    finally:
        os.umask(before)
    files = [path for path in (tmp_path / "runs" / "a").rglob("*") if path.is_file() and path.name != ".lock"]
    assert {path.name for path in files} >= {"model.safetensors", "optimizer.safetensors", "tokenizer.json"}
    assert {oct(stat.S_IMODE(path.stat().st_mode)) for path in files} == {oct(0o666 & ~mask)}


def test_the_command_that_resumes_can_be_pasted(tiny_model, pairs_folder, tmp_path):
    """With blanks and quotes in the paths, and a name that looks like a flag."""
    runs = tmp_path / "my 'own' runs"
    command = [sys.executable, ROOT / "train.py", "--model", tiny_model, "--data", pairs_folder, "--runs-dir", runs]
    command += ["--run-name=-a b", "--max-steps", 3, "--device", "cpu", "--eval-every", 1]
    code = "import os, sys, runpy; from pairft.training import evaluation; score = evaluation.score\n"
    code += "once = [1]\nevaluation.score = lambda *a: (once and os.kill(once.pop() * os.getpid(), 15), score(*a))[1]\n"
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
