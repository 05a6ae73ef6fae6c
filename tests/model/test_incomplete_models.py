"""Models whose files hold not all of the weights, or some of another shape."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import same_weights
from safetensors.torch import load_file, save_file

from pairft import predict
from pairft.model import classifier as model

WORDS = "embeddings.word_embeddings.weight"


def changed(source: Path, folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> Path:
    """A copy of a model folder, its weights changed."""
    shutil.copytree(source, folder)
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


def without_pooler(weights: dict[str, torch.Tensor]) -> None:
    """As a model saved after masked language modelling."""
    for name in [name for name in weights if "pooler" in name]:
        del weights[name]


def test_several_seeds_draw_several_poolers(go, tiny_model, tmp_path):
    """They are no other base model."""
    encoder = changed(tiny_model, tmp_path / "encoder", without_pooler)
    assert go("--model", encoder, "--max-steps", 1, "--seeds", "1,2", "--run-name", "s") == 0
    prints = []
    for folder in (tmp_path / "runs" / "s").glob("seed-*"):
        prints.append(json.loads((folder / "manifest.json").read_text())["model_fingerprint"]["weights"])
    assert len(prints) == 2 and len(set(prints)) == 1
    assert not same_weights(*(tmp_path / "runs" / "s").glob("seed-*"))


def test_a_pooler_is_drawn_with_the_new_head(go, tiny_model, tmp_path, capsys):
    encoder = changed(tiny_model, tmp_path / "encoder", without_pooler)
    assert go("--model", encoder, "--max-steps", 1, "--run-name", "headless") == 0
    headed = changed(tmp_path / "runs" / "headless" / "last", tmp_path / "headed", without_pooler)
    weights = load_file(headed / "model.safetensors")
    weights |= {f"bert.{name}": tensor for name, tensor in load_file(encoder / "model.safetensors").items()}
    save_file(weights, headed / "model.safetensors", {"format": "pt"})
    capsys.readouterr()
    assert go("--model", headed, "--new-head", "--max-steps", 1, "--run-name", "new") == 0
    assert "bert.pooler.dense.bias, bert.pooler.dense.weight, classifier.bias" in capsys.readouterr().err
    assert same_weights(tmp_path / "runs" / "headless", tmp_path / "runs" / "new")


@pytest.mark.parametrize("flags", [(), ("--new-head",)])
def test_an_encoder_that_is_not_whole_is_an_error_with_any_head(go, tiny_model, tmp_path, capsys, flags):
    missing = changed(tiny_model, tmp_path / "missing", lambda weights: weights.pop(WORDS))
    assert go("--model", missing, "--max-steps", 1, *flags) == 2
    assert "its file lacks the encoder's weights (bert.embeddings.word" in capsys.readouterr().err
    cut = changed(tiny_model, tmp_path / "cut", lambda weights: weights.update({WORDS: weights[WORDS][:50].clone()}))
    assert go("--model", cut, "--max-steps", 1, *flags) == 2
    assert f"bert.{WORDS} has the shape [50, 32]" in capsys.readouterr().err


def test_predict_draws_no_head(go, pairs_folder, tmp_path, capsys):
    assert go("--max-steps", 1, "--run-name", "a") == 0
    last = tmp_path / "runs" / "a" / "last"
    config = json.loads((last / "config.json").read_text())
    config |= {"id2label": {"0": "no", "1": "yes", "2": "maybe"}, "label2id": {"no": 0, "yes": 1, "maybe": 2}}
    (last / "config.json").write_text(json.dumps(config))
    capsys.readouterr()
    assert predict.main(["--model", str(last), "--text", "One.", "Two."]) == 2
    assert "classifier.bias has the shape [2], but its config.json asks for [3]" in capsys.readouterr().err


def test_the_fingerprint_is_of_the_weights_that_are_not_new(tiny_model):
    torch.manual_seed(1)
    one, _, new = model.load_model(str(tiny_model), ("no", "yes"))
    assert new == ["classifier.bias", "classifier.weight"]
    before = model.fingerprint(one, new)
    with torch.no_grad():
        one.classifier.weight += 1
        assert model.fingerprint(one, new) == before
        one.bert.pooler.dense.bias[0] += 1
    assert model.fingerprint(one, new) != before
