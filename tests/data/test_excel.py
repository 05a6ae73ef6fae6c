"""Excel workbooks: cells as text, the sheet that has the columns, and errors with their cell."""

import datetime
import sys
from pathlib import Path
from typing import Any

import openpyxl
import pandas
import pytest
from conftest import some_pairs

from pairft.data import files
from pairft.errors import UserError


def put(path: Path, **sheets: list[list[Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


def read(path: Path, texts: tuple[str, ...] = ("a", "b"), **more: Any) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in files.read_files([path], texts, "y", **more).to_list()]


def message_of(path: Path, **more: Any) -> str:
    with pytest.raises(UserError) as caught:
        read(path, **more)
    return str(caught.value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("NA", "NA"),
        ("007", "007"),
        (" x\ny ", " x\ny "),
        ("👩 é", "👩 é"),
        ("a_x000D_b", "a\rb"),
        ("#N/A yet", "#N/A yet"),
        (7, "7"),
        (7.0, "7"),
        (-1, "-1"),
        (0.1, "0.1"),
        (1e-7, "1e-07"),
        (123456789012, "123456789012"),
        (True, "true"),
        (False, "false"),
        (datetime.date(2024, 1, 31), "2024-01-31"),
        (datetime.datetime(2024, 1, 31, 3, 4, 5), "2024-01-31T03:04:05"),
        (datetime.time(3, 4, 5), "03:04:05"),
        (None, None),
    ],
)
def test_a_cell_as_text(value, text, tmp_path):
    path = put(tmp_path / "train.xlsx", Sheet=[["a", "b", "y"], ["x", "z", "no"], [value, "z", value]])
    assert read(path) == [("x", "z", "no"), (text, "z", text)]


ROWS = [("x", "z", "1"), ("NA", None, "0")]
HEADER, BODY = ["a", "b", "y"], [["x", "z", 1], ["NA", None, 0]]
SHEETS = {
    "one": ({"S": [HEADER, *BODY]}, ""),
    "others first": ({"Notes": [["read me"]], "Empty": [], "Pairs": [HEADER, *BODY]}, "reading sheet 'Pairs' of 3"),
    "two that fit": ({"S": [HEADER, *BODY], "T": [HEADER, ["p", "q", 1]]}, "reading sheet 'S' of 2 (S, T)"),
    "a title": ({"S": [["Our pairs, 2024"], [], HEADER, *BODY]}, "the header of sheet 'S' is row 3"),
    "empty rows": ({"S": [[], HEADER, [], BODY[0], [None, "", None], BODY[1], [], []]}, ""),
    "other columns": ({"S": [["id", None, "y", "b", "a"], [1, None, 1, "z", "x"], [2, "n", 0, None, "NA"]]}, ""),
    "blanks around names": ({"S": [[" a", "b ", "y"], *BODY]}, ""),
    "short rows": ({"S": [["y", "a", "b"], [1, "x", "z"], [0, "NA"]]}, ""),
    "names twice": ({"S": [[*HEADER, "c", "c"], *BODY]}, ""),
}


@pytest.mark.parametrize("kind", SHEETS)
def test_the_sheet_and_its_rows(kind, tmp_path, capsys):
    sheets, said = SHEETS[kind]
    assert read(put(tmp_path / "train.xlsx", **sheets)) == ROWS
    err = capsys.readouterr().err
    assert said in err if said else err == ""


def test_a_wrong_size_in_the_file_is_not_believed(tmp_path):
    import zipfile

    put(tmp_path / "a.xlsx", S=[HEADER, *BODY])
    with zipfile.ZipFile(tmp_path / "a.xlsx") as old, zipfile.ZipFile(tmp_path / "train.xlsx", "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, content.replace(b'ref="A1:C3"', b'ref="A1"'))
            assert name != "xl/worksheets/sheet1.xml" or b'ref="A1:C3"' in content
    assert read(tmp_path / "train.xlsx") == ROWS


def test_what_pandas_writes_and_reads(tmp_path):
    frame = pandas.DataFrame({"a": ["x", "007", "NA"], "b": ["p", "q", "r"], "y": ["no", "yes", "no"]}, index=[4, 2, 9])
    frame.to_excel(tmp_path / "train.xlsx")
    again = pandas.read_excel(tmp_path / "train.xlsx", dtype=str, keep_default_na=False, engine="openpyxl")
    assert read(tmp_path / "train.xlsx") == list(again[HEADER].itertuples(index=False, name=None))


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([HEADER, ["x", "z", 1], ["#N/A", "z", 0]], ["sheet 'S'", "cell A3 (row 3)", "#N/A"]),
        ([HEADER, ["x", "z", "#DIV/0!"]], ["cell C2 (row 2)", "#DIV/0!"]),
        ([["a", "y"], ["x", 1]], ["no column 'b'", "a, y"]),
        ([["a", "b"], ["x", 1]], ["no column 'y'", "a, b"]),
        ([["a", "b", "y", "b"], ["x", "z", 1, "w"]], ["row 1", "two columns are named 'b'"]),
        ([HEADER], ["no rows"]),
        ([], ["empty"]),
    ],
)
def test_what_is_wrong_is_said(rows, words, tmp_path):
    message = message_of(put(tmp_path / "train.xlsx", S=rows))
    assert all(word in message for word in ["train.xlsx", *words]), message


def test_an_error_in_another_column_does_not_matter(tmp_path):
    assert read(put(tmp_path / "train.xlsx", S=[[*HEADER, "c"], ["x", "z", 1, "#N/A"]])) == [("x", "z", "1")]


@pytest.mark.parametrize("content", [b"", b"a,b,y\nx,z,1\n", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)])
def test_what_is_no_workbook_is_named(content, tmp_path):
    (tmp_path / "train.xlsx").write_bytes(content)
    message = message_of(tmp_path / "train.xlsx")
    assert "train.xlsx is not an Excel workbook" in message and "password" in message and "csv" in message


def test_a_workbook_cut_short_is_named(tmp_path):
    path = put(tmp_path / "train.xlsx", S=[HEADER, *BODY])
    path.write_bytes(path.read_bytes()[:-100])
    assert "train.xlsx is not an Excel workbook" in message_of(path)


def test_without_openpyxl_the_command_is_said(tmp_path, monkeypatch):
    path = put(tmp_path / "train.xlsx", S=[HEADER, *BODY])
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    message = message_of(path)
    assert "train.xlsx" in message and "pip install openpyxl" in message


def test_train_and_predict_read_workbooks_and_feather(go, tmp_path):
    from pairft import predict

    for split in ("train", "validation"):
        pairs = some_pairs(split, 6)
        put(tmp_path / "data" / f"{split}.xlsx", S=[list(pairs[0]), *(list(pair.values()) for pair in pairs)])
    assert go("--data", tmp_path / "data", "--max-steps", 1, "--run-name", "a") == 0
    pandas.DataFrame(some_pairs("test", 4)).to_feather(tmp_path / "test.feather")
    for data, rows in ((tmp_path / "data" / "validation.xlsx", 6), (tmp_path / "test.feather", 4)):
        output = tmp_path / f"{rows}.jsonl"
        command = ["--model", tmp_path / "runs" / "a" / "best", "--data", data, "--output", output]
        assert predict.main([str(part) for part in command]) == 0
        assert len(output.read_text(encoding="utf-8").splitlines()) == rows
