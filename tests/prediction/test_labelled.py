"""Labelled rows on which exported models are compared: the scores of the model itself are those of its evaluation."""

import json

import pytest
from conftest import some_pairs, write_rows

from pairft.model import classifier
from pairft.prediction.about import about_model
from pairft.prediction.labelled import read_labelled

FLAGS = ("--max-steps", 4, "--lr", "1e-3")
LABELS = {
    "classes": lambda row: ["no", "yes"][row % 2],
    "regression": lambda row: row / 7,
    "multi-label": lambda row: [["a"], ["a", "b"]][row % 2],
}


@pytest.mark.parametrize("kind", LABELS)
def test_labelled_rows_are_scored_as_in_training(kind, go, tmp_path, wild_model):
    for split, number in (("train", 16), ("validation", 12)):
        rows = [{**row, "label": LABELS[kind](index)} for index, row in enumerate(some_pairs(split, number))]
        write_rows(tmp_path / "data" / f"{split}.jsonl", rows)
    flags = ("--task", "custom", "--text-columns", "sentence1,sentence2", "--run-name", "a", *FLAGS)
    assert go("--model", wild_model, "--data", tmp_path / "data", *flags) == 0
    folder = tmp_path / "runs" / "a" / "best"
    about = about_model(str(folder))
    model, *_ = classifier.load_model(str(folder), about.names, "trained", one_logit=about.one_logit)
    rows = tmp_path / "data" / "validation.jsonl"
    data = read_labelled(str(rows), about, about.text_columns, about.sidecar["label_column"])
    found = {name: float(value) for name, value in data.measured(model).items() if name != "rows/s"}
    wanted = json.loads((tmp_path / "runs" / "a" / "results.json").read_text())["best"]["validation"]
    assert found == pytest.approx(wanted, abs=6e-5)
