"""The losses and metrics of each kind of label against torch, transformers and scikit-learn, and with real runs."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from conftest import FLAGS, comparable, read_lines, same_weights, some_pairs, undone, write_rows
from sklearn.metrics import accuracy_score, f1_score
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional as F
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertConfig
from transformers.loss.loss_utils import ForSequenceClassificationLoss

from pairft import predict
from pairft.training.evaluation import EvalOutput, compute_metrics
from pairft.training.metrics import compute
from pairft.training.step import loss_of, losses_of_example

TASK = ("--task", "custom", "--text-columns", "sentence1,sentence2")
NAMES = ("ad", "rude", "spam")


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs with a set of labels each, which their words decide."""
    folder = tmp_path_factory.mktemp("multi")
    for split, number in (("train", 57), ("validation", 23)):
        write_rows(folder / f"{split}.jsonl", [with_labels(row) for row in some_pairs(split, number)])
    return folder


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs of which one in four is of class 1."""
    folder = tmp_path_factory.mktemp("uneven")
    for split, number in (("train", 60), ("validation", 20)):
        rows = [{**row, "label": int(index % 4 == 0)} for index, row in enumerate(some_pairs(split, number))]
        write_rows(folder / f"{split}.jsonl", rows)
    return folder


def with_labels(row: dict[str, Any]) -> dict[str, Any]:
    length = len(row["sentence1"])
    held = (length % 2 == 0, length % 3 == 0, bool(row["label"]))
    return {**row, "label": [name for name, yes in zip(NAMES, held, strict=True) if yes]}


@pytest.mark.parametrize("classes", [1, 3, 4])
def test_the_multi_label_loss_is_that_of_transformers(classes):
    logits, labels = torch.randn(7, classes), torch.randint(0, 2, (7, classes)).float()
    config = BertConfig(num_labels=classes, problem_type="multi_label_classification")
    wanted = ForSequenceClassificationLoss(labels, logits, config)
    assert loss_of(logits, labels, "mean").item() == wanted.item()
    assert loss_of(logits, labels, "none").mean().item() == pytest.approx(wanted.item(), rel=1e-6)
    total = loss_of(logits, labels, "sum")
    assert losses_of_example(labels) == classes
    assert (total / (7 * losses_of_example(labels))).item() == wanted.item()
    assert losses_of_example(torch.zeros(7)) == losses_of_example(torch.zeros(7, dtype=torch.int64)) == 1


def test_weights_and_smoothing_are_those_of_torch():
    logits, labels, weights = torch.randn(9, 3), torch.randint(0, 3, (9,)), torch.tensor([0.5, 2.0, 1.25])
    each = F.cross_entropy(logits, labels, reduction="none")
    assert loss_of(logits, labels, "sum", weights).item() == pytest.approx((weights[labels] * each).sum().item())
    wanted = F.cross_entropy(logits, labels, weights, reduction="sum", label_smoothing=0.1)
    assert loss_of(logits, labels, "sum", weights, 0.1).item() == wanted.item()
    assert torch.equal(loss_of(logits, labels, "none"), each)


@pytest.mark.parametrize("classes", [1, 2, 6])
def test_multi_label_metrics_equal_scikit_learn(classes):
    rng = numpy.random.default_rng(2)
    logits, labels = rng.normal(size=(41, classes)), rng.integers(0, 2, size=(41, classes)).astype(numpy.float32)
    if classes == 6:
        labels[:, 0], logits[:, 0] = 0, -1  # a label that neither occurs nor is predicted counts as 0
    found = compute_metrics(EvalOutput(logits, numpy.zeros(41), labels), ("accuracy", "f1", "f1_micro"))
    true, predicted = labels.astype(int), (logits > 0).astype(int)
    macro = numpy.mean([f1_score(t, p, zero_division=0) for t, p in zip(true.T, predicted.T, strict=True)])
    wanted = {
        "accuracy": accuracy_score(true, predicted),
        "f1": macro,
        "f1_micro": f1_score(true.ravel(), predicted.ravel()),
    }
    if classes > 1:
        for average, name in (("macro", "f1"), ("micro", "f1_micro")):
            assert wanted[name] == pytest.approx(f1_score(true, predicted, average=average, zero_division=0), abs=1e-12)
    assert {name: found[name] for name in wanted} == pytest.approx(wanted, abs=1e-12)
    assert compute(("accuracy",), true, true) == {"accuracy": 1.0}


def test_a_multi_label_run_saves_what_predict_scores(labelled, wild_model, go, tmp_path, capsys):
    assert go("--data", labelled, "--model", wild_model, *TASK, "--epochs", 2, "--run-name", "a") == 0
    run = tmp_path / "runs" / "a"
    assert "f1 macro" in capsys.readouterr().out.splitlines()
    config = json.loads((run / "last" / "config.json").read_text())
    assert config["problem_type"] == "multi_label_classification" and list(config["id2label"].values()) == list(NAMES)
    output = tmp_path / "answers.jsonl"
    given = ["--device", "cpu", "--model", run / "last", "--data", labelled / "validation.jsonl", "--output", output]
    assert predict.main([str(part) for part in given]) == 0
    answers = [json.loads(line) for line in output.read_text().splitlines()]
    rows = [json.loads(line)["label"] for line in (labelled / "validation.jsonl").read_text().splitlines()]
    true = numpy.array([[name in row for name in NAMES] for row in rows], int)
    predicted = numpy.array([[answer[f"probability_{name}"] > 0.5 for name in NAMES] for answer in answers], int)
    assert [answer["label"] for answer in answers] == [
        ", ".join(name for name, yes in zip(NAMES, row, strict=True) if yes) for row in predicted
    ]
    scores = json.loads((run / "results.json").read_text())["last"]["validation"]
    assert scores["accuracy"] == pytest.approx(accuracy_score(true, predicted), abs=1e-12)
    assert scores["f1"] == pytest.approx(f1_score(true, predicted, average="macro", zero_division=0), abs=1e-12)
    assert scores["f1_micro"] == pytest.approx(f1_score(true, predicted, average="micro"), abs=1e-12)
    line = f"accuracy {scores['accuracy']:.4f}  f1 {scores['f1']:.4f}  f1_micro {scores['f1_micro']:.4f}  (23 rows)"
    assert line in capsys.readouterr().out
    assert "any of ad, rude, spam (multi-label)" in (run / "last" / "README.md").read_text()


SETTINGS = {
    "multi-label": TASK,
    "weights": ("--class-weights", "balanced", "--label-smoothing", 0.1),
}


@pytest.mark.parametrize("kind", SETTINGS)
def test_a_resumed_run_ends_the_same(kind, labelled, uneven, go, tmp_path):
    data = ("--data", labelled if kind == "multi-label" else uneven)
    assert go(*FLAGS, *SETTINGS[kind], *data, "--run-name", "whole") == 0
    runs = tmp_path / "runs"
    undone(runs / "whole", runs / "stopped", 8)
    assert go("--resume", "--run-name", "stopped", *data) == 0
    assert same_weights(runs / "whole", runs / "stopped")
    for split in ("train", "validation"):
        assert comparable(runs / "whole", split) == comparable(runs / "stopped", split)


def without_dropout(encoder: Path, copy: Path) -> Path:
    shutil.copytree(encoder, copy)
    config = json.loads((copy / "config.json").read_text())
    zeros = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (copy / "config.json").write_text(json.dumps({**config, **zeros}))
    return copy


@pytest.mark.parametrize("kind", SETTINGS)
@pytest.mark.parametrize("unpad", ["never", "always"])
def test_the_first_loss_does_not_depend_on_the_micro_batches(kind, unpad, labelled, uneven, go, tmp_path, tiny_model):
    """12 examples at once or in 4 micro-batches, with padding or packed, without dropout: one loss and one gradient."""
    still = without_dropout(tiny_model, tmp_path / "still")
    flags = (*SETTINGS[kind], "--data", labelled if kind == "multi-label" else uneven, "--model", still)
    flags = (*flags, "--max-steps", 1, "--log-every", 1, "--unpad", unpad)
    found = []
    for size, accumulate in ((12, 1), (3, 4)):
        assert go(*flags, "--batch-size", size, "--accumulate", accumulate, "--run-name", f"of-{size}") == 0
        [line] = read_lines(tmp_path / "runs" / f"of-{size}", "train")
        found.append((line["loss"], line["grad_norm"]))
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_the_weighted_loss_of_a_run_is_divided_by_the_number_of_examples(uneven, wild_model, go, tmp_path):
    """All examples in one step, without dropout, at weights that have not changed yet."""
    flags = ("--data", uneven, "--batch-size", 60, "--max-steps", 1, "--log-every", 1, "--lr", "1e-12")
    still = without_dropout(wild_model, tmp_path / "still")
    assert go(*flags, "--model", still, "--class-weights", "balanced", "--run-name", "a") == 0
    [line] = read_lines(tmp_path / "runs" / "a", "train")
    rows = [json.loads(row) for row in (uneven / "train.jsonl").read_text().splitlines()]
    labels = numpy.array([row["label"] for row in rows])
    weights = compute_class_weight("balanced", classes=numpy.array([0, 1]), y=labels)[labels]
    assert weights.mean() == pytest.approx(1.0)
    folder = tmp_path / "runs" / "a" / "last"
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    texts = ([row["sentence1"] for row in rows], [row["sentence2"] for row in rows])
    with torch.no_grad():
        logits = model.eval()(**tokenizer(*texts, padding=True, return_tensors="pt")).logits
    each = F.cross_entropy(logits, torch.from_numpy(labels), reduction="none").numpy()
    assert line["loss"] == pytest.approx((weights * each).mean(), rel=1e-5)
    assert line["loss"] != pytest.approx(each.mean(), rel=1e-3)
    [scores] = read_lines(tmp_path / "runs" / "a", "validation")
    assert go(*flags, "--model", still, "--run-name", "plain") == 0
    [plain] = read_lines(tmp_path / "runs" / "plain", "validation")
    assert scores["loss"] == pytest.approx(plain["loss"], rel=1e-6)  # an evaluation is unweighted
