"""Checked sentences and labels: what a label column may say, how it is read, and what is refused."""

from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pyarrow.parquet
import pytest

from pairft import data
from pairft.config import Config
from pairft.errors import UserError


def write(folder: Path, split: str, labels: Any, names: list[str] | None = None) -> None:
    """A split with these labels: a list of text as csv; with names, ids as a ClassLabel; an array of Arrow as it is."""
    folder.mkdir(exist_ok=True)
    texts = {"sentence1": [f"a{number}" for number in range(len(labels))], "sentence2": ["b"] * len(labels)}
    if names is not None:
        kinds = {"sentence1": datasets.Value("string"), "sentence2": datasets.Value("string")}
        rows = datasets.Dataset.from_dict(
            {**texts, "label": labels}, features=datasets.Features(**kinds, label=datasets.ClassLabel(names=names))
        )
        rows.to_parquet(str(folder / f"{split}.parquet"))
    elif isinstance(labels, list):
        lines = [f"{first},b,{label}" for first, label in zip(texts["sentence1"], labels, strict=True)]
        (folder / f"{split}.csv").write_text("\n".join(["sentence1,sentence2,label", *lines]), encoding="utf-8")
    else:
        pyarrow.parquet.write_table(pyarrow.table({**texts, "label": labels}), folder / f"{split}.parquet")


def load(folder: Path, task: str = "custom") -> data.Data:
    return data.load(
        Config(task=task, data=str(folder), text_columns=("sentence1", "sentence2") if task == "custom" else None)
    )


def message_of(folder: Path, task: str = "custom") -> str:
    with pytest.raises(UserError) as caught:
        load(folder, task)
    return str(caught.value)


@pytest.mark.parametrize(
    ("task", "train", "names", "ids"),
    [
        ("custom", ["yes", "no", "yes"], ("no", "yes"), {"no": 0, "yes": 1}),
        ("custom", [" yes", "no ", "yes"], ("no", "yes"), {"no": 0, "yes": 1}),
        ("custom", ["10", "9", "-1"], ("-1", "9", "10"), {"-1": 0, "9": 1, "10": 2}),
        ("custom", ["1.0", "0.0", "1"], ("0", "1"), {"0.0": 0, "1.0": 1, "1": 1}),
        ("custom", ["NA", "null", "nan"], ("NA", "nan", "null"), {"NA": 0, "nan": 1, "null": 2}),
        ("custom", ["ja", "nein", "größer"], ("größer", "ja", "nein"), {"größer": 0, "ja": 1, "nein": 2}),
        ("custom", ["0.5", "1", "-2e1"], None, {"0.5": 0.5, "1": 1.0, "-2e1": -20.0}),
        ("mrpc", ["0", "1"], ("not_equivalent", "equivalent"), {"0": 0, "1": 1}),
        ("mrpc", ["1.0", "0"], ("not_equivalent", "equivalent"), {"0": 0, "1.0": 1}),
        ("mrpc", ["equivalent", "0"], ("not_equivalent", "equivalent"), {"0": 0, "equivalent": 1}),
    ],
)
def test_labels_in_text(task, train, names, ids, tmp_path):
    write(tmp_path, "train", train)
    write(tmp_path, "validation", train[:1])
    found = load(tmp_path, task)
    assert (found.label_names, found.label_ids) == (names, ids)
    assert set(found.splits) == {"train", "validation"}


@pytest.mark.parametrize(
    ("values", "names", "ids"),
    [
        (pyarrow.array([1, 0], pyarrow.int8()), ("0", "1"), {"0": 0, "1": 1}),
        (pyarrow.array([7, 3], pyarrow.uint64()), ("3", "7"), {"3": 0, "7": 1}),
        (pyarrow.array([1.0, 0.0], pyarrow.float32()), ("0", "1"), {"0": 0, "1": 1}),
        (pyarrow.array([0.25, 3.0], pyarrow.float64()), None, {"0.25": 0.25, "3": 3.0}),
        (pyarrow.array([True, False]), ("false", "true"), {"false": 0, "true": 1}),
        (pyarrow.array(["x", "007"], pyarrow.large_string()), None, "mixes numbers and names"),
        (pyarrow.array(["y", "x"], pyarrow.large_string()), ("x", "y"), {"x": 0, "y": 1}),
        (pyarrow.array(["y", "x"]).dictionary_encode(), ("x", "y"), {"x": 0, "y": 1}),  # a categorical of pandas
        (pyarrow.array([[1], [2]]), None, "nested values"),
        (pyarrow.array([None, None], pyarrow.null()), None, "is empty"),
    ],
)
def test_labels_in_parquet(values, names, ids, tmp_path):
    for split in ("train", "validation"):
        write(tmp_path, split, values)
    if isinstance(ids, str):
        assert ids in message_of(tmp_path)
    else:
        found = load(tmp_path)
        assert (found.label_names, found.label_ids) == (names, ids)


def test_a_class_label_keeps_its_order_and_the_classes_that_train_has_not(tmp_path):
    names = ["neutral", "for", "against"]
    for split, labels in (("train", [1, 0, 1]), ("validation", [2, 0]), ("test", [-1, -1])):
        write(tmp_path, split, labels, names)
    found = load(tmp_path)
    assert found.label_names == ("neutral", "for", "against")
    assert found.label_ids == {"0": 0, "1": 1, "2": 2}
    assert found.splits["validation"].column_names == ["sentence1", "sentence2", "label"]


def test_names_and_numbers_of_a_class_label_mean_the_same(tmp_path):
    write(tmp_path, "train", [0, 1], ["no", "yes"])
    write(tmp_path, "validation", ["yes", "no", "1", "0.0"])
    assert load(tmp_path).label_ids == {"0": 0, "1": 1, "yes": 1, "no": 0, "0.0": 0}


def ids_by_name(folder: Path, task: str) -> dict[str, dict[str, float]]:
    """For each split what the rows' own names for their labels were read as."""
    loaded = load(folder, task)
    return {
        split: {rows.features["label"].int2str(label): loaded.label_ids[str(label)] for label in rows["label"]}
        for split, rows in loaded.splits.items()
    }


@pytest.mark.parametrize(
    ("task", "train", "validation"),
    [
        ("custom", ["no", "yes"], ["yes", "no"]),
        ("mrpc", ["equivalent", "not_equivalent"], ["equivalent", "not_equivalent"]),
    ],
)
def test_class_labels_in_another_order_are_not_swapped(task, train, validation, tmp_path):
    """Either each name keeps one meaning, or it is refused: the same number must not silently mean two things."""
    write(tmp_path, "train", [0, 1], train)
    write(tmp_path, "validation", [0, 1], validation)
    try:
        found = ids_by_name(tmp_path, task)
    except UserError as error:
        assert "label" in str(error)
    else:
        names = load(tmp_path, task).label_names
        assert all(names[int(number)] == name for split in found.values() for name, number in split.items())


@pytest.mark.parametrize("unlabelled", [["-1", "-1"], ["", " "], ["-1.0", "-1"], ["-1", ""]])
@pytest.mark.parametrize("train", [["yes", "no"], ["0", "1"], ["0.5", "1"]])
def test_rows_of_test_may_be_unlabelled(train, unlabelled, tmp_path):
    write(tmp_path, "train", train)
    write(tmp_path, "validation", train)
    labelled = load(tmp_path).label_ids
    write(tmp_path, "test", [train[0], *unlabelled])
    found = load(tmp_path)
    assert len(found.splits["test"]) == 3
    assert found.label_ids == labelled


def test_the_label_column_may_be_absent_from_test_alone(tmp_path):
    write(tmp_path, "train", ["0", "1"])
    write(tmp_path, "validation", ["0", "1"])
    (tmp_path / "test.csv").write_text("sentence2,sentence1\nb,a\n")
    found = load(tmp_path)
    assert found.splits["test"].to_list() == [{"sentence1": "a", "sentence2": "b"}]
    (tmp_path / "validation.csv").write_text("sentence2,sentence1\nb,a\n")
    message = message_of(tmp_path)
    assert "'label'" in message and "sentence2, sentence1" in message


@pytest.mark.parametrize(
    ("task", "train", "split", "labels", "words"),
    [
        ("custom", ["yes", "no"], "validation", ["no", "maybe"], ["row 2", "'maybe'", "no, yes"]),
        ("custom", ["yes", "no"], "validation", ["no", "1"], ["row 2", "'1'", "no, yes"]),  # train gave no number to it
        ("custom", ["yes", "no"], "validation", ["no", "No"], ["row 2", "'No'", "no, yes"]),
        ("custom", ["yes", "no"], "test", ["no", "-1", "maybe"], ["row 3", "'maybe'", "no, yes"]),
        ("custom", ["0", "1"], "validation", ["0", "2"], ["row 2", "'2'", "0, 1"]),
        ("custom", ["0", "1"], "validation", ["0", "0.5"], ["row 2", "'0.5'", "0, 1"]),
        ("custom", ["0", "1"], "validation", ["-1", "0"], ["row 1", "'-1'", "0, 1"]),
        ("custom", ["0", "1"], "validation", ["0", ""], ["row 2", "no label", "0, 1"]),
        ("custom", ["2", "10"], "validation", ["1"], ["row 1", "'1'", "2, 10"]),
        ("custom", ["0.5", "1"], "validation", ["1", "high"], ["row 2", "'high'", "finite number"]),
        ("custom", ["0.5", "1"], "validation", ["inf"], ["row 1", "'inf'", "finite number"]),
        ("mrpc", ["0", "1"], "validation", ["2"], ["row 1", "'2'", "not_equivalent, equivalent"]),
        ("mrpc", ["0", "1", "-1"], "validation", ["1"], ["row 3", "'-1'", "not_equivalent, equivalent"]),
        ("mrpc", ["0", "1", "same"], "validation", ["1"], ["row 3", "'same'", "not_equivalent, equivalent"]),
    ],
)
def test_a_label_that_is_unknown_is_named_with_its_row(task, train, split, labels, words, tmp_path):
    write(tmp_path, "train", train)
    write(tmp_path, "validation", train[:2])
    write(tmp_path, split, labels)
    message = message_of(tmp_path, task)
    part = "train" if train[2:] else split
    assert all(word in message for word in [f"{part} part", str(tmp_path), "'label'", *words]), message


@pytest.mark.parametrize(
    ("train", "words"),
    [
        (["1", "1.0", "1"], ["every row", "'1'"]),
        (["0.5", "0.50"], ["every row", "'0.5'"]),
        (["", ""], ["label", "empty"]),
        (["0", "one"], ["mixes numbers and names", "'one'"]),
        (["0.5", "nan"], ["'nan'", "finite"]),
        (["0.5", "inf"], ["'inf'", "finite"]),
        (["0", "1", ""], ["row 3", "no label"]),
    ],
)
def test_labels_from_which_nothing_can_be_learnt(train, words, tmp_path):
    write(tmp_path, "train", train)
    write(tmp_path, "validation", train[:1])
    message = message_of(tmp_path)
    assert all(word in message for word in ["train part", *words]), message


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (["a", ""], ["row 2", "is empty"]),
        (["\u00a0\t\n\u3000", "a"], ["row 1", "is empty"]),
        (["a", "b", None], ["row 3", "is empty"]),
        ([1, 2], ["int64", "not text"]),
        ([["a"], ["b"]], ["nested values", "not text"]),
        ([b"a", b"b"], ["binary", "not text"]),
    ],
)
@pytest.mark.parametrize("column", ["sentence1", "sentence2"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_sentence_that_says_nothing_is_named(split, column, values, words, tmp_path):
    for name in ("train", "validation"):
        write(tmp_path, name, pyarrow.array([0, 1] * len(values)))
    other = {"sentence1": "sentence2", "sentence2": "sentence1"}[column]
    table = pyarrow.table({column: values, other: ["a"] * len(values), "label": list(range(len(values)))})
    pyarrow.parquet.write_table(table, tmp_path / f"{split}.parquet")
    message = message_of(tmp_path)
    assert all(word in message for word in [f"{split} part", repr(column), *words]), message


def test_columns_of_other_names_and_only_one_sentence(tmp_path):
    for split in ("train", "validation"):
        (tmp_path / f"{split}.tsv").write_text("id\tBewertung\tText\n7\tgut\tso\n8\tschlecht\tja\n", encoding="utf-8")
    config = Config(task="custom", data=str(tmp_path), text_columns=("Text",), label_column="Bewertung")
    found = data.load(config)
    assert found.splits["train"].to_list() == [
        {"Text": "so", "Bewertung": "gut"},
        {"Text": "ja", "Bewertung": "schlecht"},
    ]
    assert (found.text_columns, found.label_column, found.label_names) == (("Text",), "Bewertung", ("gut", "schlecht"))
