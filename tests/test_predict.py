"""pairft.predict on models that train.py made: each row in its place, and the metrics."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy
import pyarrow
import pyarrow.parquet
import pytest
import torch
from conftest import some_pairs, write_rows
from sklearn.metrics import accuracy_score, f1_score

import train
from pairft import predict

NAMES = ("not_equivalent", "equivalent")
SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".parquet")


def train_tiny(model: Path, data: Path, runs: Path, *flags: str) -> Path:
    """last/ of a short training."""
    flags = ("--epochs", "1", "--device", "cpu", "--run-name", "a", *flags)
    assert train.main(["--model", str(model), "--data", str(data), "--runs-dir", str(runs), *flags]) == 0
    return runs / "a" / "last"


@pytest.fixture(scope="module")
def trained(wild_model, pairs_folder, tmp_path_factory) -> Path:
    return train_tiny(wild_model, pairs_folder, tmp_path_factory.mktemp("mrpc"))


def logits_of(folder: Path, rows: list[tuple[str, ...]]) -> numpy.ndarray:
    """One row after another, by transformers alone."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    model.eval()
    with torch.inference_mode():
        return torch.cat([model(**tokenizer(*row, return_tensors="pt")).logits for row in rows]).double().numpy()


def softmax(logits: numpy.ndarray) -> numpy.ndarray:
    powers = numpy.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    """More than one batch of them, of mixed lengths, and text that a csv must quote."""
    rows = some_pairs("validation", 45)
    rows[7]["sentence1"] = 'The board said "no", then\'s it — twice.'
    return rows


@pytest.fixture(scope="module")
def probabilities(trained, rows) -> numpy.ndarray:
    found = softmax(logits_of(trained, [(row["sentence1"], row["sentence2"]) for row in rows]))
    assert numpy.abs(numpy.diff(found[:, 1])).min() > 1e-4  # else any order would do
    return found


def write_as(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    elif path.suffix == ".jsonl":
        write_rows(path, rows)
    elif path.suffix == ".tsv":
        path.write_text("".join("\t".join(map(str, row)) + "\n" for row in [rows[0], *(r.values() for r in rows)]))
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    return path


def read_as(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        return pyarrow.parquet.read_table(path).to_pylist()
    if path.suffix == ".json":
        return json.loads(path.read_text(encoding="utf-8"))
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","))


def main(*flags: Any) -> int:
    try:
        return predict.main(["--device", "cpu", *map(str, flags)])
    except SystemExit as left:  # as argparse does
        return left.code


def assert_answers(answers: list[dict[str, Any]], expected: numpy.ndarray, names: tuple[str, ...] = NAMES) -> None:
    """`answers`: rows, whose last columns are the answer."""
    columns = ["label", *(f"probability_{name}" for name in names)]
    assert [list(answer)[-len(columns) :] for answer in answers] == [columns] * len(expected)
    found = numpy.array([[float(answer[f"probability_{name}"]) for name in names] for answer in answers])
    assert numpy.allclose(found, expected, rtol=0, atol=1e-5)
    assert numpy.allclose(found.sum(axis=1), 1, rtol=0, atol=1e-6)
    assert [answer["label"] for answer in answers] == [names[index] for index in found.argmax(axis=1)]


def metrics_in(text: str) -> dict[str, float]:
    """What a line "loss 0.6931  accuracy 0.5000  …" says."""
    assert len(text.splitlines()) == 1, text
    return {name: float(value) for name, value in re.findall(r"(\w+) (-?\d+\.\d{4})\b", text)}


def scores(answers: list[dict[str, Any]], labels: list[int]) -> dict[str, float]:
    """scikit-learn's, from what the output file says."""
    found = [NAMES.index(answer["label"]) for answer in answers]
    right = [float(answer[f"probability_{NAMES[label]}"]) for answer, label in zip(answers, labels, strict=True)]
    return {
        "loss": pytest.approx(-numpy.log(right).mean(), abs=1e-4),
        "accuracy": pytest.approx(accuracy_score(labels, found), abs=1e-4),
        "f1": pytest.approx(f1_score(labels, found, zero_division=0.0), abs=1e-4),
    }


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_in_and_a_file_out(suffix, trained, rows, probabilities, tmp_path, capsys):
    data, output = write_as(tmp_path / f"pairs{suffix}", rows), tmp_path / f"answers{suffix}"
    assert main("--model", trained, "--data", data, "--output", output) == 0
    answers = read_as(output)
    assert_answers(answers, probabilities)
    printed = capsys.readouterr().out
    assert metrics_in(printed) == scores(answers, [row["label"] for row in rows])
    assert "45 rows" in printed
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([data.name, output.name])


def without(rows: list[dict[str, Any]], *names: str) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name not in names} for row in rows]


def test_without_labels_there_are_answers_but_no_metrics(trained, rows, probabilities, tmp_path, capsys):
    unlabelled = [{**row, "label": -1} for row in rows]
    for number, some in enumerate((without(rows, "label"), unlabelled)):
        data, output = write_as(tmp_path / f"{number}.csv", some), tmp_path / f"{number}.jsonl"
        assert main("--model", trained, "--data", data, "--output", output) == 0
        assert_answers(read_as(output), probabilities)
        assert capsys.readouterr().out == ""


@pytest.mark.parametrize("first", [0, 1])  # the first row has a label, or it has not
@pytest.mark.parametrize("how", ["no key", None, -1])
def test_only_labelled_rows_are_scored(how, first, trained, rows, probabilities, tmp_path, capsys):
    hidden = without(rows, "label") if how == "no key" else [{**row, "label": how} for row in rows]
    some = [rows[number] if number % 3 == first else row for number, row in enumerate(hidden)]
    data, output = write_as(tmp_path / "pairs.jsonl", some), tmp_path / "answers.json"
    assert main("--model", trained, "--data", data, "--output", output) == 0
    answers = read_as(output)
    assert_answers(answers, probabilities)
    printed = capsys.readouterr().out
    assert metrics_in(printed) == scores(answers[first::3], [row["label"] for row in rows[first::3]])
    assert "15 rows" in printed


def test_labels_by_name_and_other_columns(trained, rows, probabilities, tmp_path, capsys):
    renamed = [
        {"gold": NAMES[row["label"]], "b": row["sentence2"], "noise": 1.5, "a": row["sentence1"], "sentence1": "no"}
        for row in rows
    ]
    data, output = write_as(tmp_path / "pairs.parquet", renamed), tmp_path / "answers.tsv"
    flags = ("--text-columns", "a,b", "--label-column", "gold")
    assert main("--model", trained, "--data", data, "--output", output, *flags) == 0
    assert_answers(read_as(output), probabilities)
    assert metrics_in(capsys.readouterr().out) == scores(read_as(output), [row["label"] for row in rows])


def test_metrics_alone_need_no_output(trained, rows, tmp_path, capsys):
    data = write_as(tmp_path / "pairs.csv", rows[:-1])  # not those of other tests: the first look at a test split
    capsys.readouterr()
    assert main("--model", trained, "--data", data) == 0
    printed = capsys.readouterr()
    assert set(metrics_in(printed.out)) == {"loss", "accuracy", "f1"} and printed.err == ""
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.csv"]


def test_one_pair_is_answered_in_one_line_of_json(trained, rows, probabilities, capsys):
    assert main("--model", trained, "--text", rows[0]["sentence1"], rows[0]["sentence2"]) == 0
    [line] = capsys.readouterr().out.splitlines()
    assert_answers([json.loads(line)], probabilities[:1])


def judge_custom(columns: str, labels: list[Any], model: Path, tmp_path: Path, capsys) -> tuple:
    """Train on pairs with these labels, over and over, in columns q, a and y, and predict the validation split: the
    model, its rows, its answers, and the metrics that were printed."""
    pairs = [
        {"q": row["sentence1"], "a": row["sentence2"], "y": labels[number % len(labels)]}
        for number, row in enumerate(some_pairs("train", 60))
    ]
    write_rows(tmp_path / "data" / "train.jsonl", pairs[:40])
    write_rows(tmp_path / "data" / "validation.jsonl", pairs[40:])
    flags = ("--task", "custom", "--text-columns", columns, "--label-column", "y")
    model = train_tiny(model, tmp_path / "data", tmp_path / "runs", *flags)
    capsys.readouterr()
    output = tmp_path / "answers.jsonl"
    assert main("--model", model, "--data", tmp_path / "data" / "validation.jsonl", "--output", output) == 0
    return model, pairs[40:], read_as(output), metrics_in(capsys.readouterr().out)


def test_three_named_classes(wild_model, tmp_path, capsys):
    model, pairs, answers, printed = judge_custom("q,a", ["yes", "no", "maybe"], wild_model, tmp_path, capsys)
    expected = softmax(logits_of(model, [(pair["q"], pair["a"]) for pair in pairs]))
    assert_answers(answers, expected, names=("maybe", "no", "yes"))
    labels, found = [pair["y"] for pair in pairs], [answer["label"] for answer in answers]
    assert printed["accuracy"] == pytest.approx(accuracy_score(labels, found), abs=1e-4)
    assert printed["f1"] == pytest.approx(f1_score(labels, found, average="macro", zero_division=0.0), abs=1e-4)


def test_a_regression_on_single_sentences(wild_model, tmp_path, capsys):
    model, pairs, answers, printed = judge_custom("q", [0.5, 1.25, 3, 4.75], wild_model, tmp_path, capsys)
    expected = logits_of(model, [(pair["q"],) for pair in pairs])[:, 0]
    found, labels = [answer["score"] for answer in answers], [pair["y"] for pair in pairs]
    assert numpy.allclose(found, expected, rtol=0, atol=1e-5)
    assert printed["pearson"] == pytest.approx(numpy.corrcoef(found, labels)[0, 1], abs=1e-4)
    assert printed["loss"] == pytest.approx(((numpy.array(found) - labels) ** 2).mean(), abs=1e-4)
    assert "spearman" in printed
    assert main("--model", model, "--text", pairs[0]["q"]) == 0
    assert json.loads(capsys.readouterr().out) == {"score": pytest.approx(expected[0], abs=1e-5)}
