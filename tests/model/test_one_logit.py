"""--one-logit: the loss, the scores, what others compute with the saved model, and predict."""

import json

import numpy
import pytest
import torch
from conftest import FLAGS, comparable, read_lines, same_weights, some_pairs, undone, write_rows, write_tiny_model
from safetensors.torch import load_file
from sklearn.metrics import accuracy_score, f1_score
from torch.nn import functional as F
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from pairft import predict

ONE = ("--one-logit", "--lr", "1e-3")


def logits_of(folder, rows):
    """The one logit of each row by transformers, float64 [rows]."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        pairs = [tokenizer(row["sentence1"], row["sentence2"], return_tensors="pt") for row in rows]
        logits = torch.cat([model(**pair).logits for pair in pairs])
    assert logits.shape == (len(rows), 1)
    return logits[:, 0].double()


def answers_of(folder, rows, tmp_path, capsys):
    """The answers of predict's main, and the line of scores."""
    write_rows(tmp_path / "new.jsonl", rows)
    command = ["--model", folder, "--data", tmp_path / "new.jsonl", "--output", tmp_path / "answers.jsonl"]
    capsys.readouterr()
    assert predict.main([str(word) for word in (*command, "--device", "cpu")]) == 0
    lines = (tmp_path / "answers.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines], capsys.readouterr().out


def test_one_logit_arrives(made, wild_model, tmp_path, capsys):
    run = made("--model", wild_model, *ONE, "--max-steps", 6)
    rows = some_pairs("validation", 20)
    logits, labels = logits_of(run / "last", rows), torch.tensor([row["label"] for row in rows]).double()
    scores = json.loads((run / "results.json").read_text())["last"]["validation"]
    assert scores["loss"] == pytest.approx(F.binary_cross_entropy_with_logits(logits, labels).item(), rel=1e-5)
    predicted = (logits > 0).long().numpy()
    assert 0 < predicted.sum() < 20
    assert scores["accuracy"] == accuracy_score(labels.numpy(), predicted)
    assert scores["f1"] == f1_score(labels.numpy(), predicted)
    answers, line = answers_of(run / "last", rows, tmp_path, capsys)
    assert [a["probability_equivalent"] for a in answers] == pytest.approx(logits.sigmoid().tolist(), abs=1e-5)
    assert [a["probability_not_equivalent"] for a in answers] == pytest.approx((-logits).sigmoid().tolist(), abs=1e-5)
    assert [a["label"] for a in answers] == [("not_equivalent", "equivalent")[number] for number in predicted]
    assert f"accuracy {scores['accuracy']:.4f}  f1 {scores['f1']:.4f}" in line


def test_the_first_step_is_that_of_bce(made, plain_model):
    """Loss and gradient norm of torch's binary_cross_entropy_with_logits, from the same weights: those of the head are
    read from a checkpoint of a step whose learning rate is 0."""
    run = made(
        "--model", plain_model, *ONE, "--max-steps", 1, "--log-every", 1, "--warmup-ratio", 1, "--batch-size", 60
    )
    rows = some_pairs("train", 60)
    tokenizer = AutoTokenizer.from_pretrained(run / "last")
    model = AutoModelForSequenceClassification.from_pretrained(run / "last")
    inputs = tokenizer(
        [r["sentence1"] for r in rows], [r["sentence2"] for r in rows], padding=True, return_tensors="pt"
    )
    labels = torch.tensor([row["label"] for row in rows]).float()
    loss = F.binary_cross_entropy_with_logits(model(**inputs).logits[:, 0], labels)
    loss.backward()
    norm = torch.linalg.vector_norm(torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]))
    [line] = read_lines(run, "train")
    assert line["loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert line["grad_norm"] == pytest.approx(norm.item(), rel=1e-4)


def test_the_score_is_that_of_the_positive_class(go, tmp_path, capsys, wild_model):
    """Even if that is the first one; --positive-class says otherwise."""
    rows = [{**row, "label": "duplicate" if row["label"] else "not_duplicate"} for row in some_pairs("train", 48)]
    write_rows(tmp_path / "data" / "train.jsonl", rows[:32])
    write_rows(tmp_path / "data" / "validation.jsonl", rows[32:])
    for positive, flags in (("duplicate", ()), ("not_duplicate", ("--positive-class", "not_duplicate"))):
        data = (
            "--model",
            wild_model,
            "--data",
            tmp_path / "data",
            "--task",
            "custom",
            "--text-columns",
            "sentence1,sentence2",
        )
        assert go(*data, *ONE, *flags, "--max-steps", 4, "--run-name", positive) == 0
        folder = tmp_path / "runs" / positive / "last"
        model = AutoModelForSequenceClassification.from_pretrained(folder)
        assert model.config.id2label == {0: positive} and model.config.num_labels == 1
        answers, line = answers_of(folder, rows[32:], tmp_path, capsys)
        logits = logits_of(folder, rows[32:])
        assert [a[f"probability_{positive}"] for a in answers] == pytest.approx(logits.sigmoid().tolist(), abs=1e-5)
        scores = json.loads((tmp_path / "runs" / positive / "results.json").read_text())["last"]["validation"]
        labels = torch.tensor([row["label"] == positive for row in rows[32:]]).double()
        assert scores["loss"] == pytest.approx(F.binary_cross_entropy_with_logits(logits, labels).item(), rel=1e-5)
        assert f"accuracy {scores['accuracy']:.4f}" in line


def test_other_tools_give_the_same_scores(made, wild_model, tmp_path, capsys):
    folder = made("--model", wild_model, *ONE, "--max-steps", 3) / "best"
    rows = some_pairs("test", 5)
    answers, _ = answers_of(folder, rows, tmp_path, capsys)
    wanted = [answer["probability_equivalent"] for answer in answers]
    pipe = pipeline("text-classification", str(folder))
    found = [pipe({"text": row["sentence1"], "text_pair": row["sentence2"]}) for row in rows]
    assert [answer["score"] for answer in found] == pytest.approx(wanted, abs=1e-5)
    (folder / "pairft.json").unlink()  # a folder from elsewhere: one label, with its probability
    command = ["--model", folder, "--text", *list(rows[0].values())[:2]]
    assert predict.main([str(word) for word in command]) == 0
    assert json.loads(capsys.readouterr().out)["probability_equivalent"] == pytest.approx(wanted[0], abs=1e-5)


def test_cross_encoder_gives_the_same_scores(made, wild_model, tmp_path, capsys):
    sentence_transformers = pytest.importorskip("sentence_transformers")
    folder = made("--model", wild_model, *ONE, "--max-steps", 3) / "best"
    rows = some_pairs("test", 5)
    answers, _ = answers_of(folder, rows, tmp_path, capsys)
    encoder = sentence_transformers.CrossEncoder(str(folder), device="cpu")
    scores = encoder.predict([(row["sentence1"], row["sentence2"]) for row in rows])
    numpy.testing.assert_allclose(scores, [answer["probability_equivalent"] for answer in answers], atol=1e-5)


def test_the_head_of_a_cross_encoder_is_kept(made, go, wild_model, tmp_path, capsys):
    torch.manual_seed(5)
    ranker = AutoModelForSequenceClassification.from_pretrained(wild_model, num_labels=1)
    ranker.save_pretrained(tmp_path / "ranker")
    AutoTokenizer.from_pretrained(wild_model).save_pretrained(tmp_path / "ranker")
    run = made("--model", tmp_path / "ranker", *ONE, "--max-steps", 1, "--warmup-ratio", 1)  # at a learning rate of 0
    assert "LABEL_0 of its head are taken as equivalent, by position" in capsys.readouterr().err
    after = load_file(run / "last" / "model.safetensors")
    assert torch.equal(after["classifier.weight"], ranker.classifier.weight.detach())
    assert go("--model", tmp_path / "ranker", "--max-steps", 1) == 2  # two logits
    assert "add --new-head" in capsys.readouterr().err
    assert go("--model", run / "best", *ONE, "--max-steps", 1) == 0  # its own head
    assert "all weights from" in capsys.readouterr().err


def test_heads_of_other_sizes_are_named(made, go, tiny_model, capsys):
    one, two = made(*ONE, "--max-steps", 1, name="one"), made("--max-steps", 1, name="two")
    for model, flags, what in (
        (two, ("--one-logit",), "2 classes (not_equivalent, equivalent), but the data needs one logit (equivalent):"),
        (one, (), "one logit (equivalent), but the data has 2 classes (not_equivalent, equivalent):"),
    ):
        capsys.readouterr()
        assert go("--model", model / "last", "--max-steps", 1, *flags) == 2
        assert f"has a head for {what}" in capsys.readouterr().err


def test_resume_is_exact_and_a_change_is_refused(go, tmp_path, capsys):
    whole, killed = tmp_path / "runs" / "whole", tmp_path / "runs" / "killed"
    assert go(*FLAGS, "--one-logit", "--class-weights", "balanced", "--save-every", 11, "--run-name", "whole") == 0
    undone(whole, killed, 11)
    assert go("--resume", "--run-name", "killed", "--no-one-logit") == 2
    assert "--one-logit is False" in capsys.readouterr().err
    torch.manual_seed(99)
    assert go("--resume", "--run-name", "killed") == 0
    assert same_weights(whole, killed)
    for split in ("train", "validation"):
        assert comparable(whole, split) == comparable(killed, split)


@pytest.mark.parametrize("kind", ["roberta", "modernbert", "deberta-v2"])
def test_other_encoders(go, tmp_path, kind):
    encoder = write_tiny_model(tmp_path / "encoder", kind, initializer_range=0.2)
    assert go("--model", encoder, *ONE, "--max-steps", 2, "--run-name", "a") == 0
    assert logits_of(tmp_path / "runs" / "a" / "last", some_pairs("test", 3)).isfinite().all()


def test_data_without_two_classes_is_refused(go, tmp_path, capsys):
    for name, labels, what in (
        ("three", ["a", "b", "c", "a"], "has 3 classes: leave it out"),
        ("value", ["0.5", "1.25", "0.75", "2.5"], "is a regression: leave it out"),
        ("several", [["a"], ["b"], ["a", "b"], []], "is multi-label: leave it out"),
    ):
        rows = [{**row, "label": label} for row, label in zip(some_pairs("train", 8), labels * 2, strict=True)]
        for split in ("train", "validation"):
            write_rows(tmp_path / name / f"{split}.jsonl", rows)
        data = ("--data", tmp_path / name, "--task", "custom", "--text-columns", "sentence1,sentence2")
        assert go(*data, *ONE) == 2
        assert f"--one-logit is for two classes, but the data {what}" in capsys.readouterr().err
    assert go(*ONE, "--preset", "trainer") == 2
    assert "exclude each other" in capsys.readouterr().err
