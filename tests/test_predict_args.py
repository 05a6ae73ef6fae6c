"""What predict refuses before it computes anything, and what is said of it."""

import json

import pytest
from conftest import write_rows
from test_predict import main, rows, trained, without, write_as  # noqa: F401  (fixtures)

GOOD = {"--model": "TRAINED", "--data": "pairs.jsonl", "--output": "out/answers.csv"}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"--data": "gone.csv"}, ["--data gone.csv", "exist"]),
        ({"--data": "out"}, ["--data out", "folder"]),
        ({"--data": "notes.txt"}, ["--data notes.txt", ".jsonl"]),
        ({"--data": None}, ["--data", "--text"]),
        ({"--text": ["a", "b"]}, ["--data", "--text"]),
        ({"--data": None, "--text": ["a"]}, ["--text", "2"]),
        ({"--data": None, "--text": ["a", " "]}, ["--text", "empty"]),
        ({"--output": "out/answers.xlsx"}, ["--output out/answers.xlsx", ".parquet"]),
        ({"--output": "notes.txt/answers.csv"}, ["--output notes.txt/answers.csv"]),
        ({"--output": "taken.csv"}, ["--output taken.csv is a folder", "write taken.csv/ for several files"]),
        ({"--data": "unlabelled.csv", "--output": None}, ["unlabelled.csv", "--output"]),
        ({"--model": "TINY", "--text-columns": "sentence1,sentence2"}, ["--model", "best or last"]),
        ({"--model": "gone/best"}, ["--model gone/best"]),
        ({"--model": None}, ["--model"]),
        ({"--device": "tpu"}, ["--device", "tpu", "cpu"]),
        ({"--text-columns": "sentence1,other"}, ["'other'", "sentence2"]),
        ({"--text-columns": "sentence1,sentence2,label"}, ["--text-columns", "two"]),
        ({"--data": "odd.jsonl", "--output": None}, ["odd.jsonl", "row 2", "'perhaps'", "equivalent"]),
        ({"--data": "blank.jsonl"}, ["blank.jsonl", "row 2", "'sentence2'"]),
        ({"--data": "cut.jsonl"}, ["cut.jsonl", "row 2"]),
        ({"--data": "nothing.csv"}, ["nothing.csv"]),
        ({"--ouput": "x.csv"}, ["--ouput", "--output"]),
    ],
)
def test_what_is_refused(changes, named, trained, tiny_model, rows, tmp_path, monkeypatch, capsys):  # noqa: F811
    write_rows(tmp_path / "pairs.jsonl", rows[:3])
    write_rows(tmp_path / "odd.jsonl", [rows[0], {**rows[1], "label": "perhaps"}])
    write_rows(tmp_path / "blank.jsonl", [rows[0], {**rows[1], "sentence2": " "}])
    (tmp_path / "cut.jsonl").write_text(json.dumps(rows[0]) + "\n" + json.dumps(rows[1])[:40] + "\n")
    write_as(tmp_path / "unlabelled.csv", without(rows[:3], "label"))
    (tmp_path / "nothing.csv").write_text("sentence1,sentence2,label\n")
    (tmp_path / "notes.txt").write_text("a\tb\n")
    (tmp_path / "out").mkdir()
    (tmp_path / "taken.csv").mkdir()
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path)
    folders = {"TRAINED": str(trained), "TINY": str(tiny_model)}
    given = {flag: value for flag, value in {"--device": "cpu", **GOOD, **changes}.items() if value is not None}
    flags = []
    for flag, value in given.items():
        flags += [flag, *([folders.get(value, value)] if isinstance(value, str) else value)]
    capsys.readouterr()
    code = main(*flags)
    printed = capsys.readouterr()
    assert code == 2, printed
    assert printed.out == ""
    [message] = printed.err.splitlines()
    assert message.startswith("error: ") and all(text in message for text in named), message
    assert sorted(tmp_path.rglob("*")) == before
