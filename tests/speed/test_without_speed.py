"""pairft/speed is optional: a copy without that folder trains to the same weights, and predicts."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, comparable, same_weights, write_tiny_model
from safetensors.torch import load_file

from pairft import predict

# What `python train.py` and `python -m pairft.predict` do in the current folder; but an editable install of another
# checkout must not lend its pairft.speed.
RUN = """
import runpy, sys
sys.meta_path[:] = [finder for finder in sys.meta_path if getattr(finder, "__name__", "") != "_EditableFinder"]
del sys.argv[0]
if sys.argv[0].endswith(".py"):
    runpy.run_path(sys.argv[0], run_name="__main__")
else:
    runpy.run_module(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def without_speed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with train.py and pairft/, but without pairft/speed."""
    folder = tmp_path_factory.mktemp("without-speed")
    shutil.copy(ROOT / "train.py", folder)
    shutil.copytree(ROOT / "pairft", folder / "pairft", ignore=shutil.ignore_patterns("speed", "__pycache__"))
    return folder


@pytest.fixture
def run(without_speed, tiny_model, pairs_folder, tmp_path):
    """Run a script or module there, as a process; "train.py" on the tiny model and pairs. What it printed."""

    def in_folder(program: str, *flags: object, code: int = 0) -> subprocess.CompletedProcess:
        defaults = ("--model", tiny_model, "--data", pairs_folder, "--device", "cpu", "--runs-dir", tmp_path / "runs")
        command = [sys.executable, "-c", RUN, program, *(defaults if program == "train.py" else ()), *flags]
        result = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=without_speed, check=False)
        assert result.returncode == code, result.stderr
        return result

    return in_folder


def test_the_trainer_preset_gives_the_same_numbers(run, go, tmp_path):
    flags = ("--preset", "trainer", "--epochs", 2, "--lr", "1e-3", "--log-every", 1)
    run("train.py", *flags, "--run-name", "without")
    assert go(*flags, "--run-name", "with") == 0
    one, other = (tmp_path / "runs" / name for name in ("without", "with"))
    assert same_weights(one, other)
    for split in ("train", "validation"):
        assert comparable(one, split) == comparable(other, split) != []


@pytest.mark.slow
def test_the_defaults_give_the_same_weights_but_for_rounding(run, go, tmp_path, capsys):
    """Without dropout, for the masks are drawn in another order. The largest difference was 3e-8, in the embedding."""
    rates = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    model = write_tiny_model(tmp_path / "model", "bert", **rates)
    flags = ("--model", model, "--epochs", 2)
    assert "with padding" in run("train.py", *flags, "--run-name", "without").stderr
    assert go(*flags, "--run-name", "with") == 0
    assert "padding-free" in capsys.readouterr().err
    one, other = (load_file(tmp_path / "runs" / name / "last" / "model.safetensors") for name in ("without", "with"))
    assert one.keys() == other.keys()
    assert max((other[name] - tensor).abs().max().item() for name, tensor in one.items()) < 1e-6
    before = load_file(model / "model.safetensors")
    moved = [(one[f"bert.{name}"] - matrix).abs().max().item() for name, matrix in before.items() if matrix.ndim == 2]
    assert min(moved) > 1e-5


@pytest.mark.slow
def test_predict_works(run, go, pairs_folder, tmp_path, capsys):
    assert go("--max-steps", 2, "--run-name", "a") == 0
    flags = ["--model", tmp_path / "runs" / "a" / "last", "--data", pairs_folder / "validation.jsonl", "--output"]
    capsys.readouterr()
    assert predict.main([*map(str, flags), str(tmp_path / "with.jsonl")]) == 0
    assert run("pairft.predict", *flags, tmp_path / "without.jsonl").stdout == capsys.readouterr().out != ""
    one, other = (
        [json.loads(line) for line in (tmp_path / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]
        for name in ("without", "with")
    )
    assert len(one) == len(other) == 20
    for answer, wanted in zip(one, other, strict=True):
        assert answer.pop("label") == wanted.pop("label")
        assert answer == pytest.approx(wanted, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("flag", ["--unpad", "--capture"])
def test_a_fast_path_that_is_asked_for_and_missing_is_an_error(run, tmp_path, flag):
    said = run("train.py", flag, "always", "--max-steps", 1, code=2).stderr
    assert f"{flag} always: the folder pairft/speed is missing" in said
    assert not list((tmp_path / "runs").iterdir())
