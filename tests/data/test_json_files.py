"""Rows of JSON files by lines and in lists: every value asserted. Other layouts: test_ugly_json.py."""

import json
from pathlib import Path
from typing import Any

import pytest

from pairft.data import files
from pairft.errors import UserError

COLUMNS = ["sentence1", "sentence2", "label"]


def read(path: Path, texts: list[str] = COLUMNS[:2]) -> list[list[Any]]:
    """Sentences and label of each row."""
    rows = files.read_files([path], texts, "label", label_needed=False)
    return [[row.get(name) for name in (*texts, "label")] for row in rows.to_list()]


def read_one(path: Path) -> list[list[Any]]:
    return read(path, ["sentence1"])


def put(path: Path, content: str) -> Path:
    path.write_bytes(content.encode("utf-8"))
    return path


def message_of(call: Any, *arguments: Any) -> str:
    with pytest.raises(UserError) as caught:
        call(*arguments)
    return str(caught.value)


@pytest.mark.parametrize(
    ("literal", "text"),
    [
        ("null", None),
        ("12345678901234567890", "12345678901234567890"),
        ("9007199254740993.0", "9007199254740993"),
        ("0.10000000000000000001", "0.10000000000000000001"),
        ("1e400", "1e400"),
        ("-0", "0"),
        ('"1.0"', "1.0"),
        ("1", "1"),
        ("-1", "-1"),
        ("0.50", "0.50"),
        ("1.0", "1"),
        ("1e2", "100"),
        ("true", "true"),
        ('""', ""),
    ],
)
@pytest.mark.parametrize("form", ['{"sentence1": "a", "label": %s}\n', '[{"sentence1": "a", "label": %s}]'])
def test_json_values_become_text(form, literal, text, tmp_path):
    assert read_one(put(tmp_path / "train.json", form % literal)) == [["a", text]]


def test_a_key_that_the_first_json_object_lacks_is_read_all_the_same(tmp_path):
    path = put(tmp_path / "test.jsonl", '{"sentence1": "a"}\n{"sentence1": "b", "label": 1}\n')
    assert read_one(path) == [["a", None], ["b", "1"]]


@pytest.mark.parametrize("gap", ["", " ", "\n", "\r\n  "])
def test_a_json_list_is_read_whatever_its_layout_and_size(gap, tmp_path):
    sizes = [300_001, 1, 1_500_000, 40_000, 0, 700_003, 2]
    rows = [[f'{number} [{{" é', '\\"],{\n' * (size // 8), str(number)] for number, size in enumerate(sizes)]
    items = f",{gap}".join(json.dumps(dict(zip(COLUMNS, row, strict=True)), ensure_ascii=False) for row in rows)
    assert read(put(tmp_path / "train.json", f"{gap}[{gap}{items}{gap}]{gap}")) == rows


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ('[{"sentence1": "a"} {"sentence1": "b"}]', "line 1 column 21"),
        ('[{"sentence1": "a"},, {"sentence1": "b"}]', "line 1 column 21"),
        ('[, {"sentence1": "a"}]', "line 1 column 2"),
        ('[{"sentence1": "a"}] {"sentence1": "b"}', "line 1 column 22"),
        ('[{"sentence1": "a"}]\n[{"sentence1": "b"}]', "line 2 column 1"),
        ('[{"sentence1": "a"}, {"sentence1": "b"}', "line 1 column 40"),
        ('[{"sentence1": "a"},\n {"sent', "line 2 column 3"),
        ('[{"sentence1": "a"}, {\'sentence1\': "b"}]', "line 1 column 23"),
    ],
)
def test_a_list_that_is_not_json_is_an_error_with_its_place(content, place, tmp_path):
    message = message_of(read_one, put(tmp_path / "train.json", content))
    assert "train.json, row " in message and f": not JSON at {place}: " in message


@pytest.mark.parametrize(
    ("content", "row"),
    [
        ('[[{"sentence1": "a"}]]', 1),
        ('[{"sentence1": "a"}, 3]', 2),
        ('{"sentence1": "a"}\n{"sentence1": "b"', 2),
        ('{"sentence1": "a"}\n\n{"sentence1": "b"} x', 2),
        ('{"sentence1": "a"\n{"sentence1": "b"}', 1),
        ("sentence1,sentence2\na,b\n", 1),
    ],
)
def test_what_is_no_row_is_an_error_with_its_number(content, row, tmp_path):
    message = message_of(read_one, put(tmp_path / "train.json", content))
    assert f"train.json, row {row}: " in message


def test_a_first_row_that_looks_like_another_shape_hides_no_other_row(tmp_path):
    """Alone in its file, it would hold rows below a key."""
    rows = ['{"other": [{"sentence1": "c"}]}', '{"sentence1": "b", "label": 1}', '{"sentence1": "d", "label": 0}']
    assert read_one(put(tmp_path / "train.jsonl", "\n\n".join(rows))) == [[None, None], ["b", "1"], ["d", "0"]]
    assert read_one(put(tmp_path / "alone.jsonl", rows[0])) == [["c", None]]


def test_half_a_pair_of_surrogates_is_named_with_its_row(tmp_path):
    content = '{"sentence1": "\\ud83d\\ude00"}\n{"sentence1": "\\ud83d"}\n'
    message = message_of(read_one, put(tmp_path / "train.jsonl", content))
    assert "train.jsonl, row 2" in message


@pytest.mark.parametrize("text", ["7", "1.50", "12345678901234567890", "1e5", "true"])
def test_a_sentence_keeps_the_text_that_the_file_has(text, tmp_path):
    assert read_one(put(tmp_path / "train.jsonl", f'{{"sentence1": {text}, "label": 1}}')) == [[text, "1"]]


@pytest.mark.parametrize("kind", ["json", "jsonl"])
@pytest.mark.parametrize("column", ["sentence1", "label"])
@pytest.mark.parametrize(
    ("literal", "words"),
    [
        ('["a", "b"]', "list"),
        ("[]", "list"),
        ('{"en": "a"}', "an object, not text"),
        ("NaN", "NaN; write null if there is no value"),
        ("-Infinity", "-Infinity"),
    ],
)
def test_what_is_no_scalar_is_named_with_its_row(literal, words, column, kind, tmp_path):
    if column == "label" and words == "list":  # of labels
        literal = f"[{literal}]"
    values = {"sentence1": '"a"', "label": '"yes"', column: literal}
    rows = ['{"sentence1": "a", "label": "no"}', ", ".join(f'"{name}": {value}' for name, value in values.items())]
    content = rows[0] + "\n{" + rows[1] + "}" if kind == "jsonl" else "[" + rows[0] + ", {" + rows[1] + "}]"
    message = message_of(read_one, put(tmp_path / f"train.{kind}", content))
    assert f"train.{kind}, row 2" in message and repr(column) in message and words in message


def test_labels_in_a_list_are_the_text_of_a_json_list(tmp_path):
    path = put(tmp_path / "train.jsonl", '{"sentence1": "a", "label": ["größe", "a\\"d", 1.0, true]}')
    assert read_one(path) == [["a", '["größe", "a\\"d", "1", "true"]']]


def test_nested_values_and_nan_in_columns_that_nobody_asked_for(tmp_path):
    content = '{"meta": {"a": [NaN, "\\ud83d"]}, "sentence1": "a", "more": [1], "label": 1}\n'
    assert read_one(put(tmp_path / "train.jsonl", content * 2)) == [["a", "1"]] * 2
