"""A disk that is full, read-only or gone while a training runs."""

import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import time

import pytest
import torch
from conftest import FLAGS, same_weights, wait_for
from safetensors.torch import save_file
from transformers import AutoTokenizer

from pairft import disk
from pairft.runs import checkpoint
from pairft.training import evaluation

MOUNT = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs"]


@pytest.fixture
def small_disk(tmp_path):
    place = tmp_path / "small"
    place.mkdir()
    if subprocess.run([*MOUNT, place], check=False, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs more rights")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_too_little_space_is_said_at_the_start(go, small_disk, capsys):
    (small_disk / "filler").write_bytes(bytes(3_000_000))
    assert go(*FLAGS, "--runs-dir", small_disk, "--run-name", "a") == 2
    message = capsys.readouterr().err
    assert "make room" in message and str(small_disk) in message
    assert [path.name for path in small_disk.iterdir()] == ["filler"]
    (small_disk / "filler").write_bytes(b"")
    assert go(*FLAGS, "--runs-dir", small_disk, "--seeds", "1,2,3,4,5,6,7,8,9", "--run-name", "a") == 2
    assert "make room" in capsys.readouterr().err  # for all of them, though the first would fit
    assert [path.name for path in small_disk.iterdir()] == ["filler"]
    assert go(*FLAGS, "--runs-dir", small_disk, "--seeds", "1", "--run-name", "a") == 0


def test_a_full_disk_keeps_nothing_of_several_seeds(go, small_disk, capsys):
    (small_disk / "filler").write_bytes(bytes(shutil.disk_usage(small_disk).free))
    assert go(*FLAGS, "--runs-dir", small_disk, "--seeds", "1,2", "--run-name", "a") == 2
    assert "No space left" in capsys.readouterr().err
    assert [path.name for path in small_disk.iterdir()] == ["filler"]


def test_a_disk_that_fills_up_ends_the_run_with_the_checkpoint_before_kept(begin, small_disk, go):
    process = begin("--max-steps", 100000, "--save-every", 20, "--run-name", "a", runs=small_disk)
    checkpoints = small_disk / "a" / "checkpoints"
    wait_for(lambda: checkpoint.whole_checkpoints(checkpoints), process)
    while process.poll() is None:  # as another user's files would
        try:
            with (small_disk / "filler").open("ab") as filler:
                filler.write(bytes(4096))
        except OSError:
            time.sleep(0.01)
    assert process.returncode == 2
    message = process.stderr.read()
    assert message.count("\nerror: ") == 1 and "Traceback" not in message, message
    kept = checkpoint.whole_checkpoints(checkpoints)
    assert kept and disk.verify(kept[-1]) == {}
    assert not list(checkpoints.glob(".*"))
    (small_disk / "filler").unlink()
    at = int(kept[-1].name.removeprefix("step-"))
    assert go("--resume", "--runs-dir", small_disk, "--run-name", "a", "--max-steps", at + 10) == 0


def test_one_failed_save_is_reported_and_two_in_a_row_end_the_run(go, tmp_path, capsys, monkeypatch):
    flush, failing = disk.flush, []

    def fail(path):
        if path.name == "model.safetensors" and path.parent.name in failing:
            raise OSError(28, "No space left on device", str(path))
        flush(path)

    monkeypatch.setattr(disk, "flush", fail)
    flags = ("--max-steps", 40, "--save-every", 5, "--eval-every", "never")
    failing[:] = [".step-00000010.part", ".step-00000020.part"]
    assert go(*flags, "--run-name", "a") == 0
    message = capsys.readouterr().err
    assert message.count("warning: saving has failed") == 2 and "No space left" in message
    failing[:] = [".step-00000010.part", ".step-00000015.part"]
    assert go(*flags, "--run-name", "b") == 2
    assert "twice in a row" in capsys.readouterr().err
    kept = checkpoint.whole_checkpoints(tmp_path / "runs" / "b" / "checkpoints")
    assert [path.name for path in kept] == ["step-00000005"]
    monkeypatch.undo()
    assert go("--resume", "--run-name", "b") == 0
    assert same_weights(tmp_path / "runs" / "a", tmp_path / "runs" / "b")


def test_a_stop_whose_save_fails_says_so(go, tmp_path, capsys, monkeypatch):
    flush, score = disk.flush, evaluation.compute_metrics

    def fail(path):
        if path.name == "model.safetensors" and path.parent.name == ".step-00000005.part":
            raise OSError(28, "No space left on device", str(path))
        flush(path)

    monkeypatch.setattr(disk, "flush", fail)
    monkeypatch.setattr(evaluation, "compute_metrics", lambda *a: (signal.raise_signal(signal.SIGTERM), score(*a))[1])
    assert go("--max-steps", 40, "--save-every", 3, "--eval-every", 4, "--run-name", "a") == 2
    assert "stopped after step 5, which could not be saved" in capsys.readouterr().err
    kept = checkpoint.whole_checkpoints(tmp_path / "runs" / "a" / "checkpoints")
    assert [path.name for path in kept] == ["step-00000003"]


def test_a_bug_in_the_thread_that_saves_is_raised(go, monkeypatch):
    flush_all = disk.flush_all

    def fail(path):
        if path.name.startswith(".step-"):  # not the models' folders, which are flushed in the end
            raise ZeroDivisionError("a bug")
        flush_all(path)

    monkeypatch.setattr(disk, "flush_all", fail)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        go("--max-steps", 4, "--save-every", 2, "--eval-every", "never", "--run-name", "a")


def test_a_limit_on_the_size_of_files(go, tmp_path, capsys):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, hard))
    try:
        code = go("--max-steps", 20, "--save-every", 5, "--eval-every", "never", "--run-name", "a")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert code == 2
    message = capsys.readouterr().err
    assert "saving has failed" in message and "Traceback" not in message
    assert not list((tmp_path / "runs" / "a").rglob("*.safetensors"))


def test_a_best_model_that_can_not_be_kept_is_not_called_best(go, tmp_path, capsys, monkeypatch):
    """Epoch 1 can't be kept; the run goes on, and the better of the others is the best."""
    put, calls = disk.replace_atomically, []

    def fail(part, folder):
        calls.append(folder.name)
        if len(calls) == 1:
            raise OSError(122, "Disk quota exceeded", str(folder))
        put(part, folder)

    monkeypatch.setattr(disk, "replace_atomically", fail)
    assert go("--epochs", 3, "--lr", "1e-3", "--run-name", "a") == 0
    assert calls[0] == "best" and "Disk quota exceeded" in capsys.readouterr().err
    results = json.loads((tmp_path / "runs" / "a" / "results.json").read_text())
    about = json.loads((tmp_path / "runs" / "a" / "best" / "pairft.json").read_text())
    assert results["best"]["step"] == about["step"] > 8


@pytest.mark.slow
def test_a_folder_removed_during_the_training(begin, tmp_path):
    process = begin("--max-steps", 100000, "--save-every", 50, "--run-name", "a")
    run = tmp_path / "runs" / "a"
    wait_for(lambda: list(run.glob("checkpoints/step-*")), process)
    while run.exists():  # what is written meanwhile makes it fail now and then
        shutil.rmtree(run, ignore_errors=True)
    message = process.communicate(timeout=60)[1]
    assert process.returncode == 2, message
    assert message.count("\nerror: ") == 1 and str(run) in message and "Traceback" not in message
    assert not run.exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only to root")
def test_a_folder_that_became_read_only(go, tmp_path, capsys):
    run = tmp_path / "runs" / "a"
    assert go(*FLAGS, "--run-name", "a") == 0
    (run / "results.json").unlink()
    run.chmod(0o500)
    try:
        assert go("--resume", "--run-name", "a") == 2
    finally:
        run.chmod(0o700)
    assert "Permission denied" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["tokenizer", "weights"])
def test_errors_of_libraries_that_tell_of_a_full_disk_are_the_systems(small_disk, tiny_model, kind):
    """They are a bare Exception of tokenizers, and a SafetensorError."""
    tokenizer, weights = AutoTokenizer.from_pretrained(tiny_model), {"a": torch.zeros(10**6)}
    (small_disk / "filler").write_bytes(bytes(shutil.disk_usage(small_disk).free - 8192))
    with pytest.raises(OSError, match="No space left") as caught, disk.disk_errors(small_disk):
        if kind == "tokenizer":
            tokenizer.backend_tokenizer.save(str(small_disk / "tokenizer.json"))
        else:
            save_file(weights, small_disk / "model.safetensors")
    assert caught.value.errno == errno.ENOSPC and caught.value.filename == str(small_disk)
    with pytest.raises(ValueError, match="a bug"), disk.disk_errors(small_disk):
        raise ValueError("a bug")


def test_a_read_only_disk(go, small_disk, capsys):
    assert go(*FLAGS, "--runs-dir", small_disk, "--run-name", "a") == 0
    (small_disk / "a" / "results.json").unlink()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    capsys.readouterr()
    assert go("--resume", "--runs-dir", small_disk, "--run-name", "a") == 2
    message = capsys.readouterr().err
    assert "Read-only" in message and "Traceback" not in message
    assert go(*FLAGS, "--runs-dir", small_disk, "--run-name", "b") == 2
    assert "Read-only" in capsys.readouterr().err
