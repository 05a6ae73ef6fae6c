"""Rows of local files, with every value asserted: what is in the file is what comes out, or an error that names it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from pairft.data import files, shards
from pairft.errors import UserError

COLUMNS = ["sentence1", "sentence2", "label"]
PLAIN = [["NA", "null", "007"], ["nan", "1998", "1"], ["None", "true", "0"], ["1e5", "1,5", "-1"], [" a ", "N/A", "+1"]]
UNICODE = [
    "👩‍👩‍👧 ok",
    "e\u0301 is not \u00e9",
    "שלום (world) \u200fabc",
    "ไทย\u00a0中文",
    "a\u2028b\x85c",
    "\ufeffkept",
]


def read(*paths: Path, texts: Sequence[str] = ("sentence1", "sentence2")) -> list[list[Any]]:
    """Sentences and label of each row."""
    rows = files.read_files(list(paths), texts, "label", label_needed=False)
    return [[row.get(name) for name in (*texts, "label")] for row in rows.to_list()]


def read_one(*paths: Path) -> list[list[Any]]:
    return read(*paths, texts=["sentence1"])


def put(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def message_of(call: Any, *arguments: Any) -> str:
    with pytest.raises(UserError) as caught:
        call(*arguments)
    return str(caught.value)


def objects(rows: list[list[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(COLUMNS, row, strict=True)) for row in rows]


def as_table(rows: list[list[str]], between: str) -> str:
    quoted = [[f'"{value}"' if between == value[1:2] else value for value in row] for row in [COLUMNS, *rows]]
    return "".join(between.join(row) + "\n" for row in quoted)


FORMATS = {
    "csv": lambda rows: as_table(rows, ","),
    "tsv": lambda rows: as_table(rows, "\t"),
    "jsonl": lambda rows: "".join(json.dumps(row) + "\n" for row in objects(rows)),
    "json": lambda rows: json.dumps(objects(rows)),
}


@pytest.mark.parametrize("kind", FORMATS)
def test_text_stays_what_it_says(kind, tmp_path):
    rows = PLAIN + [[text, text, "1"] for text in UNICODE]
    assert read(put(tmp_path / f"train.{kind}", FORMATS[kind](rows))) == rows


def test_parquet_stays_what_it_says(tmp_path):
    rows = [[first, second, number] for number, (first, second, _) in enumerate(PLAIN)]
    table = pyarrow.Table.from_pylist([{**row, "other": [1]} for row in objects(rows)])
    pyarrow.parquet.write_table(table, tmp_path / "train.parquet")
    found = files.read_files([tmp_path / "train.parquet"], COLUMNS[:2], "label")
    assert found.column_names == COLUMNS
    assert found.to_list() == objects(rows)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_mark_of_utf8_and_the_line_ends_of_windows_are_no_text(kind, tmp_path):
    content = "\ufeff" + FORMATS[kind](PLAIN).replace("\n", "\r\n")
    assert read(put(tmp_path / f"train.{kind}", content)) == PLAIN


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl"])
def test_blank_lines_and_a_missing_last_line_end_change_nothing(kind, tmp_path):
    content = FORMATS[kind](PLAIN).replace("\n", "\n\n").rstrip("\n")
    assert read(put(tmp_path / f"train.{kind}", content)) == PLAIN


def test_columns_are_found_by_name_and_others_left_out(tmp_path):
    path = put(tmp_path / "train.csv", "idx,label,sentence2,sentence1\n7,1,b,a\n")
    assert read(path) == [["a", "b", "1"]]
    assert files.read_files([path], COLUMNS[:2], "label").column_names == COLUMNS
    assert files.read_files([path], ["sentence2"], "idx").to_list() == [{"sentence2": "b", "idx": "7"}]
    assert files.read_files([path], ["sentence2"], "score", label_needed=False).to_list() == [{"sentence2": "b"}]
    message = message_of(files.read_files, [path], ["sentence2"], "score")
    assert "train.csv" in message and "'score'" in message and "idx, label, sentence2, sentence1" in message


@pytest.mark.parametrize(
    ("name", "content", "rows"),
    [
        ("a.csv", 'sentence1,sentence2,label\n"one\ntwo, 3","say ""no""",1\n', [["one\ntwo, 3", 'say "no"', "1"]]),
        ("a.csv", 'sentence1,sentence2,label\n"one\r\n\r\ntwo",,\n', [["one\r\n\r\ntwo", "", ""]]),
        ("a.csv", 'sentence1,sentence2,label\nsay "no" now,5\'9",1\n', [['say "no" now', "5'9\"", "1"]]),
        ("a.csv", '"sentence1","sentence2","label"\n"",", ","0"\n', [["", ", ", "0"]]),
        ("a.csv", "sentence1,sentence2,label\ra,b,1\rc,d,0\r", [["a", "b", "1"], ["c", "d", "0"]]),
        ("a.tsv", 'sentence1\tsentence2\tlabel\n"a\tb"c\t1\n""\td"\t0\n', [['"a', 'b"c', "1"], ['""', 'd"', "0"]]),
        ("a.tsv", "sentence1\tsentence2\tlabel\na, b\tc\\n\t\n", [["a, b", "c\\n", ""]]),
        ("a.json", '{"sentence1": "\\n\\u00e9\\ud83d\\ude00", "sentence2": "\\"", "label": 1}', [["\né😀", '"', "1"]]),
    ],
)  # fmt: skip
def test_quotes_and_line_ends_within_fields(name, content, rows, tmp_path):
    assert read(put(tmp_path / name, content)) == rows


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "sentence1,sentence2,label\na,b,1\nc,d\n", ["row 2", "2 fields", "3"]),
        ("a.csv", "sentence1,sentence2,label\na,b,1\n\nc,d,1,e\n", ["row 2", "4 fields", "3"]),
        ("a.tsv", "sentence1\tsentence2\tlabel\na\tb\n", ["row 1", "2 fields", "3"]),
        ("a.tsv", "sentence1\tsentence2\tlabel\na\tb\tc\td\n", ["row 1", "4 fields", "3"]),
        ("a.csv", 'sentence1,sentence2,label\na,b,1\n"c,d,1\ne,f,0\n', ["row 2"]),
        ("a.csv", 'sentence1,sentence2,label\n"a"b,c,1\n', ["row 1"]),
        ("a.csv", "sentence1,sentence2,sentence1\na,b,c\n", ["twice", "sentence1"]),
        ("a.tsv", "label\tsentence1\tsentence2\tlabel\n1\tb\tc\t0\n", ["twice", "label"]),
        ("a.csv", "first,second\na,b\n", ["sentence1", "first, second"]),
        ("a.jsonl", '{"first": "a"}\n', ["sentence1", "first"]),
    ],
)
def test_a_row_that_makes_no_sense_is_named(name, content, words, tmp_path):
    message = message_of(read, put(tmp_path / name, content))
    assert all(word in message for word in [name, *words]), message


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("content", ["", "\n \n", "\ufeff"])
def test_an_empty_file_says_so(kind, content, tmp_path):
    assert f"train.{kind} is empty" in message_of(read, put(tmp_path / f"train.{kind}", content))


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.csv", "sentence1,sentence2,label\n"), ("a.tsv", "sentence1\tsentence2\tlabel"), ("a.json", " [ ]")],
)
def test_a_file_without_rows_says_so(name, content, tmp_path):
    message = message_of(read, put(tmp_path / name, content))
    assert name in message and ("no rows" in message or "empty" in message)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    ("coding", "name"), [("cp1252", "Windows-1252 (größe)"), ("utf-16", "UTF-16"), ("utf-32", "UTF-32")]
)
def test_another_encoding_than_utf8_is_read_and_said(kind, coding, name, tmp_path, capsys):
    rows = [[value.replace("1998", "größe") for value in row] for row in PLAIN]
    content = FORMATS[kind](rows).replace("\\u00f6", "ö").replace("\\u00df", "ß")
    path = put(tmp_path / f"train.{kind}", content.encode(coding))
    assert read(path) == rows
    assert f"{path} is not UTF-8; read as {name}" in capsys.readouterr().err.splitlines()


def test_a_wrong_byte_in_utf8_is_named_with_its_line(tmp_path):
    """Far behind the first block that the decoder reads, and not at a block's begin."""
    lines = ["sentence1,sentence2,label", *[f"satz für {number},b,1" for number in range(2000)]]
    content = "\n".join(lines).encode("utf-8").replace("satz für 1500,".encode(), b"satz f\xfcr 1500,")
    message = message_of(read, put(tmp_path / "train.csv", content))
    assert "0xfc" in message and "line 1502 is not UTF-8" in message


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_a_parquet_file_cut_short_is_named(keep, tmp_path, capfd):
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(objects(PLAIN)), tmp_path / "whole.parquet")
    path = put(tmp_path / "train.parquet", (tmp_path / "whole.parquet").read_bytes()[:keep])
    assert "train.parquet" in message_of(read, path)
    assert capfd.readouterr().err == ""  # the message is said by whoever catches it, and only once


def test_a_parquet_file_without_rows_or_columns_says_so(tmp_path):
    table = pyarrow.Table.from_pylist(objects(PLAIN))
    pyarrow.parquet.write_table(table.slice(0, 0), tmp_path / "none.parquet")
    assert "none.parquet is empty: it has no rows" in message_of(read, tmp_path / "none.parquet")
    pyarrow.parquet.write_table(table.rename_columns(["first", "second", "third"]), tmp_path / "other.parquet")
    message = message_of(read, tmp_path / "other.parquet")
    assert "sentence1" in message and "first, second, third" in message


def test_a_changed_file_is_read_again(tmp_path):
    path = tmp_path / "train.csv"
    for text in ("one", "two", "three"):
        assert read(put(path, f"sentence1,sentence2,label\n{text},b,1\n")) == [[text, "b", "1"]]


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_shards_are_read_in_their_order(kind, tmp_path):
    for number in range(3):
        path = tmp_path / f"train-{number:05d}-of-00003.{kind}"
        rows = [[f"s{number}", "b", "1"]]
        if kind == "parquet":
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(objects(rows)), path)
        else:
            put(path, FORMATS[kind](rows))
    found = shards.split_files(tmp_path, "train")
    assert [path.name for path in found] == [f"train-{number:05d}-of-00003.{kind}" for number in range(3)]
    assert [row[0] for row in read(*found)] == ["s0", "s1", "s2"]


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["train.csv", "train.txt", "training.csv", "my-train.csv"], ["train.csv"]),
        (["train-0.jsonl", "train-1.jsonl"], ["train-0.jsonl", "train-1.jsonl"]),
        (["train-00000-of-00001-2f1c0a9be4d7316c.parquet"], ["train-00000-of-00001-2f1c0a9be4d7316c.parquet"]),
        (["test.csv", "validation.csv"], []),
    ],
)
def test_the_files_of_a_split_are_found_by_name(names, found, tmp_path):
    for name in names:
        put(tmp_path / name, "x")
    (tmp_path / "train.json").mkdir()  # a folder is no file
    assert [path.name for path in shards.split_files(tmp_path, "train")] == found


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["train.csv", "train.jsonl"], "more than once"),
        (["train.csv", "train-00000-of-00001.csv"], "more than once"),
        (["train-00000-of-00003.csv", "train-00002-of-00003.csv"], "2 of the 3"),
        (["train-00001-of-00002.parquet"], "1 of the 2"),
        (["train-00001-of-00002-9b0e77aa51c2d4f8.parquet"], "1 of the 2"),
        (["train-00000-of-00002.csv", "train-00001-of-00003.csv"], "train"),
    ],
)
def test_a_split_given_twice_or_in_part_is_named(names, words, tmp_path):
    for name in names:
        put(tmp_path / name, "x")
    message = message_of(shards.split_files, tmp_path, "train")
    assert words in message and str(tmp_path) in message
