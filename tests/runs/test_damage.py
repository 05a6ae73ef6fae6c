"""Checkpoints and models that are damaged, or made to do harm."""

import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from conftest import FLAGS, comparable, same_weights, undone
from safetensors.torch import load_file

from pairft import disk
from pairft.runs import checkpoint, restore


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) * 9 // 10] ^= 1  # in files.json the entries of best/ come first, whose damage costs only it
    path.write_bytes(content)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


FILES = ("model.safetensors", "optimizer.safetensors", "random-0.safetensors", "state.json", "files.json")


@pytest.fixture
def trained(go, tmp_path):
    """A run with checkpoints at steps 12 and 16, that was killed before it wrote its results, and what they were."""
    run, whole = tmp_path / "runs" / "killed", tmp_path / "runs" / "whole"
    assert go(*FLAGS, "--save-every", 6, "--run-name", "whole") == 0
    undone(whole, run, 16)
    return run, whole


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        *((name, flip) for name in FILES),
        ("model.safetensors", cut),
        ("files.json", cut),
        ("optimizer.safetensors", Path.unlink),
        ("files.json", Path.unlink),
    ],
)
def test_a_damaged_checkpoint_gives_way_to_the_one_before(go, capsys, trained, name, harm):
    killed, whole = trained
    harm(killed / "checkpoints" / "step-00000016" / name)
    assert go("--resume", "--run-name", "killed") == 0
    message = capsys.readouterr().err
    assert "step-00000016 is damaged" in message and "from step 12" in message
    aside = killed / "checkpoints" / "damaged-step-00000016"
    assert aside.is_dir() and str(aside) in message  # nothing is deleted because it looks wrong
    assert same_weights(whole, killed)
    for split in ("train", "validation"):
        assert comparable(whole, split) == comparable(killed, split)


def test_without_a_whole_checkpoint_it_begins_again(go, tmp_path, capsys):
    run = tmp_path / "runs" / "a"
    assert go(*FLAGS, "--run-name", "a") == 0
    before = load_file(run / "last" / "model.safetensors")
    (run / "results.json").unlink()
    for folder in checkpoint.whole_checkpoints(run / "checkpoints"):
        cut(folder / "optimizer.safetensors")
    assert go("--resume", "--run-name", "a") == 0
    message = capsys.readouterr().err
    assert message.count("is damaged (") == 2 and "no complete checkpoint" in message
    kept = sorted(path.name for path in (run / "checkpoints").iterdir() if path.name.startswith("damaged-"))
    assert kept == ["damaged-step-00000008", "damaged-step-00000016"] and (run / "damaged-best").is_dir()
    after = load_file(run / "last" / "model.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("best_at", [8, None])
def test_the_best_model_goes_back_to_what_the_checkpoint_knows(go, tmp_path, best_at):
    """A kill after a better evaluation and before the checkpoint that would have counted it."""
    run, copy = tmp_path / "runs" / "a", tmp_path / "runs" / "b"
    saves = ("--save-every", 10 if best_at else 7)
    flags = ("--max-steps", 24, "--lr", "1e-3", "--eval-every", 8, *saves)
    assert go(*flags, "--run-name", "a") == 0
    undone(run, copy, 24)
    for folder in checkpoint.whole_checkpoints(copy / "checkpoints")[1:]:
        shutil.rmtree(folder)
    kept = checkpoint.whole_checkpoints(copy / "checkpoints")[-1]
    recorded = json.loads((kept / "state.json").read_text())["best"]
    (copy / "best" / "pairft.json").write_text('{"step": 24}')
    (copy / "best" / "model.safetensors").write_bytes(b"the model of a later step")
    seen = restore.load
    found = {}

    def look(folder, state):
        seen(folder, state)
        found.update(step=state.step, best=state.best)

    restore.load = look
    try:
        assert go("--resume", "--run-name", "b") == 0
    finally:
        restore.load = seen
    assert found == {"step": int(kept.name[5:]), "best": recorded}
    for name in ("pairft.json", "model.safetensors"):
        assert (run / "best" / name).read_bytes() == (copy / "best" / name).read_bytes()


def test_a_checkpoint_that_is_a_pickle_is_refused(go, tmp_path, capsys):
    """Even where its list has been made to fit: nothing in a checkpoint is ever unpickled."""

    class Harm:
        def __reduce__(self):
            return (os.system, (f"touch {tmp_path}/harmed",))

    run = tmp_path / "runs" / "a"
    assert go(*FLAGS, "--run-name", "a") == 0
    for name in ("model.safetensors", "optimizer.safetensors", "random-0.safetensors"):
        (run / "results.json").unlink(missing_ok=True)
        folder = checkpoint.whole_checkpoints(run / "checkpoints")[-1]
        before = (folder / name).read_bytes()
        (folder / name).unlink()
        (folder / name).write_bytes(pickle.dumps(Harm()))
        (folder / "files.json").unlink()
        disk.write_checksums(folder)
        capsys.readouterr()
        assert go("--resume", "--run-name", "a") == 2
        message = capsys.readouterr().err
        assert "can't read the checkpoint" in message and "Traceback" not in message
        assert not (tmp_path / "harmed").exists()
        (folder / name).write_bytes(before)
        (folder / "files.json").unlink()
        disk.write_checksums(folder)


def test_a_model_that_is_a_pickle_with_code_is_refused(go, tiny_model, tmp_path, capsys):
    class Harm:
        def __reduce__(self):
            return (os.system, (f"touch {tmp_path}/harmed",))

    spoilt = Path(shutil.copytree(tiny_model, tmp_path / "spoilt"))
    (spoilt / "model.safetensors").unlink()
    torch.save({"classifier.bias": Harm()}, spoilt / "pytorch_model.bin")
    assert go("--model", spoilt) == 2
    (spoilt / "pytorch_model.bin").write_bytes(pickle.dumps(Harm()))
    assert go("--model", spoilt) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert not (tmp_path / "harmed").exists()


def test_code_that_comes_with_a_model_is_not_run(go, tiny_model, tmp_path, capsys):
    spoilt = Path(shutil.copytree(tiny_model, tmp_path / "spoilt"))
    (spoilt / "code.py").write_text(f"open({str(tmp_path / 'harmed')!r}, 'w')\nclass Model: pass\nclass Config: pass\n")
    about = json.loads((spoilt / "config.json").read_text())
    about["auto_map"] = {"AutoConfig": "code.Config", "AutoModelForSequenceClassification": "code.Model"}
    about["model_type"] = "never-heard-of"
    (spoilt / "config.json").write_text(json.dumps(about))
    assert go("--model", spoilt) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert not (tmp_path / "harmed").exists()
