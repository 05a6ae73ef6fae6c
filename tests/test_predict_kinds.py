"""pairft.predict on models of each kind of a problem, and on labels that can be scored against only in part."""

import json
import re
from pathlib import Path
from typing import Any

import datasets
import numpy
import pytest
import torch
from conftest import some_pairs, write_rows, write_tiny_model
from scipy.special import expit
from sklearn.metrics import accuracy_score, f1_score
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from pairft import predict

COLUMNS = ("--text-columns", "sentence1,sentence2")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> Path:
    """Weights so large that no two pairs get the same answer."""
    return write_tiny_model(tmp_path_factory.mktemp("models") / "wild-bert", initializer_range=0.4)


def classifier(encoder: Path, folder: Path, names: tuple[str, ...], problem_type: str | None) -> Path:
    """A model from elsewhere: without what train.py notes beside its own."""
    torch.manual_seed(1)
    made = AutoModelForSequenceClassification.from_pretrained(
        encoder, num_labels=len(names), id2label=dict(enumerate(names)), problem_type=problem_type
    )
    made.save_pretrained(folder)
    AutoTokenizer.from_pretrained(encoder).save_pretrained(folder)
    return folder


def logits_of(model: Path, rows: list[dict[str, Any]]) -> numpy.ndarray:
    tokenizer = AutoTokenizer.from_pretrained(model)
    loaded = AutoModelForSequenceClassification.from_pretrained(model).eval()
    with torch.no_grad():
        pairs = [tokenizer(row["sentence1"], row["sentence2"], return_tensors="pt") for row in rows]
        return torch.cat([loaded(**pair).logits for pair in pairs]).double().numpy()


def run(model: Path, rows: list[dict[str, Any]], folder: Path, *flags: str) -> tuple[int, list[dict[str, Any]]]:
    write_rows(folder / "pairs.jsonl", rows)
    given = ["--model", model, "--data", folder / "pairs.jsonl", "--output", folder / "answers.jsonl", *flags]
    code = predict.main(["--device", "cpu", *map(str, given)])
    lines = (folder / "answers.jsonl").read_text().splitlines() if code == 0 else []
    return code, [json.loads(line) for line in lines]


def test_several_labels_a_row_have_a_probability_each(encoder, tmp_path, capsys):
    names, rows = ("ad", "spam", "toxic"), some_pairs("validation", 30)
    model = classifier(encoder, tmp_path / "model", names, "multi_label_classification")
    code, answers = run(model, rows, tmp_path, *COLUMNS)
    assert code == 0
    wanted = expit(logits_of(model, rows))
    found = numpy.array([[answer[f"probability_{name}"] for name in names] for answer in answers])
    assert numpy.allclose(found, wanted, atol=1e-5)
    assert [answer["label"] for answer in answers] == [
        ", ".join(name for name, value in zip(names, row, strict=True) if value > 0.5) for row in wanted
    ]
    assert len({answer["label"] for answer in answers}) > 2  # some rows have several, or none
    printed = capsys.readouterr()
    [line] = [line for line in printed.err.splitlines() if line.startswith("not scored")]
    assert "row 1 has the label '" in line and "a list of some of these, each at most once: ad, spam, toxic" in line
    assert printed.out == ""
    data = ("--data", str(tmp_path / "pairs.jsonl"))
    assert predict.main(["--device", "cpu", "--model", str(model), *data, *COLUMNS]) == 2
    assert "each at most once: ad, spam, toxic" in capsys.readouterr().err


@pytest.mark.parametrize("problem_type", ["regression", None])
def test_one_output_is_a_score(problem_type, encoder, tmp_path):
    rows = some_pairs("validation", 12)
    model = classifier(encoder, tmp_path / "model", ("LABEL_0",), problem_type)
    code, answers = run(model, rows, tmp_path, *COLUMNS)
    assert code == 0
    assert numpy.allclose([answer["score"] for answer in answers], logits_of(model, rows)[:, 0], atol=1e-5)


def test_a_regression_with_several_outputs_has_several_scores(encoder, tmp_path, capsys):
    names, rows = ("clarity", "tone"), some_pairs("validation", 12)
    model = classifier(encoder, tmp_path / "model", names, "regression")
    code, answers = run(model, rows, tmp_path, *COLUMNS)
    assert code == 0
    assert [list(answer)[-2:] for answer in answers] == [["score_clarity", "score_tone"]] * 12
    assert numpy.allclose([list(answer.values())[-2:] for answer in answers], logits_of(model, rows), atol=1e-5)
    assert "not scored: the model gives a regression with 2 outputs" in capsys.readouterr().err


def test_minus_one_is_a_value_in_a_regression_and_only_what_is_absent_is_left_out(encoder, tmp_path, capsys):
    values = [-1, 0.5, "", 2.25, -1.0, None, 1.5, "-1", 0.25, -100]
    rows = [{**row, "label": value} for row, value in zip(some_pairs("validation", 10), values, strict=True)]
    model = classifier(encoder, tmp_path / "model", ("score",), "regression")
    code, answers = run(model, rows, tmp_path, *COLUMNS)
    assert code == 0
    scored = [(float(v), answer["score"]) for v, answer in zip(values, answers, strict=True) if v not in ("", None)]
    labels, found = numpy.array(scored).T
    printed = capsys.readouterr().out
    shown = {name: float(value) for name, value in re.findall(r"(\w+) (-?\d+\.\d{4})", printed)}
    assert shown["loss"] == pytest.approx(((labels - found) ** 2).mean(), rel=1e-6)
    assert shown["pearson"] == pytest.approx(numpy.corrcoef(labels, found)[0, 1], abs=1e-4)
    assert "(8 rows), 2 without a label left out" in printed


def test_minus_one_alone_is_no_label(encoder, tmp_path, capsys):
    rows = [{**row, "label": -1} for row in some_pairs("validation", 5)]
    model = classifier(encoder, tmp_path / "model", ("score",), "regression")
    assert run(model, rows, tmp_path, *COLUMNS)[0] == 0
    printed = capsys.readouterr()
    assert printed.out == "" and "the column 'label' holds no known label, so nothing is scored" in printed.err


@pytest.mark.parametrize("label", ["?", "-", "unknown"])
def test_labels_that_stand_for_none_are_not_scored_and_the_rows_answered(label, encoder, tmp_path, capsys):
    model = classifier(encoder, tmp_path / "model", ("no", "yes"), None)
    rows = [{**row, "label": label} for row in some_pairs("validation", 6)]
    code, answers = run(model, rows, tmp_path, *COLUMNS)
    assert code == 0
    wanted = [("no", "yes")[index] for index in logits_of(model, rows).argmax(axis=1)]
    assert [answer["label"] for answer in answers] == wanted
    printed = capsys.readouterr()
    assert printed.out == ""
    [line] = [line for line in printed.err.splitlines() if "scored" in line]
    assert "pairs.jsonl" in line and "'label'" in line


def test_a_label_that_is_no_class_among_others_is_named_and_nothing_scored(encoder, tmp_path, capsys):
    model = classifier(encoder, tmp_path / "model", ("no", "yes"), None)
    rows = [{**row, "label": "perhaps" if index == 3 else "yes"} for index, row in enumerate(some_pairs("test", 6))]
    code, answers = run(model, rows, tmp_path, *COLUMNS)
    assert code == 0 and len(answers) == 6
    printed = capsys.readouterr()
    assert printed.out == "" and "row 4" in printed.err and "'perhaps'" in printed.err


@pytest.mark.parametrize("suffix", ["parquet", "csv"])  # a csv holds the ids, as `datasets` writes them
def test_the_file_of_class_ids_that_training_took_is_scored(suffix, encoder, go, tmp_path, capsys):
    features = datasets.Features(
        a=datasets.Value("string"), b=datasets.Value("string"), y=datasets.ClassLabel(names=["same", "different"])
    )
    for split, number in (("train", 40), ("validation", 20)):
        rows = [{"a": row["sentence1"], "b": row["sentence2"], "y": row["label"]} for row in some_pairs(split, number)]
        made = datasets.Dataset.from_list(rows, features=features)
        (tmp_path / "data").mkdir(exist_ok=True)
        made.to_parquet(tmp_path / "data" / f"{split}.parquet")
        made.to_csv(tmp_path / f"{split}.csv")
    flags = ("--data", tmp_path / "data", "--model", encoder, "--task", "custom", "--text-columns", "a,b")
    assert go(*flags, "--label-column", "y", "--epochs", 1, "--run-name", "a") == 0
    run_folder = tmp_path / "runs" / "a"
    capsys.readouterr()
    data = tmp_path / "data" / "validation.parquet" if suffix == "parquet" else tmp_path / "validation.csv"
    given = ("--model", run_folder / "last", "--data", data, "--output", tmp_path / "answers.jsonl")
    assert predict.main(["--device", "cpu", *map(str, given)]) == 0
    answers = [json.loads(line)["label"] for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    labels = [("same", "different")[row["y"]] for row in made]
    printed = capsys.readouterr().out
    assert f"accuracy {accuracy_score(labels, answers):.4f}" in printed
    assert f"f1 {f1_score(labels, answers, pos_label='same', zero_division=0.0):.4f}" in printed
    results = json.loads((run_folder / "results.json").read_text())
    assert results["last"]["validation"]["accuracy"] == pytest.approx(accuracy_score(labels, answers))
