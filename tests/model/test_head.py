"""A head that a model comes with: used where its classes are the data's, in their order; else refused or made anew."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ARCHITECTURES, SIZES, same_weights, some_pairs, write_rows, write_tiny_model
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from pairft.model import classifier as model

NAMES = ("not_equivalent", "equivalent")
IDS = torch.tensor([[2, 10, 11, 12, 3, 20, 21, 3]])
# Heads whose last layer has another name or another place.
MORE: dict[str, dict[str, Any]] = {
    "xlnet": {"d_model": 32, "n_layer": 1, "n_head": 2, "d_inner": 64},
    "gpt2": {"n_embd": 32, "n_layer": 1, "n_head": 2, "pad_token_id": 0},
    "funnel": {"d_model": 32, "block_sizes": [1, 1], "n_head": 2, "d_head": 16, "d_inner": 64},
    "t5": {
        "d_model": 32,
        "d_kv": 16,
        "d_ff": 64,
        "num_layers": 1,
        "num_heads": 2,
        "eos_token_id": 3,
        "decoder_start_token_id": 0,
    },
}


def with_head(folder: Path, encoder: Path, names: tuple[str, ...], **changes: Any) -> Path:
    """A classifier of these names on an encoder, with a head that tells them apart."""
    torch.manual_seed(1)
    made = AutoModelForSequenceClassification.from_pretrained(
        encoder, num_labels=len(names), id2label=dict(enumerate(names)), label2id=None, **changes
    )
    for parameter in (made.classifier.weight, made.classifier.bias):
        torch.nn.init.normal_(parameter)
    made.save_pretrained(folder)
    AutoTokenizer.from_pretrained(encoder).save_pretrained(folder)
    return folder


def kept_head(before: Path, after: Path) -> bool:
    weights, kept = (load_file(folder / "model.safetensors") for folder in (before, after))
    return torch.allclose(weights["classifier.weight"], kept["classifier.weight"], atol=1e-7)


@pytest.mark.parametrize("architecture", [*ARCHITECTURES, *MORE])
def test_classes_in_another_order_keep_their_weights(architecture, tmp_path):
    settings = MORE[architecture] if architecture in MORE else {**SIZES, **ARCHITECTURES[architecture]}
    settings = {"vocab_size": 50, "pad_token_id": 0, "id2label": {0: "maybe", 1: "no", 2: "yes"}, **settings}
    config = AutoConfig.for_model(architecture, **settings)
    made = AutoModelForSequenceClassification.from_config(config).eval()
    for name, parameter in made.named_parameters():
        if name.startswith(("classifier", "score", "logits", "classification")):  # biases are zeros
            torch.nn.init.normal_(parameter)
    made.save_pretrained(tmp_path)
    found, line, _ = model.load_model(str(tmp_path), ("yes", "maybe", "no"))
    with torch.no_grad():
        assert torch.allclose(found(IDS).logits, made(IDS).logits[:, [2, 0, 1]], atol=1e-5)
    assert found.config.id2label == {0: "yes", 1: "maybe", 2: "no"}
    assert line.startswith("all weights from ") and line.endswith("in the data's order: yes, maybe, no")


@pytest.mark.parametrize("names", [("equivalent", "not_equivalent"), ("Equivalent", "NOT_EQUIVALENT")])
def test_a_trained_head_is_as_good_on_data_that_orders_its_classes_otherwise(names, go, tmp_path, capsys):
    encoder = write_tiny_model(tmp_path / "encoder", initializer_range=0.4)  # whose answers differ
    classifier = with_head(tmp_path / "model", encoder, names)
    loaded = AutoModelForSequenceClassification.from_pretrained(classifier).eval()
    tokenizer = AutoTokenizer.from_pretrained(classifier)
    rows = []  # labelled as the model answers: it is perfect on them
    for row in some_pairs("train", 60):
        with torch.no_grad():
            answer = loaded(**tokenizer(row["sentence1"], row["sentence2"], return_tensors="pt")).logits.argmax()
        rows.append({**row, "label": NAMES.index(loaded.config.id2label[int(answer)].lower())})
    assert len({row["label"] for row in rows[40:]}) == 2
    write_rows(tmp_path / "data" / "train.jsonl", rows[:40])
    write_rows(tmp_path / "data" / "validation.jsonl", rows[40:])
    flags = ("--data", tmp_path / "data", "--model", classifier, "--max-steps", 1, "--lr", "1e-9", "--run-name", "a")
    assert go(*flags) == 0
    results = json.loads((tmp_path / "runs" / "a" / "results.json").read_text())
    assert results["last"]["validation"]["accuracy"] == 1.0
    assert "put in the data's order: not_equivalent, equivalent" in capsys.readouterr().err
    config = json.loads((tmp_path / "runs" / "a" / "best" / "config.json").read_text())
    assert config["id2label"] == {"0": "not_equivalent", "1": "equivalent"}


def test_names_that_say_nothing_fit_by_position(go, tiny_model, tmp_path, capsys):
    classifier = with_head(tmp_path / "model", tiny_model, ("LABEL_0", "LABEL_1"))
    assert go("--model", classifier, "--max-steps", 1, "--lr", "1e-9", "--run-name", "a") == 0
    line = f"all weights from {classifier}; LABEL_0, LABEL_1 of its head are taken as {', '.join(NAMES)}, by position"
    assert line in capsys.readouterr().err.splitlines()
    assert kept_head(classifier, tmp_path / "runs" / "a" / "last")


MISFITS = {
    "names": (("no", "yes"), {}, NAMES, "2 classes (no, yes)"),
    "one name": (("equivalent", "unrelated"), {}, NAMES, "2 classes (equivalent, unrelated)"),
    "number": (("a", "b", "c"), {}, NAMES, "3 classes (a, b, c)"),
    "generic, number": (("LABEL_0", "LABEL_1", "LABEL_2"), {}, NAMES, "3 classes (LABEL_0"),
    "regression": (("score",), {"problem_type": "regression"}, NAMES, "a regression"),
    "regression unsaid": (("LABEL_0",), {}, NAMES, "a regression"),
    "two values": (NAMES, {"problem_type": "regression"}, NAMES, "a regression with 2 outputs"),
    "labels": (
        ("ad", "spam"),
        {"problem_type": "multi_label_classification"},
        NAMES,
        "2 independent labels (ad, spam)",
    ),
    "classes": (NAMES, {}, None, "2 classes (not_equivalent, equivalent)"),
    "one label": (("spam",), {"problem_type": "multi_label_classification"}, None, "one logit (spam)"),
}


@pytest.mark.parametrize("misfit", MISFITS)
def test_a_head_for_something_else_is_refused_unless_a_new_one_is_asked_for(misfit, go, tiny_model, tmp_path, capsys):
    names, changes, wanted, described = MISFITS[misfit]
    classifier = with_head(tmp_path / "model", tiny_model, names, **changes)
    flags = ("--model", classifier, "--max-steps", 2, "--seed", 7)
    if wanted is None:
        for split, number in (("train", 24), ("validation", 8)):
            rows = [{**row, "label": index % 5 / 2} for index, row in enumerate(some_pairs(split, number))]
            write_rows(tmp_path / "data" / f"{split}.jsonl", rows)
        flags += ("--data", tmp_path / "data", "--task", "custom", "--text-columns", "sentence1,sentence2")
    assert go(*flags) == 2
    [message] = capsys.readouterr().err.splitlines()
    assert f"--model {classifier} has a head for {described}" in message and "--new-head" in message
    assert not list((tmp_path / "runs").glob("*"))
    assert go(*flags, "--new-head", "--run-name", "new") == 0
    assert "new weights, not from" in capsys.readouterr().err
    assert go(*flags, "--model", tiny_model, "--run-name", "headless") == 0  # the same encoder, and never a head
    assert same_weights(tmp_path / "runs" / "new", tmp_path / "runs" / "headless")


@pytest.mark.parametrize("architecture", ["roberta", "distilbert", "modernbert"])
def test_a_new_head_is_all_that_follows_the_encoder(architecture, tmp_path):
    encoder = write_tiny_model(tmp_path / "encoder", architecture)
    torch.manual_seed(3)
    headless, line, _ = model.load_model(str(encoder), NAMES)
    state = torch.get_rng_state()
    headless.save_pretrained(tmp_path / "headed")
    torch.manual_seed(3)
    found, same_line, _ = model.load_model(str(tmp_path / "headed"), NAMES, "new")
    assert torch.equal(torch.get_rng_state(), state)
    assert same_line == line.replace(str(encoder), str(tmp_path / "headed"))
    assert all(torch.equal(tensor, found.state_dict()[name]) for name, tensor in headless.state_dict().items())
    with torch.no_grad():
        assert torch.equal(found(IDS).logits, headless(IDS).logits)


def test_the_preset_keeps_a_head_as_trainer_does_and_warns(go, tiny_model, tmp_path, capsys):
    classifier = with_head(tmp_path / "model", tiny_model, ("yes", "no"))
    flags = ("--preset", "trainer", "--max-steps", 1, "--lr", "1e-9")
    assert go("--model", classifier, *flags, "--run-name", "a") == 0
    line = "warning: yes, no of its head are taken as not_equivalent, equivalent, by position as in HF Trainer"
    assert line in capsys.readouterr().err.splitlines()
    assert kept_head(classifier, tmp_path / "runs" / "a" / "last")
    three = with_head(tmp_path / "three", tiny_model, ("a", "b", "c"))
    assert go("--model", three, *flags) == 2
    assert "--new-head" in capsys.readouterr().err
    assert go("--model", tmp_path / "runs" / "a" / "last", *flags) == 0
    assert "by position" not in capsys.readouterr().err


def test_a_resumed_run_keeps_its_new_head_and_one_begun_without_gets_none(go, tiny_model, tmp_path, capsys):
    classifier = with_head(tmp_path / "model", tiny_model, ("no", "yes"))
    flags = ("--model", classifier, "--new-head", "--max-steps", 4, "--save-every", 2)
    assert go(*flags, "--run-name", "a") == 0
    runs = tmp_path / "runs"
    undone = shutil.ignore_patterns("results.json", "best", "last", "step-00000004")
    shutil.copytree(runs / "a", runs / "stopped", ignore=undone)
    assert go("--model", classifier, "--resume", "--run-name", "stopped") == 0
    assert same_weights(runs / "a", runs / "stopped")
    assert go("--max-steps", 2, "--run-name", "b") == 0
    (runs / "b" / "results.json").unlink()
    capsys.readouterr()
    assert go("--resume", "--run-name", "b", "--new-head") == 2
    assert "--new-head is True" in capsys.readouterr().err


def test_a_multi_label_head_is_kept_for_multi_label_data_by_its_names(go, tiny_model, tmp_path, capsys):
    several = {"problem_type": "multi_label_classification"}
    for split, number in (("train", 24), ("validation", 8)):
        rows = [
            {**row, "label": [["spam"], ["ad", "spam"], []][index % 3]}
            for index, row in enumerate(some_pairs(split, number))
        ]
        write_rows(tmp_path / "data" / f"{split}.jsonl", rows)
    flags = ("--data", tmp_path / "data", "--task", "custom", "--text-columns", "sentence1", "--max-steps", 1)
    kept = with_head(tmp_path / "kept", tiny_model, ("spam", "ad"), **several)
    assert go(*flags, "--model", kept, "--lr", "1e-9", "--run-name", "a") == 0
    assert "its head's classes put in the data's order: ad, spam" in capsys.readouterr().err
    config = json.loads((tmp_path / "runs" / "a" / "last" / "config.json").read_text())
    assert config["problem_type"] == "multi_label_classification"
    other = with_head(tmp_path / "other", tiny_model, ("spam", "rude"), **several)
    assert go(*flags, "--model", other) == 2
    message = capsys.readouterr().err
    assert "2 independent labels (spam, rude), but the data has 2 independent labels (ad, spam)" in message
