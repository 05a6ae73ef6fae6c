"""JSON files in layouts and states in which people have them: the rows that pandas reads, or a message."""

import io
import json
from pathlib import Path
from typing import Any

import pandas
import pytest
from conftest import some_pairs, write_rows

from pairft.data import files, json_files, json_stream
from pairft.errors import UserError

COLUMNS = ["sentence1", "sentence2", "label"]
FRAME = pandas.DataFrame(
    {
        "idx": [7, 8, 9],
        "sentence1": ["NA", "😀 é\n", "007"],
        "sentence2": ['say "no"', "", "1e5"],
        "label": ["no", "yes", "no"],
    },
    index=[11, 5, 8],
)
ROWS = FRAME[COLUMNS].to_dict("records")


def test_a_column_is_read_by_its_use(tmp_path):
    """As a label 1.0 is 1, as a text it is what it says, whichever is read first."""
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"a": "x", "b": 1.0, "c": 2.0}) + "\n" for _ in range(3)))
    assert files.read_files([path], ["a"], ["b", "c"])["c"][:] == ["2.0"] * 3
    assert files.read_files([path], ["a", "b"], "c")["c"][:] == ["2"] * 3
    assert files.read_files([path], ["a", "b", "c"], None)["c"][:] == ["2.0"] * 3


def put(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def read(path: Path, texts: list[str] = COLUMNS[:2], label: str = "label") -> list[dict[str, Any]]:
    return files.read_files([path], texts, label, label_needed=False).to_list()


def message_of(*arguments: Any) -> str:
    with pytest.raises(UserError) as caught:
        read(*arguments)
    return str(caught.value)


@pytest.fixture(params=["small blocks", "large blocks"])
def blocks(request, monkeypatch):
    if request.param == "small blocks":  # so that values are cut off wherever a block ends
        monkeypatch.setattr(json_stream, "BLOCK", 3)
        monkeypatch.setattr(json_files, "BLOCK", 40)


SAID = {
    "columns": "holds columns, not rows: read as a table",
    "index": 'holds rows by their keys (orient="index")',
    "split": 'holds cells apart from their columns (orient="split")',
    "table": "rows are below the key 'data'",
    "records": "",
}


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("orient", SAID)
def test_what_pandas_writes_is_read_and_said(orient, indent, blocks, tmp_path, capsys):
    path = put(tmp_path / "train.json", FRAME.to_json(orient=orient, indent=indent))
    if orient != "table":
        text = io.StringIO(path.read_text(encoding="utf-8"))
        assert pandas.read_json(text, orient=orient, dtype=False)[COLUMNS].to_dict("records") == ROWS
    assert read(path) == ROWS
    said = capsys.readouterr().err
    assert said == "" if orient == "records" else f"{path}" in said and SAID[orient] in said
    assert read(path) == ROWS and capsys.readouterr().err == ""  # once


LINES = FRAME.to_json(orient="records", lines=True)
LIST = FRAME.to_json(orient="records")
BY_LIST = json.dumps(FRAME.to_dict("list"))
READ_AS = {
    "lines": LINES,
    "lines with CRLF and blank ones": LINES.replace("\n", "\r\n\r\n"),
    "lines without a last line end": LINES.rstrip("\n"),
    "a BOM": "\ufeff" + LINES,
    "a BOM and a list": "\ufeff" + LIST,
    "UTF-16": LINES.encode("utf-16"),
    "a list in UTF-16 without a BOM": LIST.encode("utf-16-le"),
    "objects over several lines (jq)": "\n".join(json.dumps(row, indent=2) for row in FRAME.to_dict("records")),
    "objects one after the other": "".join(json.dumps(row, indent=1) for row in FRAME.to_dict("records")),
    "columns that are lists": BY_LIST,
    "columns, one of them of objects": json.dumps({"meta": [{"sentence1": 1}] * 3, **FRAME.to_dict("list")}),
    "columns and a scalar": json.dumps({"version": 1.5, **FRAME.to_dict("list")}),
    "rows below a key, after others": json.dumps({"meta": {"sentence1": "x"}, "n": [1, 2], "pairs": json.loads(LIST)}),
    "rows below a key, before others": json.dumps({"data": json.loads(LIST), "license": "MIT", "columns": ["a", 1]}),
    "a key that comes twice": LINES.replace('"sentence1"', '"sentence1":"old","sentence1"'),
    "NaN in another column": LINES.replace('"idx":8', '"idx":NaN'),
    "nested values in another column": LINES.replace('"idx":8', '"idx":[{"sentence1":[1]},"]}"]'),
    "half a surrogate pair in another column": LINES.replace('"idx":8', '"idx":"\\ud83d"'),
    "escaped characters": json.dumps(FRAME.to_dict("records"), ensure_ascii=True),
    "columns of one row in another order": json.dumps(
        {name: {str(key): values[key] for key in reversed(values)} if name == "label" else values
         for name, values in json.loads(FRAME.to_json()).items()}
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", READ_AS)
def test_it_is_read(kind, blocks, tmp_path):
    assert read(put(tmp_path / "train.json", READ_AS[kind])) == ROWS


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ('{"sentence1": "a", "sentence2": "b", "label": ["x", 1]}', [("a", "b", '["x", "1"]')]),
        ('{"sentence1": ["a", "b"], "sentence2": ["c", "d"], "label": [["x"], []]}',
         [("a", "c", '["x"]'), ("b", "d", "[]")]),
        ('{"sentence1": {"0": "a"}, "sentence2": {"0": null}, "label": {"0": 1.0}}', [("a", None, "1")]),
        ('{"sentence1": "a", "sentence2": "b", "label": 1}\n{"sentence1": 12345678901234567890, "label": 2}',
         [("a", "b", "1"), ("12345678901234567890", None, "2")]),
        ('{"sentence1": "a", "sentence2": "b", "label": 1}\n{"sentence1": "c", "sentence2": "d", "label": 3.50}',
         [("a", "b", "1"), ("c", "d", "3.50")]),
        ('{"sentence1": "a", "sentence2": "b", "label": true}\n{"sentence1": "c", "sentence2": "d", "label": null}',
         [("a", "b", "true"), ("c", "d", None)]),
        ('{"sentence1": "a", "sentence2": "b", "label": "1.0"}\n{"sentence1": -0, "sentence2": 1E5, "label": "01"}',
         [("a", "b", "1.0"), ("-0", "1E5", "01")]),
        ('{"sentence1": "2024-01-02", "sentence2": "b\\u0000c", "label": -0}', [("2024-01-02", "b\0c", "0")]),
    ],
)  # fmt: skip
def test_values_stay_what_they_are(content, rows, blocks, tmp_path):
    assert read(put(tmp_path / "train.json", content)) == [dict(zip(COLUMNS, row, strict=True)) for row in rows]


FIRST = '{"sentence1": "a", "sentence2": "b", "label": 1}'


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (f"[{FIRST}, {FIRST}", ["row 3", "line 1 column 100"]),  # cut short
        (f'[{FIRST},\n {{"sentence1": "a', ["row 2", "line 2 column 16", "Unterminated string"]),
        (f'{{"n": 1, "data": [{FIRST},\n {{"sent', ["line 2 column 3"]),
        (f"[{FIRST}, {FIRST},]", ["row 3", "line 1 column 101"]),
        (f"[{FIRST}]\n[{FIRST}]", ["row 2", "line 2 column 1", "Extra data"]),
        (f'{FIRST}\n{FIRST} {FIRST}\n', ["row 2", "column 50", "Extra data"]),
        (f'{FIRST}\n{FIRST},\n', ["row 2", "column 49"]),
        (f'{FIRST[:-1]}\n{FIRST}\n', ["row 1", "column"]),
        (f'{FIRST}\n{{"sentence1": "a\tb"}}', ["row 2", "control character"]),
        (f'{FIRST}\n{FIRST}\n{{"sentence1": "\\ud83d"}}', ["row 3", "surrogates"]),
        (f'{FIRST}\n{{"sentence1": "a", "label": NaN}}', ["row 2", "'label' holds NaN"]),
        (f'[{FIRST}, {{"sentence1": {{"en": "a"}}}}]', ["row 2", "'sentence1' holds an object"]),
        (f'{FIRST}\n["a", "b", 1]\n', ["row 2", "found a list", 'orient="records"']),
        ('[["a", "b", 1]]', ["row 1", "found a list"]),
        ('{"columns": ["sentence1", "sentence2"], "data": [["a", "b"], ["c"]]}', ["row 2", "1 cells", "2 columns"]),
        ('{"sentence1": ["a", "b"], "sentence2": ["c"]}', ["'sentence1' and 'sentence2'", "same rows"]),
        ('{"sentence1": {"0": "a"}, "sentence2": {"1": "c"}}', ["'sentence1' and 'sentence2'", "same rows"]),
        ('{"sentence1": {"0": "a"}, "sentence2": ["c"]}', ["'sentence1' and 'sentence2'", "same rows"]),
        (f'{{"train": [{FIRST}], "test": [{FIRST}]}}', ["below several keys, 'train' and 'test'"]),
        ('{"question": {"0": "a"}, "verdict": {"0": 1}}', ["no column 'sentence1'", "question, verdict"]),
        ('{"0": {"question": "a"}, "1": {"verdict": 1}}', ["no column 'sentence1'", "question, verdict"]),
        ('{"data": [{"title": "a", "paragraphs": []}]}', ["no column 'sentence1'", "title, paragraphs"]),  # SQuAD
        ('{"columns": ["q", "v"], "index": [0], "data": [["a", 1]]}', ["no column 'sentence1'", "q, v"]),
        ('{"sentence1": {"0": "a"}, "verdict": {"0": 1}}', ["no column 'sentence2'", "sentence1, verdict"]),
        ('{"question": "a", "verdict": 1}', ["no column 'sentence1'", "question, verdict"]),
        ("[]", ["no rows"]),
        ('{"data": [], "n": 1}', ["sentence1"]),
        ("{}", ["empty"]),
        ('"sentence1"', ["row 1", 'found "sentence1"']),
        ("sentence1,sentence2\na,b\n", ["row 1", "not JSON"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(content, words, blocks, tmp_path):
    message = message_of(put(tmp_path / "train.json", content))
    assert all(word in message for word in ["train.json", *words]), message


@pytest.mark.parametrize("tail", ["", "x"])
def test_pyarrow_reads_lines_and_an_error_behind_them_has_its_row(tail, tmp_path):
    rows = [{"sentence1": f"s{number}", "sentence2": "b" * 50, "label": number % 3} for number in range(60_000)]
    path = put(tmp_path / "train.jsonl", "\n".join(map(json.dumps, rows)) + tail)
    assert path.stat().st_size > json_files.BLOCK
    if tail:
        assert "row 60000: not JSON at column" in message_of(path)
    else:
        assert read(path) == [{**row, "label": str(row["label"])} for row in rows]


def test_shards_may_differ_in_layout(tmp_path):
    paths = [put(tmp_path / "a.json", LIST), put(tmp_path / "b.json", FRAME.to_json()), put(tmp_path / "c.json", LINES)]
    assert files.read_files(paths, COLUMNS[:2], "label").to_list() == ROWS * 3


def test_columns_are_read_by_train_and_by_predict(go, tmp_path, capsys):
    from pairft import predict

    pairs, folder = some_pairs("train", 6), tmp_path / "data"
    by_column = {name: {str(row): pair[name] for row, pair in enumerate(pairs)} for name in COLUMNS}
    write_rows(folder / "validation.jsonl", pairs)
    put(folder / "train.json", json.dumps(by_column))
    assert go("--data", folder, "--max-steps", 1, "--run-name", "a") == 0
    assert "holds columns, not rows: read as a table" in capsys.readouterr().err
    output = tmp_path / "answers.jsonl"
    command = ["--model", tmp_path / "runs" / "a" / "best", "--data", folder / "train.json", "--output", output]
    assert predict.main([str(part) for part in command]) == 0
    assert len(output.read_text(encoding="utf-8").splitlines()) == 6
