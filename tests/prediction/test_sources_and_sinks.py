"""Rows keep their order and all of their own columns, from every kind of source to every kind of output."""

import csv
import datetime
import gzip
import io
import json
import sys
from typing import Any

import pyarrow
import pytest
from conftest import some_pairs, write_rows
from models import NAMES, classifier, logits_of, run
from pyarrow import parquet

from pairft.prediction import sources

ANSWERS = ["label", *(f"probability_{name}" for name in NAMES)]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return classifier(tmp_path_factory.mktemp("models"))


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(sources, "BLOCK_ROWS", 8)


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    made = [{name: row[name] for name in ("sentence1", "sentence2")} for row in some_pairs("test", 30)]
    made[4]["sentence1"] = 'He said "no", then\nleft.'
    return made


@pytest.fixture(scope="module")
def labels(model, rows) -> list[str]:
    return [NAMES[index] for index in logits_of(model, rows).argmax(axis=1)]


def table_text(rows: list[dict[str, Any]], delimiter: str = ",") -> str:
    file = io.StringIO()
    writer = csv.DictWriter(file, rows[0], delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def read_table(text: str, delimiter: str = ",") -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text), delimiter=delimiter))


def test_json_keeps_every_value_as_it_is_written(model, rows, labels, tmp_path):
    own = [
        {"id": 12345678901234567890, "tags": ["a", {"b": None}], "price": 1.50, "none": None, "ok": True, "text": "é"},
        {"id": "007"},
    ]
    given = [{**own[number % 2], **row} for number, row in enumerate(rows)]
    write_rows(tmp_path / "in.jsonl", given)
    assert run(model, "--data", tmp_path / "in.jsonl", "--output", tmp_path / "out.jsonl") == 0
    lines = (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()
    assert '"id": 12345678901234567890' in lines[0] and '"price": 1.5' in lines[0]
    found = [json.loads(line) for line in lines]
    assert [{k: v for k, v in row.items() if k not in ANSWERS} for row in found] == given  # and no key more
    assert [row["label"] for row in found] == labels


def test_a_table_keeps_its_text_and_may_be_compressed(model, rows, labels, tmp_path):
    given = [{"id": f"{number:03}", "note": "NA", **row} for number, row in enumerate(rows)]
    with gzip.open(tmp_path / "in.csv.gz", "wt", encoding="utf-8", newline="") as file:
        file.write(table_text(given))
    assert run(model, "--data", tmp_path / "in.csv.gz", "--output", tmp_path / "out.tsv.gz") == 0
    with gzip.open(tmp_path / "out.tsv.gz", "rt", encoding="utf-8", newline="") as file:
        found = read_table(file.read(), "\t")
    assert [list(row) for row in found] == [["id", "note", "sentence1", "sentence2", *ANSWERS]] * 30
    assert [{name: row[name] for name in given[0]} for row in found] == given
    assert [row["label"] for row in found] == labels
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv.gz", "out.tsv.gz"]


@pytest.mark.parametrize("kind", ["csv", "tsv"])
def test_a_carriage_return_is_quoted(kind, model, tmp_path):
    """Python's csv module does so itself only from version 3.13 on."""
    rows = [{"sentence1": "old\rMac", "sentence2": "b\r\n"}, {"sentence1": "c\nd", "sentence2": "e"}]
    write_rows(tmp_path / "in.jsonl", rows)
    assert run(model, "--data", tmp_path / "in.jsonl", "--output", tmp_path / f"out.{kind}") == 0
    text = (tmp_path / f"out.{kind}").read_bytes().decode()
    assert text.splitlines(keepends=True)[0].endswith("probability_maybe\n") and text.endswith("\n")
    with (tmp_path / f"out.{kind}").open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file, delimiter="\t" if kind == "tsv" else ","))
    assert [{name: row[name] for name in rows[0]} for row in found] == rows


def test_files_of_a_folder_may_differ_in_types_and_columns(model, tmp_path, capsys):
    pair = {"sentence1": ["a", "b"], "sentence2": ["c", "d"]}
    ids = (pyarrow.nulls(2), pyarrow.array([1, 2], pyarrow.int32()), pyarrow.array([None, 2.5]))
    (tmp_path / "in").mkdir()
    for number, values in enumerate(ids):
        table = pyarrow.table({"id": values, **pair} | ({"more": ["e", "f"]} if number == 1 else {}))
        parquet.write_table(table, tmp_path / "in" / f"{number}.parquet")
    assert run(model, "--data", tmp_path / "in", "--output", tmp_path / "out.parquet") == 0
    assert parquet.read_table(tmp_path / "out.parquet").column("id").to_pylist() == [None, None, 1, 2, None, 2.5]
    assert "1.parquet: 'more' left out, since" in capsys.readouterr().err
    parquet.write_table(pyarrow.table({"id": ["x", "y"], **pair}), tmp_path / "in" / "3.parquet")
    assert run(model, "--data", tmp_path / "in", "--output", tmp_path / "other.parquet") == 2
    [message] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert "in/0.parquet or another of its 4 files" in message and "id" in message


def test_a_column_that_is_there_twice_is_left_out(model, tmp_path, capsys):
    arrays = [pyarrow.array([text]) for text in "abcd"]
    names = ["sentence1", "sentence2", "twice", "twice"]
    parquet.write_table(pyarrow.Table.from_arrays(arrays, names=names), tmp_path / "in.parquet")
    assert run(model, "--data", tmp_path / "in.parquet", "--output", tmp_path / "out.parquet") == 0
    assert parquet.read_table(tmp_path / "out.parquet").column_names == ["sentence1", "sentence2", *ANSWERS]
    assert "several columns 'twice', which are left out" in capsys.readouterr().err


def test_half_a_character_in_another_column_is_kept_where_it_can_be(model, tmp_path):
    (tmp_path / "in.jsonl").write_text(r'{"sentence1": "a", "sentence2": "b", "note": "cut \ud83d"}' + "\n")
    for suffix in ("jsonl", "csv", "parquet"):
        assert run(model, "--data", tmp_path / "in.jsonl", "--output", tmp_path / f"out.{suffix}") == 0
    assert r'"note": "cut \ud83d"' in (tmp_path / "out.jsonl").read_text(encoding="utf-8")
    assert read_table((tmp_path / "out.csv").read_text(encoding="utf-8"))[0]["note"] == "cut \ufffd"
    assert parquet.read_table(tmp_path / "out.parquet").column("note").to_pylist() == ["cut \ufffd"]


def test_parquet_keeps_its_types(model, rows, labels, tmp_path):
    number = pyarrow.array(range(30), pyarrow.int16())
    columns = {name: [row[name] for row in rows] for name in ("sentence1", "sentence2")}
    day = pyarrow.array([datetime.date(2026, 11, 1)] * 30, pyarrow.date32())
    table = pyarrow.table({"number": number, **columns, "day": day, "list": [[1, 2]] * 29 + [None]})
    parquet.write_table(table, tmp_path / "in.parquet", row_group_size=11)
    assert run(model, "--data", tmp_path / "in.parquet", "--output", tmp_path / "out.parquet") == 0
    found = parquet.read_table(tmp_path / "out.parquet")
    assert found.select(table.column_names).equals(table)
    assert found.column("label").to_pylist() == labels
    assert run(model, "--data", tmp_path / "out.parquet", "--output", tmp_path / "out.csv") == 0
    again = read_table((tmp_path / "out.csv").read_text(encoding="utf-8"))
    assert again[0]["day"] == "2026-11-01" and again[0]["list"] == "[1, 2]" and again[29]["list"] == ""
    assert [row["given_label"] for row in again] == [row["label"] for row in again] == labels


def test_the_files_of_a_folder_are_one_source(model, rows, labels, tmp_path, capsys):
    folder = tmp_path / "shards"
    for number in range(3):
        write_rows(folder / f"part-{number}.jsonl", rows[number * 10 : number * 10 + 10])
    assert run(model, "--data", folder, "--output", tmp_path / "out.json") == 0
    assert [row["label"] for row in json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))] == labels
    assert "30 rows written to" in capsys.readouterr().err
    assert run(model, "--data", folder, "--output", folder / "out.json") == 2
    write_rows(folder / "part-1.jsonl", [{"sentence1": "a", "sentence2": "b"}, {"sentence1": "", "sentence2": "b"}])
    assert run(model, "--data", folder, "--output", tmp_path / "out2.json") == 2
    assert "part-1.jsonl, row 2: 'sentence1' is empty" in capsys.readouterr().err


class Standard:
    def __init__(self, content: bytes) -> None:
        self.buffer = io.BytesIO(content)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "jsonl.gz", "tsv"])
def test_from_standard_input_to_standard_output(kind, model, rows, labels, monkeypatch, capsys):
    text = table_text(rows, "\t" if kind == "tsv" else ",")
    content = text.encode() if kind in ("csv", "tsv") else "".join(json.dumps(row) + "\n" for row in rows).encode()
    monkeypatch.setattr(sys, "stdin", Standard(gzip.compress(content) if kind.endswith("gz") else content))
    flags = ("--format", kind) if kind in ("csv", "tsv") else ()
    assert run(model, "--data", "-", "--output", "-", *flags) == 0
    out = capsys.readouterr().out
    if flags:
        found = read_table(out, "\t" if kind == "tsv" else ",")
    else:
        found = [json.loads(line) for line in out.splitlines()]
    assert [{name: row[name] for name in rows[0]} for row in found] == rows
    assert [row["label"] for row in found] == labels


def test_what_is_wrong_with_standard_input_is_said_before_anything_is_written(model, monkeypatch, capsys):
    good = json.dumps({"sentence1": "a", "sentence2": "b"})
    for content, said in ((b"", "standard input is empty"), (f"{good}\n{{}}\n".encode(), "standard input, row 2: ")):
        monkeypatch.setattr(sys, "stdin", Standard(content))
        assert run(model, "--data", "-", "--output", "-") == 2
        printed = capsys.readouterr()
        assert printed.out == "" and said in printed.err and len(printed.err.splitlines()) == 1
    monkeypatch.setattr(sys, "stdin", None)  # as Python has it if the descriptor was closed
    assert run(model, "--data", "-", "--output", "-") == 2
    assert "standard input is closed" in capsys.readouterr().err


def test_columns_arrives(model, rows, labels, tmp_path, capsys):
    write_rows(tmp_path / "in.jsonl", [{"id": number, **row} for number, row in enumerate(rows)])
    flags = ("--data", tmp_path / "in.jsonl", "--output", tmp_path / "out.csv", "--columns")
    assert run(model, *flags, "label,id") == 0
    found = read_table((tmp_path / "out.csv").read_text(encoding="utf-8"))
    assert found == [{"label": label, "id": str(number)} for number, label in enumerate(labels)]
    capsys.readouterr()
    for wrong, said in (("label,ids", "names 'ids', but the columns are: id, "), ("id,id", "each once")):
        assert run(model, *flags, wrong) == 2
        assert said in capsys.readouterr().err
    assert read_table((tmp_path / "out.csv").read_text(encoding="utf-8")) == found


def test_top_k_arrives(model, rows, labels, tmp_path):
    write_rows(tmp_path / "in.jsonl", rows)
    flags = ("--top-k", 2, "--columns", "label,probability,label_2,probability_2")
    assert run(model, "--data", tmp_path / "in.jsonl", "--output", tmp_path / "out.csv", *flags) == 0
    found = read_table((tmp_path / "out.csv").read_text(encoding="utf-8"))
    assert [row["label"] for row in found] == labels
    assert all(float(row["probability"]) >= float(row["probability_2"]) for row in found)
