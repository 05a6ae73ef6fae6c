"""Multi-label data: lists in one column, and a column of 0 and 1 for each label."""

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import numpy
import pyarrow
import pyarrow.parquet
import pytest
from conftest import write_rows
from label_files import folder, load, message_of, write_csv

from pairft.data.summary import summary
from pairft.data.targets import encode_labels, has_label
from pairft.tasks import MULTI_LABEL

LISTS = [["spam", "ad"], [], ["10"], ["2", "spam"]]
TEXTS = ['["spam", "ad"]', "[]", '["10"]', '["2", "spam"]']
WANTED = numpy.array([[0, 0, 1, 1], [0, 0, 0, 0], [0, 1, 0, 0], [1, 0, 0, 1]], numpy.float32)  # 2, 10, ad, spam


def write_lists(path: Path) -> Path:
    if path.suffix == ".csv":
        return write_csv(path, TEXTS)
    rows = [{"a": f"a{i}", "b": f"b{i}", "y": labels} for i, labels in enumerate(LISTS)]
    if path.suffix == ".jsonl":
        write_rows(path, rows)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_lists_are_sets_of_classes_in_every_format(kind, tmp_path):
    for split in ("train", "validation"):
        write_lists(tmp_path / f"{split}.{kind}")
    found = load(tmp_path)
    assert (found.problem_type, found.label_names) == (MULTI_LABEL, ("2", "10", "ad", "spam"))
    targets = encode_labels(found.splits["train"].data, found, None)
    assert targets.dtype == numpy.float32 and numpy.array_equal(targets, WANTED)
    line = "multi-label: 4 labels (2 25 %, 10 25 %, ad 25 %, spam 50 %), 1.2 per example in 4 training examples"
    assert summary(found, "custom") == line + "; F1 is the mean over the labels (macro)"


@pytest.mark.parametrize("layout", [pyarrow.list_, pyarrow.large_list, lambda kind: pyarrow.list_(kind, 2)])
@pytest.mark.parametrize("kind", [pyarrow.string(), pyarrow.large_string(), pyarrow.int8(), pyarrow.float64()])
def test_lists_of_any_layout(layout, kind, tmp_path):
    lists = (
        [["1", "2"], ["3", "1"]]
        if pyarrow.types.is_string(kind) or kind == pyarrow.large_string()
        else [[1, 2], [3, 1]]
    )
    table = pyarrow.table({"a": ["x", "z"], "y": pyarrow.array(lists, layout(kind))})
    for split in ("train", "validation"):
        pyarrow.parquet.write_table(table, tmp_path / f"{split}.parquet")
    found = load(tmp_path, text_columns=("a",))
    assert found.label_names == ("1", "2", "3")
    assert encode_labels(found.splits["train"].data, found, None).tolist() == [[1, 1, 0], [1, 0, 1]]


def test_lists_of_class_labels_keep_the_order_of_the_source(tmp_path):
    names = ["spam", "ad", "never"]
    kinds = datasets.Features(a=datasets.Value("string"), y=datasets.List(datasets.ClassLabel(names=names)))
    for split, labels in (("train", [[1, 0], [], [1]]), ("validation", [[0], [1]])):
        rows = {"a": [f"a{i}" for i in range(len(labels))], "y": labels}
        datasets.Dataset.from_dict(rows, features=kinds).to_parquet(str(tmp_path / f"{split}.parquet"))
    found = load(tmp_path, text_columns=("a",))
    assert found.label_names == ("spam", "ad", "never")
    targets = encode_labels(found.splits["train"].data, found, names)
    assert targets.tolist() == [[1, 1, 0], [0, 0, 0], [0, 1, 0]]


def test_a_missing_list_is_no_empty_list(tmp_path):
    rows = [{"a": f"a{i}", "b": "b", "y": labels} for i, labels in enumerate([["x"], [], None, ["z"]])]
    write_rows(tmp_path / "train.jsonl", rows)
    assert "row 3 has no label" in message_of(tmp_path / "train.jsonl")
    table = pyarrow.table({"y": pyarrow.array([["x"], [], None, ["z", None]], pyarrow.list_(pyarrow.string()))})
    for split in ("train", "validation"):
        write_rows(tmp_path / "known" / f"{split}.jsonl", [row for row in rows if row["y"] is not None])
    found = load(tmp_path / "known")
    targets = encode_labels(table, found, None)
    assert numpy.isnan(targets[2:]).all() and targets[:2].tolist() == [[1, 0], [0, 0]]
    assert has_label(targets).tolist() == [True, True, False, False]


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (['["a"]', "b"], "mixes lists and single labels"),
        (["['a', 'b']", "['a']"], "not a JSON list of names"),
        (['["a", "a"]', '["b"]'], 'row 1 has the label \'["a", "a"]\''),
        (["[]", "[]"], "only empty lists"),
        (['["a"]', '["a"]'], "nothing to learn"),
        (['["a"]', '["b"]', ""], "row 3 has no label"),
    ],
)
def test_lists_that_cannot_be_learnt_from(labels, words, tmp_path):
    assert words in message_of(folder(tmp_path, labels))


def test_a_class_that_only_the_validation_split_has_is_named(tmp_path):
    data = folder(tmp_path, ['["a"]', '["b", "a"]'], ['["a"]', '["c"]'])
    message = message_of(data)
    assert "validation split" in message and "row 2" in message and "each at most once: a, b" in message
    assert load(folder(tmp_path / "text", ["[x]", "[z]"]), classification=True).label_names == ("[x]", "[z]")


COLUMNS = "spam,rude,ad"
ROWS = [(1, 0, 0), (0, 0, 0), (1, 0, 1), (0, 1, 0)]


def write_columns(path: Path, values: list[tuple[Any, ...]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {"a": [f"a{i}" for i in range(len(values))], "b": ["b"] * len(values)}
    columns |= dict(zip(COLUMNS.split(","), map(list, zip(*values, strict=True)), strict=True))
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.table(columns), path)
    elif path.suffix == ".jsonl":
        write_rows(path, [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)])
    else:
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([list(columns), *zip(*columns.values(), strict=True)])
    return path


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("convert", [int, bool, float])
def test_columns_of_0_and_1_are_a_label_each(kind, convert, tmp_path):
    for split in ("train", "validation"):
        write_columns(tmp_path / f"{split}.{kind}", [tuple(map(convert, row)) for row in ROWS])
    found = load(tmp_path, label_column=COLUMNS)
    assert (found.problem_type, found.label_names) == (MULTI_LABEL, ("spam", "rude", "ad"))
    assert encode_labels(found.splits["train"].data, found, None).tolist() == [list(row) for row in ROWS]


@pytest.mark.parametrize("value", [2, "yes", "x", 0.5])
def test_any_other_value_in_one_of_several_columns_is_named(value, tmp_path):
    data = write_columns(tmp_path / "train.csv", [*ROWS, (0, value, 1)])
    message = message_of(data, label_column=COLUMNS)
    assert f"row 5: 'rude' holds {str(value)!r}" in message and "0 or 1" in message


@pytest.mark.parametrize("value", ["", -1, "?"])
def test_a_row_that_lacks_one_of_several_labels_has_none(value, tmp_path):
    data = write_columns(tmp_path / "train.csv", [*ROWS, (0, value, 1)])
    assert "row 5 has no label" in message_of(data, label_column=COLUMNS)


def test_columns_that_are_not_there_and_a_name_with_a_comma(tmp_path):
    data = write_columns(tmp_path / "train.csv", ROWS)
    assert "no column 'rud'" in message_of(data, label_column="spam,rud")
    with (tmp_path / "comma.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("a", "b", "x,y", "z"), *(("a", f"b{i}", i % 2, i % 3 == 0) for i in range(9))])
    found = load(tmp_path / "comma.csv", label_column='"x,y",z', validation_share=0.5)
    assert found.label_names == ("x,y", "z")


def test_a_validation_split_has_each_combination_s_share_and_leaves_a_row_of_every_label(tmp_path):
    common = ['["a"]'] * 400 + ['["a", "b"]'] * 200 + ["[]"] * 380
    rare = ['["c"]'] * 2 + ['["c", "d"]'] * 3 + ['["a", "d"]'] * 4 + ['["b", "d"]'] * 10 + ['["only"]']
    found = load(write_csv(tmp_path / "train.csv", common + rare))
    sides = {split: Counter(rows["y"]) for split, rows in found.splits.items()}
    assert sum(sides["validation"].values()) == 200
    assert [sides["validation"][text] for text in ('["a"]', '["a", "b"]', "[]")] == [80, 40, 76]
    assert sum(sides["validation"][text] for text in set(rare)) == 4  # a fifth of those 20, which are one stratum
    held = encode_labels(found.splits["train"].data, found, None).any(axis=0)
    assert found.label_names == ("a", "b", "c", "d", "only") and held.all()
    assert sides == {split: Counter(rows["y"]) for split, rows in load(tmp_path / "train.csv").splits.items()}
