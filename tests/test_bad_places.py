"""More of what a user gets wrong, through the real entry point."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import some_pairs, write_rows

from pairft import predict

WHOLE = ("--epochs", "--max-steps", "--batch-size", "--accumulate", "--max-length", "--log-every")
REAL = ("--lr", "--warmup-ratio", "--weight-decay", "--max-grad-norm")


@pytest.fixture
def refused(go, tmp_path, capfd):
    """Run train.py with flags that should be refused; the one message, whose further lines are indented."""

    def run(*flags: Any) -> str:
        capfd.readouterr()
        assert go("--max-steps", 1, *flags) == 2
        out, message = capfd.readouterr()
        first, *more = message.splitlines()
        assert first.startswith("error: ") and all(line.startswith("  ") for line in more), message
        assert "Traceback" not in message and out == ""
        assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").iterdir())
        return message

    return run


@pytest.fixture
def model(tiny_model, tmp_path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(tiny_model, tmp_path / "spoilt-model"))


@pytest.mark.parametrize(
    ("flag", "value", "wanted"),
    [
        *[(flag, value, "at least 1") for flag in WHOLE for value in ("0", "-3")],
        *[(flag, value, "whole number") for flag in WHOLE for value in ("1.5", "1e3", "nan", "inf", "", "ten")],
        *[(flag, value, "should be") for flag in REAL for value in ("-1", "nan", "inf", "-5e-5", "-inf", "", "ten")],
        *[("--seed", value, "should be") for value in ("-1", str(2**32), "1.5", "")],
        *[(flag, "-1", "at least 1") for flag in ("--eval-every", "--save-every")],
    ],
)
def test_sizes(refused, flag, value, wanted):
    message = refused(flag, value)
    shown = {"-1", "-1.0"} if value == "-1" else {"-5e-05"} if value == "-5e-5" else {value}
    assert flag in message and wanted in message
    assert any(f"is {text}" in message or repr(text) in message for text in shown)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has what is asked for in vain")
def test_a_device_that_is_not_there(refused):
    assert "--device cuda" in refused("--device", "cuda")


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="this machine has what is asked for in vain")
def test_another_device_that_is_not_there(refused):
    assert "--device mps" in refused("--device", "mps")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.safetensors", b""),
        ("model.safetensors", b"\xff" * 64),
        ("model.safetensors", b"\x02\x00\x00\x00\x00\x00\x00\x00{}"),
        ("model.safetensors", None),
        ("config.json", b""),
        ("config.json", b"{"),
        ("config.json", b"{}"),
        ("config.json", b"[]"),
        ("config.json", b'{"model_type": "no-such-architecture"}'),
        ("config.json", b'{"model_type": "vit"}'),
        ("config.json", None),
        ("tokenizer.json", b"{"),
        ("tokenizer.json", b""),
    ],
)
def test_a_spoilt_model(refused, model, name, content):
    (model / name).unlink()
    if content is not None:
        (model / name).write_bytes(content)
    assert f"--model {model}" in refused("--model", model)


def test_weights_of_another_size_than_the_config_says(refused, model):
    about = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**about, "intermediate_size": 128}))
    assert f"--model {model}" in refused("--model", model)


@pytest.mark.parametrize("flag", ["--model", "--data"])
@pytest.mark.parametrize("name", ["no/such/thing", "./nowhere", "~unknown/x", "a b/c", "no/such", "nowhere", ".."])
def test_places_that_do_not_exist(refused, flag, name):
    message = refused(flag, name)
    assert f"{flag} {name}" in message


@pytest.mark.parametrize("column", ["sentence1", "sentence2", "label"])
@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_missing_column(refused, pairs_folder, tmp_path, split, column):
    folder = Path(shutil.copytree(pairs_folder, tmp_path / "data"))
    rows = [{name: value for name, value in row.items() if name != column} for row in some_pairs(split, 9)]
    write_rows(folder / f"{split}.jsonl", rows)
    message = refused("--data", folder)
    assert f"{split}.jsonl" in message and repr(column) in message


def test_runs_dir_is_a_file(go, tmp_path, capfd):
    (tmp_path / "file").write_text("")
    for runs in (tmp_path / "file", tmp_path / "file" / "a" / "b"):
        assert go("--max-steps", 1, "--runs-dir", runs) == 2
        message = capfd.readouterr().err
        assert message.startswith("error: ") and str(runs) in message
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("name", ["../runs/a", "a/../a", "./a", ""])
def test_resume_with_a_path_for_a_name(go, tmp_path, capfd, name):
    assert go("--max-steps", 1, "--run-name", "a") == 0
    before = sorted((tmp_path / "runs").rglob("*"))
    capfd.readouterr()
    assert go("--resume", "--run-name", name) == 2
    assert "error: --run-name" in capfd.readouterr().err
    assert sorted((tmp_path / "runs").rglob("*")) == before


def test_resume_where_every_run_is_finished(go, tmp_path, capfd):
    assert go("--max-steps", 1, "--run-name", "a") == 0
    before = sorted((tmp_path / "runs").rglob("*"))
    capfd.readouterr()
    assert go("--resume") == 2
    assert "no unfinished run" in capfd.readouterr().err
    assert sorted((tmp_path / "runs").rglob("*")) == before


def test_a_path_that_begins_with_a_tilde(go, tmp_path, pairs_folder, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert go("--runs-dir", "~unknown", "--max-steps", 1, "--run-name", "a") == 0
    best = tmp_path / "~unknown" / "a" / "best"
    assert (best.parent / "results.json").exists()
    capsys.readouterr()
    assert predict.main(["--model", str(best), "--data", "~unknown/x.csv"]) == 2
    assert "~unknown/x.csv does not exist" in capsys.readouterr().err
    monkeypatch.setenv("HOME", str(pairs_folder))
    assert predict.main(["--model", str(best), "--data", "~/validation.jsonl", "--output", "~unknown/x.csv"]) == 0
    assert (tmp_path / "~unknown" / "x.csv").exists()
