"""Rows without text or that can't be read: an error before anything is written, or --on-bad-row."""

import csv
import json

import numpy
import pytest
from conftest import some_pairs
from models import NAMES, classifier, logits_of, run
from pyarrow import parquet

from pairft.prediction import sources

PAIR = ("sentence1", "sentence2")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return classifier(tmp_path_factory.mktemp("models"))


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(sources, "BLOCK_ROWS", 4)


@pytest.fixture(scope="module")
def rows():
    return [{"id": str(number), **{n: row[n] for n in PAIR}} for number, row in enumerate(some_pairs("test", 12))]


def lines_of(rows) -> list[str]:
    """JSON Lines with two rows that can't be read and two that lack a sentence."""
    lines = [json.dumps(row) for row in rows]
    lines[2] = lines[2][:30]
    lines[5] = json.dumps({**rows[5], "sentence2": "  "})
    lines[6] = json.dumps({"id": "6", "sentence1": "alone"})
    lines[9] = json.dumps({**rows[9], "sentence1": ["a", "list"]})
    return lines


GOOD = [0, 1, 3, 4, 7, 8, 10, 11]


@pytest.fixture(scope="module")
def labels(model, rows):
    return [NAMES[index] for index in logits_of(model, [rows[number] for number in GOOD]).argmax(axis=1)]


def test_an_error_names_the_row_and_nothing_is_written(model, rows, tmp_path, capsys):
    lines = lines_of(rows)
    for text, said in (
        (lines, "in.jsonl, row 3: not JSON"),
        ([*lines[3:6], *lines[6:7]], "in.jsonl, row 3: 'sentence2' is empty"),
        ([*lines[3:6], *lines[6:7]], "(and 1 more such rows)"),
        (lines[9:10], "'sentence1' holds a list"),
    ):
        (tmp_path / "in.jsonl").write_text("\n".join(text) + "\n", encoding="utf-8")
        assert run(model, "--data", tmp_path / "in.jsonl", "--output", tmp_path / "out.csv") == 2
        [message] = capsys.readouterr().err.splitlines()
        assert said in message and "--on-bad-row skip" in message
        assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def rows_in(output):
    if output.suffix == ".csv":
        return list(csv.DictReader(output.open(encoding="utf-8", newline="")))
    if output.suffix == ".jsonl":
        return [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    return parquet.read_table(output).to_pylist()


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_bad_rows_are_left_out(suffix, model, rows, labels, tmp_path, capsys):
    (tmp_path / "in.jsonl").write_text("\n".join(lines_of(rows)) + "\n", encoding="utf-8")
    output = tmp_path / f"out.{suffix}"
    assert run(model, "--data", tmp_path / "in.jsonl", "--output", output, "--on-bad-row", "skip") == 0
    found = rows_in(output)
    assert [(row["id"], row["label"]) for row in found] == [
        (str(n), label) for n, label in zip(GOOD, labels, strict=True)
    ]
    said = capsys.readouterr().err
    assert "4 of 12 rows of" in said and "are left out (rows 3, 6, 7, …)" in said and "8 rows written" in said


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_bad_rows_have_no_answer(suffix, model, rows, labels, tmp_path, capsys):
    (tmp_path / "in.jsonl").write_text("\n".join(lines_of(rows)) + "\n", encoding="utf-8")
    output = tmp_path / f"out.{suffix}"
    assert run(model, "--data", tmp_path / "in.jsonl", "--output", output, "--on-bad-row", "null") == 0
    found = rows_in(output)
    assert len(found) == 12
    assert [found[number]["label"] for number in GOOD] == labels
    for number in set(range(12)) - set(GOOD):
        assert not found[number]["label"] and not found[number]["probability_yes"]
    assert found[9]["id"] == "9" and found[6]["sentence1"] == "alone"
    assert "4 of 12 rows of" in capsys.readouterr().err


def test_rows_of_a_table_with_a_wrong_number_of_fields(model, rows, labels, tmp_path, capsys):
    lines = ["id,sentence1,sentence2", *(f'{row["id"]},"{row["sentence1"]}","{row["sentence2"]}"' for row in rows)]
    lines[3], lines[6], lines[7], lines[10] = "2,one", "5,,b", "6,a, ", "9,a,b,c"
    (tmp_path / "in.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    flags = ("--data", tmp_path / "in.csv", "--output", tmp_path / "out.csv")
    assert run(model, *flags) == 2
    [message] = capsys.readouterr().err.splitlines()
    assert "in.csv, row 3 (line 4): 2 fields" in message and "--on-bad-row skip" in message
    assert run(model, *flags, "--on-bad-row", "skip") == 0
    found = list(csv.DictReader((tmp_path / "out.csv").open(encoding="utf-8", newline="")))
    assert [(row["id"], row["label"]) for row in found] == [
        (str(n), label) for n, label in zip(GOOD, labels, strict=True)
    ]
    assert run(model, *flags, "--on-bad-row", "null") == 0
    found = list(csv.DictReader((tmp_path / "out.csv").open(encoding="utf-8", newline="")))
    assert [row["id"] for row in found] == [str(number) for number in range(12)]
    assert [row["label"] for row in found if row["label"]] == labels


def test_labels_of_rows_that_are_left_out_are_not_scored(model, rows, labels, tmp_path, capsys):
    given = [{**row, "label": NAMES[number % 3]} for number, row in enumerate(rows)]
    given[4]["sentence1"], given[5]["sentence2"] = "", None
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in given), encoding="utf-8")
    kept = [row for number, row in enumerate(given) if number not in (4, 5)]
    predicted = logits_of(model, kept).argmax(axis=1)
    right = [NAMES[index] == row["label"] for index, row in zip(predicted, kept, strict=True)]
    for what in ("skip", "null"):
        assert run(model, "--data", tmp_path / "in.jsonl", "--on-bad-row", what) == 0
        assert f"accuracy {numpy.mean(right):.4f}" in (printed := capsys.readouterr().out) and "(10 rows)" in printed


@pytest.mark.parametrize(("what", "number"), [("skip", 1), ("null", 9)])
def test_a_block_of_bad_rows_alone(what, number, model, rows, tmp_path):
    given = [{**row, "sentence1": ""} for row in rows[:8]] + rows[8:9]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in given), encoding="utf-8")
    assert run(model, "--data", tmp_path / "in.jsonl", "--output", tmp_path / "o.jsonl", "--on-bad-row", what) == 0
    found = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(found) == number and found[-1]["label"] in NAMES


def test_a_flag_without_effect_is_said(model, rows, tmp_path, capsys):
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    flags = ("--data", tmp_path / "in.jsonl", "--output", tmp_path / "out.csv")
    assert run(model, *flags, "--on-bad-row", "skip") == 0
    assert "note: --on-bad-row skip has no effect" in capsys.readouterr().err


def test_a_row_without_fields_beside_an_irregular_quote(model, tmp_path, capsys):
    """A quote within a field that isn't quoted has the whole file checked."""
    (tmp_path / "in.csv").write_text('sentence1,sentence2\n"a, b",c\n5" pipe,d\nalone\ne,f\n', encoding="utf-8")
    flags = ("--data", tmp_path / "in.csv", "--output", tmp_path / "out.csv")
    assert run(model, *flags) == 2
    assert "in.csv, row 3 (line 4): 1 fields" in capsys.readouterr().err
    assert run(model, *flags, "--on-bad-row", "skip") == 0
    found = list(csv.DictReader((tmp_path / "out.csv").open(encoding="utf-8", newline="")))
    assert [row["sentence1"] for row in found] == ["a, b", '5" pipe', "e"]
    (tmp_path / "in.csv").write_text('sentence1,sentence2\nalone\n"a,b\n', encoding="utf-8")
    capsys.readouterr()
    assert run(model, *flags, "--on-bad-row", "skip") == 2
    assert "row 2 (line 3): a quote is not closed" in capsys.readouterr().err


def test_half_a_character_can_not_be_read(model, tmp_path):
    lines = [r'{"sentence1": "cut \ud83d", "sentence2": "b"}', '{"sentence1": "a", "sentence2": "b"}']
    (tmp_path / "in.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    output = tmp_path / "out.jsonl"
    assert run(model, "--data", tmp_path / "in.jsonl", "--output", output, "--on-bad-row", "null") == 0
    found = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert found[0]["sentence1"] == "cut \ud83d" and [row["label"] in NAMES for row in found] == [False, True]


def test_labels_of_bad_rows_alone(model, rows, tmp_path, capsys):
    given = [{**rows[0], "sentence1": "", "label": "yes"}, {**rows[1], "label": None}]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in given), encoding="utf-8")
    output = tmp_path / "out.jsonl"
    assert run(model, "--data", tmp_path / "in.jsonl", "--output", output, "--on-bad-row", "null") == 0
    printed = capsys.readouterr()
    assert printed.out == "" and "not scored: no row with an answer has a label" in printed.err
