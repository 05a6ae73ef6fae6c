"""What a user does to a run directory, and what is said with --resume, never costs a checkpoint."""

import json
import os
import stat

import pytest
import torch
from conftest import FLAGS, read_lines, same_weights, undone
from safetensors.torch import load_file
from test_damage import flip

from pairft import disk
from pairft.runs import checkpoint


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
    assert len(kept) == 2 and all(disk.verify(folder) == {} for folder in kept)
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
    wanted = disk.read_checksums(newer)["best/model.safetensors"]
    assert checkpoint.listed_best(newer)["best/model.safetensors"] == wanted
    assert list(disk.verify(newer)) == ["best/model.safetensors"]


def test_a_damaged_best_in_a_checkpoint_is_replaced_by_the_one_beside_it(go, capsys, stopped):
    killed, whole = stopped
    damaged = killed / "checkpoints" / "step-00000016"
    flip(damaged / "best" / "model.safetensors")
    (damaged / "best" / "README.md").unlink()
    assert go("--resume", "--run-name", "killed") == 0
    assert "from step 16\n" in capsys.readouterr().err
    assert disk.verify(damaged) == {}  # the next checkpoint would link it
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

    validation = RunLog.log_validation

    def removing(record, *arguments):
        (record.folder / "metrics.jsonl").unlink()
        validation(record, *arguments)

    monkeypatch.setattr(RunLog, "log_validation", removing)
    assert go(*FLAGS, "--run-name", "a") == 0
    assert "is gone" in capsys.readouterr().err
    assert [line["step"] for line in read_lines(tmp_path / "runs" / "a", "validation")] == [16]


def test_a_lost_best_model_that_a_later_one_beats_is_no_loss(go, capsys, tmp_path):
    killed, whole = tmp_path / "runs" / "killed", tmp_path / "runs" / "whole"
    assert go(*FLAGS, "--save-every", 8, "--run-name", "whole") == 0
    undone(whole, killed, 8)
    kept = killed / "checkpoints" / "step-00000008"
    content = json.loads((kept / "state.json").read_text())
    content["best"]["validation"]["f1"] = -1.0
    (kept / "state.json").write_text(json.dumps(content))
    (kept / disk.CHECKSUMS).unlink()
    disk.write_checksums(kept)
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
