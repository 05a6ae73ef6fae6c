"""Which class F1 is about, from the training to the results, the card and predict."""

import json

import pytest
from conftest import read_lines, some_pairs, write_rows, write_tiny_model
from sklearn.metrics import f1_score

from pairft import predict


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    """Pairs whose labels in the alphabet's order are duplicate, not_duplicate."""
    folder = tmp_path_factory.mktemp("named")
    for split, number in (("train", 40), ("validation", 30)):
        rows = [{**row, "label": ("not_duplicate", "duplicate")[row["label"]]} for row in some_pairs(split, number)]
        write_rows(folder / f"{split}.jsonl", rows[: number - 5] if split == "validation" else rows)
    return folder


@pytest.fixture(scope="module")
def wild_model(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("models") / "wild", initializer_range=0.4)


CUSTOM = ("--task", "custom", "--text-columns", "sentence1,sentence2")


def answers_of(model, data, output, *flags):
    assert predict.main(["--device", "cpu", "--model", str(model), "--data", str(data), "--output", str(output)]) == 0
    return [json.loads(line)["label"] for line in output.read_text().splitlines()]


def test_f1_is_of_the_class_that_affirms_and_every_place_says_so(named, wild_model, go, tmp_path, capsys):
    flags = ("--data", named, "--model", wild_model, *CUSTOM, "--epochs", 3, "--lr", "1e-3", "--run-name", "a")
    assert go(*flags) == 0
    run = tmp_path / "runs" / "a"
    assert "f1 of 'duplicate'" in capsys.readouterr().out.splitlines()
    results = json.loads((run / "results.json").read_text())
    assert results["positive_class"] == "duplicate"
    answers = answers_of(run / "best", named / "validation.jsonl", tmp_path / "answers.jsonl")
    assert "(25 rows), f1 of 'duplicate'" in capsys.readouterr().out
    labels = [json.loads(line)["label"] for line in (named / "validation.jsonl").read_text().splitlines()]
    wanted = f1_score(labels, answers, pos_label="duplicate")
    assert wanted != pytest.approx(f1_score(labels, answers, pos_label="not_duplicate"))
    assert results["best"]["validation"]["f1"] == pytest.approx(wanted)
    assert results["best"]["validation"]["f1"] == max(line["f1"] for line in read_lines(run, "validation"))
    assert f"| f1 of 'duplicate' | {wanted:.4f} |" in (run / "best" / "README.md").read_text()


def test_predict_scores_as_the_model_folder_says_or_by_the_names(named, wild_model, go, tmp_path, capsys):
    assert go("--data", named, "--model", wild_model, *CUSTOM, "--max-steps", 2, "--run-name", "a") == 0
    model = tmp_path / "runs" / "a" / "last"
    about = json.loads((model / "pairft.json").read_text())
    assert about["positive_class"] == "duplicate"
    for held, said in ((about.pop("positive_class"),) * 2, (None, "duplicate"), ("not_duplicate",) * 2):
        (model / "pairft.json").write_text(json.dumps(about | ({"positive_class": held} if held else {})))
        capsys.readouterr()
        answers = answers_of(model, named / "validation.jsonl", tmp_path / "answers.jsonl")
        labels = [json.loads(line)["label"] for line in (named / "validation.jsonl").read_text().splitlines()]
        wanted = f1_score(labels, answers, pos_label=said)
        assert f"f1 {wanted:.4f}  (25 rows), f1 of {said!r}" in capsys.readouterr().out


def test_with_three_classes_f1_is_the_mean_over_those_that_occur(go, tiny_model, tmp_path, capsys):
    for split, classes in (("train", ("a", "b", "c")), ("validation", ("a", "b"))):
        rows = [{**row, "label": classes[index % len(classes)]} for index, row in enumerate(some_pairs(split, 24))]
        write_rows(tmp_path / "data" / f"{split}.jsonl", rows)
    assert go("--data", tmp_path / "data", *CUSTOM, "--max-steps", 3, "--run-name", "a") == 0
    run = tmp_path / "runs" / "a"
    assert "f1 macro" in capsys.readouterr().out.splitlines()
    results = json.loads((run / "results.json").read_text())
    assert results["positive_class"] is None
    answers = answers_of(run / "last", tmp_path / "data" / "validation.jsonl", tmp_path / "answers.jsonl")
    wanted = f1_score(["a", "b"] * 12, answers, average="macro", zero_division=0.0)
    assert results["last"]["validation"]["f1"] == pytest.approx(wanted)
    assert "f1 macro" in capsys.readouterr().out
