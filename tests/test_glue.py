"""Each row of the task table on small files with GLUE's schema: trained, scored and predicted by the real entry points.

The scores are compared with scikit-learn's and SciPy's of what predict writes."""

import json
from pathlib import Path
from typing import Any

import datasets
import numpy
import pytest
from conftest import comparable, read_lines, same_weights, some_pairs, write_rows
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from pairft import predict
from pairft.tasks import TASKS

# The columns and the classes of nyu-mll/glue, as its dataset card has them; no classes: a float from 0 to 5.
PAIR, NLI = ("sentence1", "sentence2"), ("premise", "hypothesis")
GLUE: dict[str, tuple[tuple[str, ...], list[str] | None]] = {
    "cola": (("sentence",), ["unacceptable", "acceptable"]),
    "sst2": (("sentence",), ["negative", "positive"]),
    "mrpc": (PAIR, ["not_equivalent", "equivalent"]),
    "qqp": (("question1", "question2"), ["not_duplicate", "duplicate"]),
    "stsb": (PAIR, None),
    "mnli": (NLI, ["entailment", "neutral", "contradiction"]),
    "qnli": (("question", "sentence"), ["entailment", "not_entailment"]),
    "rte": (PAIR, ["entailment", "not_entailment"]),
    "wnli": (PAIR, ["not_entailment", "entailment"]),
}
SCORES = {  # of predictions and references: class ids, or values
    "accuracy": lambda found, wanted: accuracy_score(wanted, found),
    "f1": lambda found, wanted: f1_score(wanted, found, pos_label=1),  # GLUE's is of class 1
    "matthews": lambda found, wanted: matthews_corrcoef(wanted, found),
    "pearson": lambda found, wanted: pearsonr(wanted, found).statistic,
    "spearman": lambda found, wanted: spearmanr(wanted, found).statistic,
}
METRICS = {  # GLUE's; the best evaluation is picked by the first
    "cola": ("matthews",),
    "mrpc": ("f1", "accuracy"),
    "qqp": ("f1", "accuracy"),
    "stsb": ("pearson", "spearman"),
}
MNLI = {"validation_matched": 12, "validation_mismatched": 10, "test_matched": 5, "test_mismatched": 4}
SHORT = ("--lr", "1e-3", "--max-steps", 2, "--run-name", "a")


def glue_rows(split: str, number: int, columns: tuple[str, ...], names: list[str] | None) -> list[dict[str, Any]]:
    """Rows as in GLUE, the labels of a test split all -1."""
    rows = []
    for index, row in enumerate(
        some_pairs("validation" if "validation" in split else split.split("_", maxsplit=1)[0], number)
    ):
        label = index * 7 % 5 / 1.5 if names is None else index * 7 % len(names)
        texts = dict(zip(columns, (row["sentence1"], row["sentence2"]), strict=False))
        rows.append({**texts, "label": -1 if split.startswith("test") else label, "idx": index})
    return rows


def write_glue(folder: Path, task: str, suffix: str = "parquet") -> Path:
    """A folder of files as the Hub has them; or as jsonl, with the classes' ids."""
    columns, names = GLUE[task]
    kind = datasets.Value("float32") if names is None else datasets.ClassLabel(names=names)
    features = datasets.Features(
        {**{name: datasets.Value("string") for name in columns}, "label": kind, "idx": datasets.Value("int32")}
    )
    sizes = {"train": 24, **(MNLI if task == "mnli" else {"validation": 12, "test": 5})}
    folder.mkdir(parents=True)
    for split, number in sizes.items():
        rows = glue_rows(split, number, columns, names)
        if task == "qqp":
            rows[1]["question2"] = ""  # as in the 310121st training row
        if suffix == "jsonl":
            write_rows(folder / f"{split}.jsonl", rows)
        else:
            made = datasets.Dataset.from_list(rows, features=features)
            made.to_parquet(folder / f"{split}-00000-of-00001.parquet")
    return folder


def predicted(
    capsys, run: Path, file: Path, output: Path, last: str = "last", *more: str
) -> tuple[list[dict[str, Any]], str]:
    """What predict answers for each row of a file, and what it prints."""
    capsys.readouterr()
    flags = ("--model", run / last, "--data", file, "--output", output, "--device", "cpu", *more)
    assert predict.main([str(flag) for flag in flags]) == 0
    return [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()], capsys.readouterr().out


def values(answers: list[dict[str, Any]], names: list[str] | None) -> numpy.ndarray:
    """Class ids, or the values of a regression."""
    return numpy.array([a["score"] if names is None else names.index(a["label"]) for a in answers], numpy.float64)


def test_the_table_has_every_task_of_glue():
    assert TASKS.keys() == {*GLUE, "ax", "nli", "sts", "custom"}
    for name, (columns, names) in GLUE.items():
        row = TASKS[name]
        assert (row.text_columns, row.label_column, row.glue_config) == (columns, "label", name)
        assert (row.label_names and list(row.label_names), row.regression) == (names, names is None)
        wanted = METRICS.get(name, ("accuracy",))
        assert row.main_metric == wanted[0] and set(row.metrics or ()) == set(wanted)


@pytest.mark.parametrize("task", GLUE)
def test_each_task_is_trained_scored_and_predicted(task, go, wild_model, tmp_path, capsys):
    columns, names = GLUE[task]
    folder = write_glue(tmp_path / "data", task)
    assert go("--model", wild_model, "--data", folder, "--task", task, *SHORT) == 0
    run = tmp_path / "runs" / "a"
    results = json.loads((run / "results.json").read_text())
    splits = {"validation": "validation"}
    if task == "mnli":
        splits = {"validation": "validation_matched", "validation_mismatched": "validation_mismatched"}
    for split, source in splits.items():
        file = folder / f"{source}-00000-of-00001.parquet"
        answers, printed = predicted(capsys, run, file, tmp_path / "out.jsonl")
        found = values(answers, names)
        assert len(set(found)) > 1  # or the scores would say little
        wanted = numpy.array(datasets.Dataset.from_parquet(str(file))["label"], numpy.float64)
        scores = dict(results["last"][split])
        loss = scores.pop("loss")
        assert f"loss {loss:.4f}" in printed
        assert scores.keys() == set(METRICS.get(task, ("accuracy",)))
        for name, score in scores.items():
            assert score == pytest.approx(SCORES[name](found, wanted), abs=1e-6 if names is None else 1e-12)
            assert f"{name} {score:.4f}" in printed
        [line] = read_lines(run, split)
        assert {name: line[name] for name in scores} == scores and line["loss"] == loss
    file = next(folder.glob("test*"))  # of mnli: the matched one
    answers, printed = predicted(capsys, run, file, tmp_path / "out.jsonl", "best")
    assert len(answers) == 5 and printed == ""  # every label is -1: none
    assert {answer["label"] for answer in answers} <= set(names or [-1.0])  # of a regression: the row's own
    about = json.loads((run / "best" / "pairft.json").read_text())
    assert (tuple(about["text_columns"]), about["label_names"]) == (columns, names)


def test_files_of_ids_are_read_as_the_hubs(go, wild_model, tmp_path):
    """jsonl with 0, 1 and 2 gives the numbers that parquet with a ClassLabel gives."""
    for suffix in ("parquet", "jsonl"):
        folder = write_glue(tmp_path / suffix, "mnli", suffix)
        flags = ("--model", wild_model, "--data", folder, "--task", "mnli", "--max-steps", 2, "--run-name", suffix)
        assert go(*flags) == 0
    runs = [tmp_path / "runs" / suffix for suffix in ("parquet", "jsonl")]
    assert same_weights(*runs)
    for split in ("validation", "validation_mismatched"):
        assert comparable(runs[0], split) == comparable(runs[1], split)


@pytest.mark.parametrize("task", ["nli", "sts"])
def test_any_labels_of_an_entailment_task_and_any_scores(task, go, wild_model, tmp_path):
    """Labels that are names; scores that are whole numbers are values all the same."""
    columns, names = (NLI, ["no", "perhaps", "yes"]) if task == "nli" else (PAIR, None)
    for split, number in (("train", 24), ("validation", 12)):
        rows = glue_rows(split, number, columns, names)
        for row in rows:
            row["label"] = names[row["label"]] if names else round(row["label"])
        write_rows(tmp_path / "data" / f"{split}.jsonl", rows)
    assert go("--model", wild_model, "--data", tmp_path / "data", "--task", task, *SHORT) == 0
    results = json.loads((tmp_path / "runs" / "a" / "results.json").read_text())
    assert list(results["last"]["validation"]) == ["loss", *(("accuracy", "f1") if names else ("pearson", "spearman"))]
    about = json.loads((tmp_path / "runs" / "a" / "last" / "pairft.json").read_text())
    assert about["label_names"] == names


def test_a_regression_refuses_names(go, tmp_path, capsys):
    columns, _ = GLUE["stsb"]
    for split in ("train", "validation"):
        rows = glue_rows(split, 9, columns, None)
        write_rows(tmp_path / "data" / f"{split}.jsonl", [*rows, {**rows[0], "label": "high"}])
    assert go("--data", tmp_path / "data", "--task", "stsb", *SHORT) == 2
    error = capsys.readouterr().err
    assert "row 10" in error and "'high'" in error and "finite number" in error


def test_a_row_of_qqp_may_have_one_empty_sentence(go, tmp_path, capsys):
    folder = write_glue(tmp_path / "data", "qqp", "jsonl")
    assert go("--data", folder, "--task", "qqp", *SHORT) == 0
    message = capsys.readouterr().err
    counts = f"1 of the train split of {folder}, 1 of the validation split of {folder}"
    assert message.count(f"note: rows with an empty sentence, which this task may have: {counts}") == 1
    assert message.count(f"warning: rows with an empty sentence: 1 of the test split of {folder}") == 1
    columns = ("--text-columns", "question1,question2")
    assert go("--data", folder, "--task", "mrpc", *columns, *SHORT[:-1], "b") == 2
    assert "row 2: 'question2' is empty; fill it in or remove the row" in capsys.readouterr().err
    rows = glue_rows("train", 24, *GLUE["qqp"])
    write_rows(folder / "train.jsonl", [*rows, {"question1": " ", "question2": None, "label": 1}])
    assert go("--data", folder, "--task", "qqp", *SHORT[:-1], "b") == 2
    assert "row 25: 'question1' and 'question2' are empty; fill them in" in capsys.readouterr().err


def test_a_missing_question_is_an_empty_one(go, wild_model, tmp_path):
    """null and "", in files from which a validation split is cut off: the same run."""
    for name, text in (("null", None), ("text", "")):
        rows = [
            {**row, "question2": text} if row["idx"] % 5 == 0 else row for row in glue_rows("train", 40, *GLUE["qqp"])
        ]
        write_rows(tmp_path / f"{name}.jsonl", rows)
        flags = ("--model", wild_model, "--data", tmp_path / f"{name}.jsonl", "--task", "qqp", "--max-steps", 2)
        assert go(*flags, "--run-name", name) == 0
    runs = [tmp_path / "runs" / name for name in ("null", "text")]
    assert same_weights(*runs)
    assert comparable(runs[0], "validation") == comparable(runs[1], "validation")


@pytest.mark.parametrize(("task", "metrics"), [("stsb", "pearson, spearman"), ("cola", "matthews"), ("rte", None)])
def test_a_validation_split_of_equal_labels_is_named(task, metrics, go, tmp_path, capsys):
    columns, names = GLUE[task]
    write_rows(tmp_path / "data" / "train.jsonl", glue_rows("train", 12, columns, names))
    write_rows(
        tmp_path / "data" / "validation.jsonl",
        [{**row, "label": 1} for row in glue_rows("validation", 5, columns, names)],
    )
    assert go("--data", tmp_path / "data", "--task", task, *SHORT) == 0
    message = capsys.readouterr().err
    label = names[1] if names and metrics is None else "1"
    wanted = f"warning: every label of the validation split is {label}: a correlation ({metrics}) is undefined there"
    assert (wanted in message) == (metrics is not None) and ("every label" in message) == (metrics is not None)
