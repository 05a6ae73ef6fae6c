"""Looks at labelled rows that are no validation split are recorded, and the second one is warned about."""

import json
from pathlib import Path
from typing import Any

import pytest
from compared import copy_run, refused, result, train_runs

from pairft import compare, predict
from pairft.runs import looks


@pytest.fixture(scope="module")
def trained(tiny_model: Path, pairs_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs: one, and a group of two seeds."""
    return train_runs(tmp_path_factory.mktemp("looks"), tiny_model, pairs_folder, one=[], group=["--seeds", "1,2"])


@pytest.fixture
def runs(trained: Path, tmp_path: Path) -> list[Path]:
    """Two runs with equal weights."""
    return [copy_run(trained / "one", tmp_path / "runs" / name, seed=seed) for seed, name in enumerate("ab")]


def lines(run: Path) -> list[dict[str, Any]]:
    file = run / "test_looks.jsonl"
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


def predicted(capsys: pytest.CaptureFixture[str], model: Path, data: Path, *flags: str) -> str:
    """What predict prints on standard error."""
    capsys.readouterr()
    assert predict.main(["--model", str(model), "--data", str(data), *flags]) == 0
    return capsys.readouterr().err


def test_the_second_look_by_any_model_is_warned_about(runs, pairs_folder, capsys):
    test, copy = pairs_folder / "test.jsonl", runs[0].parent / "shuffled.jsonl"
    assert "looked at" not in predicted(capsys, runs[0] / "best", test)
    [line] = lines(runs[0])
    assert line["rows"] == 10 and line["scored"] == "best" and len(line["rows_fingerprint"]) == 64
    assert f"--data {test}" in line["command"] and line["date"][:2] == "20"
    copy.write_text("".join(reversed(test.read_text(encoding="utf-8").splitlines(keepends=True))), encoding="utf-8")
    said = predicted(capsys, runs[1] / "last", copy)
    assert (
        "warning: this test split has been looked at 2 times" in said
        and "choosing by it makes its scores too good" in said
    )
    assert lines(runs[1])[0]["rows_fingerprint"] == line["rows_fingerprint"] and lines(runs[1])[0]["scored"] == "last"
    found = result(*runs, "--data", test)
    assert any("looked at 3 times" in note for note in found["notes"])
    assert len(lines(runs[0])) == len(lines(runs[1])) == 2  # one command is one look of each model
    assert "looked at 4 times" in predicted(capsys, runs[0] / "best", test)


def test_other_rows_and_the_validation_split_are_no_second_look(runs, pairs_folder, capsys):
    predicted(capsys, runs[0] / "best", pairs_folder / "test.jsonl")
    assert "looked" not in predicted(capsys, runs[0] / "best", pairs_folder / "train.jsonl")
    for _ in range(2):
        assert "looked" not in predicted(capsys, runs[0] / "best", pairs_folder / "validation.jsonl")
    assert len(lines(runs[0])) == 2


def test_rows_without_labels_are_no_look(runs, pairs_folder, tmp_path, capsys):
    rows = [json.loads(line) for line in (pairs_folder / "test.jsonl").read_text(encoding="utf-8").splitlines()]
    bare = tmp_path / "bare.jsonl"
    bare.write_text("".join(json.dumps({**row, "label": -1}) + "\n" for row in rows), encoding="utf-8")
    predicted(capsys, runs[0] / "best", bare, "--output", str(tmp_path / "answers.csv"))
    assert not lines(runs[0])


def test_a_look_that_cannot_be_recorded(runs, pairs_folder, capsys):
    (runs[0] / "test_looks.jsonl").mkdir()  # nobody, not even root, can write to it
    said = predicted(capsys, runs[0] / "best", pairs_folder / "test.jsonl")
    assert "note: this look at labelled rows can't be recorded" in said


def test_edited_records_are_passed_over(runs, pairs_folder, capsys):
    test = pairs_folder / "test.jsonl"
    predicted(capsys, runs[0] / "best", test)
    file = runs[0] / "test_looks.jsonl"
    file.write_text("not JSON\n[]\n" + file.read_text(encoding="utf-8") + "{}\n", encoding="utf-8")
    assert "looked at 2 times" in predicted(capsys, runs[1] / "best", test)


def test_seeds_of_a_group_see_the_runs_beside_it(trained, pairs_folder, tmp_path, capsys):
    runs = tmp_path / "runs"
    copy_run(trained / "group", runs / "group")
    test = pairs_folder / "test.jsonl"
    predicted(capsys, runs / "group" / "seed-1" / "best", test)
    assert "looked at 2 times" in predicted(capsys, runs / "group" / "seed-2" / "best", test)
    alone = copy_run(runs / "group" / "seed-1", runs / "alone")
    (alone / "test_looks.jsonl").unlink()
    assert "looked at 3 times" in predicted(capsys, alone / "best", test)


def test_rows_are_the_same_in_any_order_and_in_blocks():
    rows, labels = [("a", "b"), ("c", "d"), ("a", "b")], ["x", "y", "x"]
    whole = looks.labelled_rows(rows, labels)
    assert whole == looks.labelled_rows(rows[::-1], labels[::-1])
    assert whole == looks.labelled_rows(rows[:1], labels[:1]) + looks.labelled_rows(rows[1:], labels[1:])
    assert whole != looks.labelled_rows(rows[:2], labels[:2]) and whole != looks.labelled_rows(rows, ["x", "y", "y"])


def test_models_are_scored_on_rows_of_your_own(runs, pairs_folder, capsys):
    """The scores are those that predict prints."""
    test = pairs_folder / "test.jsonl"
    found = result(*runs, "--data", test)
    assert predict.main(["--model", str(runs[0] / "best"), "--data", str(test)]) == 0
    printed = capsys.readouterr().out
    for name in ("accuracy", "f1", "loss"):
        assert f"{name} {found['sides'][0]['scores'][name]['value']:.4f}" in printed
    assert found["num_rows"] == 10 and found["comparisons"][0]["test"]["p"] == 1.0
    assert not any("best/ was chosen" in note for note in found["notes"])
    assert "no column" in refused(capsys, *runs, "--data", test, "--label-column", "verdict")
    assert compare.main([*map(str, runs), "--data", str(test), "--text-columns", "sentence2,sentence1"]) == 0
