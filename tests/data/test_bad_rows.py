"""--drop-bad-rows: rows without text or label, which are an error without it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import comparable, same_weights, undone, write_rows
from test_audit import audited, rows_of, write

from pairft.config import Config
from pairft.data.pairs import load_pairs
from pairft.errors import UserError

NO, YES = "no", "yes"
TRAIN = [
    ("a b", "c", NO),
    ("", "d", YES),
    ("e", "f", YES),
    ("g", " \t", None),
    ("h", "i", "-"),
    ("j", "k", ""),
    ("l", "m", NO),
]
VALIDATION = [("n", "o", "?"), ("p", "q", YES), ("r", "s", NO), ("l", "m", NO)]
TEST = [("t", "", NO), ("u", "v", None)]


def load(folder: Path, task: str = "custom", **more: Any) -> Any:
    columns = ("sentence1", "sentence2") if task == "custom" else None
    return load_pairs(Config(task=task, data=str(folder), text_columns=columns, drop_bad_rows=True, **more))


def test_drop_bad_rows_arrives(go, tmp_path, capsys):
    data = write(tmp_path / "data", train=TRAIN, validation=VALIDATION, test=TEST)
    flags = ["--task", "custom", "--text-columns", "sentence1,sentence2", "--data", data, "--epochs", 1, "--run-name"]
    assert go(*flags, "a") == 2
    assert "row 2: 'sentence1' is empty" in (message := capsys.readouterr().err) and "--drop-bad-rows" in message
    assert go(*flags, "a", "--drop-bad-rows") == 0
    said = capsys.readouterr().err
    for line in (
        f"4 of 7 rows of the train split of {data} are left out: 2 with an empty sentence, 2 without a label (rows 2",
        f"1 of 4 rows of the validation split of {data} are left out: 0 with an empty sentence, 1 without a label (row",
    ):
        assert f"--drop-bad-rows: {line}" in said
    run = tmp_path / "runs" / "a"
    found = audited(run)
    assert found["dropped train"]["more"] == {"text": 2, "label": 2}
    assert (found["dropped train"]["count"], found["dropped train"]["rows"]) == (4, [2, 4, 5])
    assert found["dropped train"]["share"] == 4 / 7
    # the rows of the others are still those of the files
    assert (found["leak validation"]["rows"], found["leak validation"]["beside"]) == ([4], [7])
    assert json.loads((run / "audit.json").read_text())["examples"] == {"train": 3, "validation": 3, "test": 2}
    assert "| left out, without text or label | train | 4 |" in (run / "best" / "README.md").read_text()
    assert "drop_bad_rows: true" in (run / "config.yaml").read_text()


def test_the_kept_rows_are_those_of_clean_files_and_a_resume_sees_them(go, tmp_path):
    faulty = write(tmp_path / "faulty", train=TRAIN * 5, validation=VALIDATION)
    clean = write(tmp_path / "clean", train=[TRAIN[index] for index in (0, 2, 6)] * 5, validation=VALIDATION[1:])
    flags = ["--task", "custom", "--text-columns", "sentence1,sentence2", "--epochs", 2, "--save-every", 1]
    assert go(*flags, "--data", faulty, "--run-name", "a", "--drop-bad-rows") == 0
    assert go(*flags, "--data", clean, "--run-name", "b") == 0
    runs = tmp_path / "runs"
    assert same_weights(runs / "a", runs / "b")
    prints = [json.loads((runs / name / "manifest.json").read_text())["data_fingerprint"] for name in "ab"]
    assert prints[0] == prints[1]
    undone(runs / "a", runs / "c", 3)
    assert go("--resume", "--run-name", "c", *flags[:4], "--data", faulty) == 0
    assert same_weights(runs / "a", runs / "c")
    assert comparable(runs / "c", "train") == comparable(runs / "a", "train")


def test_rows_held_out_afterwards_keep_their_numbers(go, tmp_path):
    pairs = [("a", "", 0), *((f"a {n}", f"b {n}", n % 2) for n in range(30)), ("x", "y", 0), ("x", "y", 1)]
    write_rows(tmp_path / "pairs.jsonl", rows_of(pairs))
    assert go("--data", tmp_path / "pairs.jsonl", "--max-steps", 1, "--run-name", "a", "--drop-bad-rows") == 0
    found = audited(tmp_path / "runs" / "a")
    split = "train" if "labels train" in found else "validation"
    assert found[f"labels {split}"]["rows"] == [32, 33]
    assert found["dropped train"]["rows"] == [1]


@pytest.mark.parametrize(
    ("task", "labels", "kept"),
    [
        ("custom", ["yes", "no", -1, "-", "?"], ["yes", "no"]),
        ("custom", [0, 1, 2, -1], ["0", "1", "2"]),
        ("custom", [-1, 0, 1], ["-1", "0", "1"]),  # a class
        ("custom", ["+", "-", "?"], ["+", "-", "?"]),  # classes
        ("custom", [0.5, 2, -1, "?"], ["0.5", "2", "-1"]),  # a value
        ("custom", ["-1,5", "2", "-1", "?"], ["-1,5", "2", "-1"]),  # with a decimal comma
        ("mrpc", [0, 1, -1, "-"], ["0", "1"]),
        ("mrpc", ["equivalent", "not_equivalent", "?"], ["equivalent", "not_equivalent"]),
        ("stsb", [0, 5, -1], ["0", "5"]),
        ("stsb", [-2, 5, -1], ["-2", "5", "-1"]),
    ],
)
def test_what_stands_for_no_label_depends_on_the_others(task, labels, kept, tmp_path):
    rows = [(f"a {n}", "b", label) for n, label in enumerate([*labels, None])]
    write(tmp_path, train=rows, validation=rows)
    found = load(tmp_path, task)
    for split in ("train", "validation"):
        assert [str(label) for label in found.splits[split]["label"][:]] == kept
    assert set(found.label_ids) == set(kept)


def test_numbered_classes_of_parquet_and_missing_texts(tmp_path):
    import datasets

    features = datasets.Features(
        {
            "sentence1": datasets.Value("string"),
            "sentence2": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["no", "yes"]),
        }
    )
    table = {"sentence1": ["a", None, "c", "d"], "sentence2": ["b"] * 4, "label": [0, 1, -1, 1]}
    for split in ("train", "validation"):
        datasets.Dataset.from_dict(table, features=features).to_parquet(str(tmp_path / f"{split}.parquet"))
    assert load(tmp_path).splits["train"]["sentence1"][:] == ["a", "d"]


def test_a_sentence_may_be_empty_where_the_task_says_so(tmp_path):
    rows = [
        {"question1": a, "question2": b, "label": label} for a, b, label in [("a", "", 0), ("", "", 1), ("b", "c", 1)]
    ]
    for split in ("train", "validation"):
        write_rows(tmp_path / f"{split}.jsonl", rows)
    assert load(tmp_path, "qqp").splits["train"]["question1"][:] == ["a", "b"]


def test_the_limit_counts_the_rows_that_are_left(tmp_path):
    write(tmp_path, train=TRAIN, validation=VALIDATION)
    assert load(tmp_path, limit=2).splits["train"]["sentence1"][:] == ["a b", "e"]


def test_nothing_to_drop_and_nothing_left(tmp_path, capsys):
    write(tmp_path / "clean", train=[("a", "b", NO), ("c", "d", YES)], validation=[("e", "f", NO)])
    load(tmp_path / "clean")
    assert "note: --drop-bad-rows has no effect: every row has text and label" in capsys.readouterr().err
    shutil.copytree(tmp_path / "clean", tmp_path / "bad")
    write(tmp_path / "bad", validation=[("e", "", NO)])
    with pytest.raises(UserError, match="lacks text or label, so nothing is left"):
        load(tmp_path / "bad")


def test_an_error_after_it_names_the_row_of_the_file(tmp_path):
    write(tmp_path, train=TRAIN, validation=[*VALIDATION, ("w", "x", "maybe")])
    with pytest.raises(UserError, match="row 5 has the label 'maybe'"):
        load(tmp_path)
