"""What --folds says of each training row: predicted once, by the last model of its fold; flipped labels are found."""

import csv
import json
import random
from pathlib import Path

import pytest
from conftest import some_pairs, write_rows
from sklearn.metrics import accuracy_score, f1_score, log_loss

from pairft import predict


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def summary_of(group: Path) -> dict:
    return json.loads((group / "summary.json").read_text())


@pytest.fixture
def flipped(tmp_path: Path) -> tuple[Path, set[int]]:
    """120 pairs whose second sentence begins with the word that decides the label, except in eight rows. Their numbers,
    counted from 1."""
    draw, rows = random.Random(0), []
    words = ["governor", "minister", "moscow", "dublin", "weather", "although", "before", "july", "august"]
    for number in range(120):
        second = [("rangers", "falcons")[number % 2], *draw.choices(words, k=4)]
        rows.append([" ".join(draw.choices(words, k=5)), " ".join(second), ("no", "yes")[number % 2]])
    wrong = draw.sample(range(120), 8)
    for number in wrong:
        rows[number][2] = {"no": "yes", "yes": "no"}[rows[number][2]]
    with (tmp_path / "flipped.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("a", "b", "y"), *rows])
    return tmp_path / "flipped.csv", {number + 1 for number in wrong}


def test_labels_that_were_flipped_are_found(made, flipped):
    data, wrong = flipped
    group = made(
        *("--task", "custom", "--data", data, "--text-columns", "a,b", "--label-column", "y", "--folds", 3),
        *("--epochs", 8, "--lr", "3e-3", "--eval-every", "never"),
    )
    found, source = rows_of(group / "label_errors.csv"), rows_of(data)
    assert {int(row["row"]) for row in found} == wrong
    for row in found:
        assert (row["a"], row["b"], row["label"]) == tuple(source[int(row["row"]) - 1].values())
        assert row["predicted"] != row["label"] and float(row["label_probability"]) < 0.5
    assert [float(row["label_probability"]) for row in found] == sorted(
        float(row["label_probability"]) for row in found
    )
    assert summary_of(group)["label_errors"] == 8


def test_each_row_is_predicted_once_by_the_last_model_of_its_fold(made, pairs_folder, tmp_path, capsys):
    group = made("--folds", 3, "--epochs", 2, "--lr", "1e-3", "--eval-every", 2)
    printed = capsys.readouterr().out
    rows = rows_of(group / "out_of_fold.csv")
    source = [json.loads(line) for line in (pairs_folder / "train.jsonl").read_text().splitlines()]
    assert [int(row["row"]) for row in rows] == list(range(1, 61))
    names = ("not_equivalent", "equivalent")
    assert [row["label"] for row in rows] == [names[row["label"]] for row in source]
    assert "sentence1" not in rows[0]
    for fold in (1, 2, 3):
        held = [number for number, row in enumerate(rows) if row["fold"] == str(fold)]
        write_rows(tmp_path / f"{fold}.jsonl", [source[number] for number in held])
        flags = ["--data", tmp_path / f"{fold}.jsonl", "--output", tmp_path / f"{fold}.csv", "--device", "cpu"]
        assert predict.main(["--model", str(group / f"fold-{fold}" / "last"), *map(str, flags)]) == 0
        for row, number in zip(rows_of(tmp_path / f"{fold}.csv"), held, strict=True):
            assert rows[number]["predicted"] == row["label"]
            for name in names:
                assert float(rows[number][f"probability_{name}"]) == pytest.approx(float(row[f"probability_{name}"]))
    labels, predicted = ([row[which] for row in rows] for which in ("label", "predicted"))
    probabilities = [float(row["probability_equivalent"]) for row in rows]
    scores = summary_of(group)["out_of_fold"]
    assert scores["rows"] == 60
    assert scores["accuracy"] == accuracy_score(labels, predicted)
    assert scores["f1"] == f1_score(labels, predicted, pos_label="equivalent")
    assert scores["loss"] == pytest.approx(log_loss([name == "equivalent" for name in labels], probabilities))
    assert f"out_of_fold.csv: 60 rows, together loss {scores['loss']:.4f}  accuracy {scores['accuracy']:.4f}" in printed


def test_row_numbers_are_those_of_the_source(made, tmp_path):
    rows = some_pairs("train", 30)
    rows[4]["label"] = None
    write_rows(tmp_path / "pairs.jsonl", rows)
    group = made("--data", tmp_path / "pairs.jsonl", "--drop-bad-rows", "--limit", 20, "--folds", 2, "--max-steps", 1)
    assert [int(row["row"]) for row in rows_of(group / "out_of_fold.csv")] == [n for n in range(1, 22) if n != 5]


def test_a_regression_and_multi_label_rows(made, tmp_path):
    pairs = some_pairs("train", 24)
    sets = (["x"], ["x", "y"], [], ["y"])
    values = [{**row, "label": n / 4} for n, row in enumerate(pairs)]
    lists = [{**row, "label": sets[n % 4]} for n, row in enumerate(pairs)]
    flags = ("--task", "custom", "--text-columns", "sentence1,sentence2", "--folds", 3, "--max-steps", 2)
    write_rows(tmp_path / "values.jsonl", values)
    rows = rows_of(made("--data", tmp_path / "values.jsonl", *flags, name="values") / "out_of_fold.csv")
    assert list(rows[0]) == ["row", "fold", "label", "predicted"]
    assert [float(row["label"]) for row in rows] == [row["label"] for row in values]
    write_rows(tmp_path / "lists.jsonl", lists)
    group = made("--data", tmp_path / "lists.jsonl", *flags, name="lists")
    rows = rows_of(group / "out_of_fold.csv")
    assert [row["label"] for row in rows] == [", ".join(row["label"]) for row in lists]
    for row in rows:
        likely = [name for name in "xy" if float(row[f"probability_{name}"]) > 0.5]
        assert row["predicted"] == ", ".join(likely)
    assert summary_of(group)["out_of_fold"].keys() == {"rows", "loss", "f1", "f1_micro", "accuracy"}
