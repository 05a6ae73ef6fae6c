"""The settings that say what labels are and how they count: each arrives where it acts, and is refused elsewhere."""

import json
from pathlib import Path

import pytest
from conftest import read_lines, some_pairs, write_rows
from sklearn.metrics import f1_score

from pairft import predict
from pairft.checks import resolve
from pairft.errors import UserError


def about(run: Path) -> dict:
    return json.loads((run / "last" / "pairft.json").read_text())


def losses(run: Path) -> list[float]:
    return [line["loss"] for line in read_lines(run, "train")]


def test_regression_arrives(made):
    flags = ("--task", "custom", "--text-columns", "sentence1,sentence2", "--max-steps", 1)
    run = made(*flags, "--regression")
    assert (about(run)["problem_type"], about(run)["label_names"]) == ("regression", None)
    assert read_lines(run, "validation")[0].keys() >= {"pearson", "spearman"}


def test_classification_arrives(made, tmp_path):
    for split, number in (("train", 8), ("validation", 4)):
        rows = [{**row, "label": index % 4 / 2} for index, row in enumerate(some_pairs(split, number))]
        write_rows(tmp_path / "data" / f"{split}.jsonl", rows)
    flags = ("--data", tmp_path / "data", "--task", "custom", "--text-columns", "sentence1", "--max-steps", 1)
    assert about(made(*flags, "--classification"))["label_names"] == ["0", "0.5", "1", "1.5"]


def test_positive_class_arrives(made):
    run = made("--positive-class", "not_equivalent", "--max-steps", 1)
    assert about(run)["positive_class"] == "not_equivalent"
    assert json.loads((run / "results.json").read_text())["positive_class"] == "not_equivalent"


def losses_with(made, *flags) -> tuple[list[float], list[float]]:
    """Of the training and of the evaluation, without and with some flags, at the same weights."""
    runs = [made("--max-steps", 1, "--lr", "1e-12", "--limit", 5, *more, name=str(len(more))) for more in ((), flags)]
    return [losses(run)[0] for run in runs], [read_lines(run, "validation")[0]["loss"] for run in runs]


def test_class_weights_arrives(made):
    trained, evaluated = losses_with(made, "--class-weights", "balanced")
    assert trained[0] != trained[1] and evaluated[0] == pytest.approx(evaluated[1])


def test_label_smoothing_arrives(made):
    trained, evaluated = losses_with(made, "--label-smoothing", 0.2)
    assert trained[0] != trained[1] and evaluated[0] == pytest.approx(evaluated[1])


def test_label_column_arrives(made, tmp_path):
    for split, number in (("train", 16), ("validation", 8)):
        rows = [{**row, "verdict": ["no", "yes"][row["label"]]} for row in some_pairs(split, number)]
        write_rows(tmp_path / "data" / f"{split}.jsonl", [{**row, "long": len(row["sentence1"]) % 2} for row in rows])
    flags = ("--task", "custom", "--data", tmp_path / "data", "--text-columns", "sentence1,sentence2", "--max-steps", 1)
    run = made(*flags, "--label-column", "verdict")
    assert (about(run)["label_column"], about(run)["label_names"]) == ("verdict", ["no", "yes"])
    run = made(*flags, "--label-column", "long,label", name="b")
    assert (about(run)["label_column"], about(run)["label_names"]) == ("long,label", ["long", "label"])
    data = tmp_path / "data" / "validation.jsonl"
    assert predict.main(["--device", "cpu", "--model", str(run / "last"), "--data", str(data)]) == 0


def test_f1_is_of_the_positive_class_among_three_here_and_in_predict(made, wild_model, tmp_path, capsys):
    for split, number in (("train", 24), ("validation", 24)):
        rows = [{**row, "label": "abc"[index % 3]} for index, row in enumerate(some_pairs(split, number))]
        write_rows(tmp_path / "data" / f"{split}.jsonl", rows)
    flags = ("--data", tmp_path / "data", "--task", "custom", "--text-columns", "sentence1,sentence2", "--max-steps", 2)
    run = made(*flags, "--model", wild_model, "--positive-class", "b")
    printed = capsys.readouterr()
    assert "F1 is of b" in printed.err and "f1 of 'b'" in printed.out.splitlines()
    output = tmp_path / "answers.jsonl"
    given = ["--device", "cpu", "--model", run / "last", "--data", tmp_path / "data" / "validation.jsonl"]
    assert predict.main([str(part) for part in (*given, "--output", output)]) == 0
    answers = [json.loads(line)["label"] == "b" for line in output.read_text().splitlines()]
    wanted = f1_score([index % 3 == 1 for index in range(24)], answers, zero_division=0)
    assert f"f1 {wanted:.4f}  (24 rows), f1 of 'b'" in capsys.readouterr().out
    assert json.loads((run / "results.json").read_text())["last"]["validation"]["f1"] == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"regression": True, "classification": True}, "exclude each other"),
        ({"task": "mrpc", "regression": True}, "leave it out with --task mrpc"),
        ({"task": "stsb", "classification": True}, "(nli, sts, custom): leave it out with --task stsb"),
        ({"label_smoothing": 1.0}, "--label-smoothing is 1.0, but should be at least 0 and below 1"),
        ({"label_smoothing": float("nan")}, "--label-smoothing is nan"),
        ({"class_weights": "even"}, "--class-weights is 'even', but should be one of: balanced"),
        ({"label_column": "x,y", "regression": True}, "names 2 columns (multi-label): leave out --regression"),
        ({"task": "mrpc", "label_column": "x,y"}, "names 2 columns (multi-label): use --task custom"),
        ({"label_column": "x,x"}, "should name each column once"),
        ({"label_column": "x,a"}, "--text-columns names 'a', which is the label column"),
    ],
)
def test_what_does_not_fit_together(given, words):
    columns = {} if given.get("task") else {"task": "custom", "text_columns": ("a", "b")}
    with pytest.raises(UserError) as caught:
        resolve({**columns, **given})
    assert words in str(caught.value)


def test_the_loss_of_a_run_is_no_setting_that_a_resume_may_change(made, go, tmp_path, capsys):
    run = made("--max-steps", 2, "--save-every", 1)
    (run / "results.json").unlink()
    assert go("--resume", "--run-name", "a", "--label-smoothing", 0.1) == 2
    assert "--label-smoothing is 0.1" in capsys.readouterr().err
