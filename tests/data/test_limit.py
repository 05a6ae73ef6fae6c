"""--limit: only the first rows of each split, for a first try."""

import json
from dataclasses import replace

import pytest
from conftest import comparable, read_lines, same_weights, some_pairs, undone, write_rows

from pairft.config import Config
from pairft.data.pairs import load_pairs


def test_limit_arrives(go, tmp_path):
    """The run is the one on a folder that holds no more rows: weights, lines and fingerprints."""
    runs = [tmp_path / "runs" / name for name in ("few", "limited")]
    for split in ("train", "validation", "test"):
        write_rows(tmp_path / "few" / f"{split}.jsonl", some_pairs(split, 9))
    assert go("--data", tmp_path / "few", "--epochs", 1, "--run-name", "few") == 0
    assert go("--limit", 9, "--epochs", 1, "--run-name", "limited") == 0
    assert json.loads((runs[1] / "results.json").read_text())["train"]["steps"] == 2
    assert same_weights(*runs)
    for split in ("train", "validation"):
        assert comparable(runs[0], split) == comparable(runs[1], split)
    few, limited = (json.loads((run / "manifest.json").read_text()) for run in runs)
    assert few["data_fingerprint"] == limited["data_fingerprint"]
    assert few["model_fingerprint"] == limited["model_fingerprint"]


def test_a_split_with_fewer_rows_stays_whole(pairs_folder):
    def sizes(limit: int | None) -> dict[str, int]:
        found = load_pairs(Config(data=str(pairs_folder), limit=limit))
        return {split: len(rows) for split, rows in found.splits.items()}

    assert sizes(None) == {"train": 60, "validation": 20, "test": 10}
    assert sizes(15) == {"train": 15, "validation": 15, "test": 10}


def test_what_is_wrong_with_later_rows_does_not_matter(go, tmp_path, capsys):
    for split in ("train", "validation"):
        rows = some_pairs(split, 12)
        rows[10]["sentence1"], rows[11]["label"] = "", "perhaps"
        write_rows(tmp_path / "data" / f"{split}.jsonl", rows)
    flags = ("--data", tmp_path / "data", "--max-steps", 1)
    assert go(*flags, "--limit", 10, "--run-name", "a") == 0
    assert go(*flags, "--run-name", "b") == 2
    assert "row 11" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["a", "b"] * 4 + ["c"], ("a", "b", "c")),
        ([1, 2] * 4 + [0.5], None),  # a fraction makes it a regression
        ([1, 2] * 4 + [0], ("0", "1", "2")),  # the ids too
    ],
)
def test_the_classes_do_not_depend_on_the_limit(labels, names, tmp_path):
    """Nor does whether it is a regression. The validation split holds a label that no limited training row has."""
    for split, found in (("train", labels), ("validation", labels[::-1])):
        rows = [{**row, "label": label} for row, label in zip(some_pairs(split, 9), found, strict=True)]
        write_rows(tmp_path / f"{split}.jsonl", rows)
    config = Config(task="custom", data=str(tmp_path), text_columns=("sentence1", "sentence2"))
    whole, few = load_pairs(config), load_pairs(replace(config, limit=4))
    assert whole.label_names == few.label_names == names
    assert {text: whole.label_ids[text] for text in few.label_ids} == few.label_ids
    assert few.label_ids.keys() == whole.label_ids.keys()
    assert [len(rows) for rows in few.splits.values()] == [4, 4]


def test_a_limit_of_one_class_is_named(go, tmp_path, capsys):
    for split in ("train", "validation"):
        rows = sorted(some_pairs(split, 20), key=lambda row: row["label"])
        write_rows(tmp_path / "data" / f"{split}.jsonl", rows)
    assert go("--data", tmp_path / "data", "--limit", 5, "--max-steps", 1) == 2
    assert "--limit 5" in capsys.readouterr().err


@pytest.mark.parametrize("limit", [0, -3])
def test_a_limit_below_one_is_refused(limit, go, capsys):
    assert go("--limit", limit) == 2
    assert f"--limit is {limit}, but should be at least 1" in capsys.readouterr().err


def test_a_resume_keeps_the_limit(go, tmp_path, capsys):
    assert go("--limit", 16, "--epochs", 2, "--save-every", 2, "--run-name", "whole") == 0
    whole, killed = tmp_path / "runs" / "whole", tmp_path / "runs" / "killed"
    undone(whole, killed, 2)
    assert go("--resume", "--run-name", "killed", "--limit", 24) == 2
    assert "--limit is 24" in capsys.readouterr().err
    assert go("--resume", "--run-name", "killed") == 0
    assert same_weights(whole, killed) and [line["step"] for line in read_lines(killed, "validation")] == [2, 4]
