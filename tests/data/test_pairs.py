"""Checked sentences and labels: what a label column may say, how it is read, and what is refused."""

from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pyarrow.parquet
import pytest

from pairft.config import Config
from pairft.data import tokens
from pairft.data.pairs import Pairs, load_pairs
from pairft.errors import UserError
from pairft.tasks import REGRESSION


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


def load(folder: Path, task: str = "custom") -> Pairs:
    return load_pairs(
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
        ("custom", ["10", "9", "-2"], ("-2", "9", "10"), {"-2": 0, "9": 1, "10": 2}),
        ("custom", ["01", "10", "02"], ("01", "02", "10"), {"01": 0, "02": 1, "10": 2}),
        ("custom", ["1", "01", "1.0", "0"], ("0", "01", "1", "1.0"), {"0": 0, "01": 1, "1": 2, "1.0": 3}),
        ("custom", ["9007199254740993", "9007199254740992"], ("9007199254740992", "9007199254740993"),
         {"9007199254740992": 0, "9007199254740993": 1}),
        ("custom", ["1e400", "7"], ("7", "1e400"), {"7": 0, "1e400": 1}),  # beyond any float
        ("custom", ["1_0", "٣"], ("1_0", "٣"), {"1_0": 0, "٣": 1}),  # what float() takes for numbers
        ("custom", ["NA", "null", "nan"], ("NA", "nan", "null"), {"NA": 0, "nan": 1, "null": 2}),
        ("custom", ["ja", "nein", "größer"], ("größer", "ja", "nein"), {"größer": 0, "ja": 1, "nein": 2}),
        ("custom", ["0.5", "1", "-2e1"], None, {"0.5": 0.5, "1": 1.0, "-2e1": -20.0}),
        ("mrpc", ["0", "1"], ("not_equivalent", "equivalent"), {"0": 0, "1": 1}),
        ("mrpc", ["1.0", "0"], ("not_equivalent", "equivalent"), {"0": 0, "1.0": 1}),
        ("mrpc", ["equivalent", "not_equivalent"], ("not_equivalent", "equivalent"),
         {"not_equivalent": 0, "equivalent": 1}),
    ],
)  # fmt: skip
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
        (pyarrow.array([2**53 + 1, 2**53], pyarrow.int64()), (str(2**53), str(2**53 + 1)),
         {str(2**53): 0, str(2**53 + 1): 1}),
        (pyarrow.array([2**64 - 1, 2**64 - 2], pyarrow.uint64()), (str(2**64 - 2), str(2**64 - 1)),
         {str(2**64 - 2): 0, str(2**64 - 1): 1}),
        (pyarrow.array([1e16, -0.0], pyarrow.float64()), ("0", str(10**16)), {"0": 0, str(10**16): 1}),
        (pyarrow.array([1.0, 0.0], pyarrow.float16()), ("0", "1"), {"0": 0, "1": 1}),
        (pyarrow.array([0.1, 1.0], pyarrow.float32()), None, {"0.1": 0.1, "1": 1.0}),
        (pyarrow.array(["2.00", "10.00"]).cast(pyarrow.decimal128(9, 2)), ("2", "10"), {"2": 0, "10": 1}),
        (pyarrow.array(["2.50", "1"]).cast(pyarrow.decimal128(9, 2)), None, {"2.50": 2.5, "1": 1.0}),
        (pyarrow.array(["0", "1"]).cast(pyarrow.decimal128(20, 8)), ("0", "1"), {"0": 0, "1": 1}),
        (pyarrow.array(["y", "x"], pyarrow.string_view()), ("x", "y"), {"x": 0, "y": 1}),  # as Polars writes text
        (pyarrow.array([3, 4, 3]).dictionary_encode(), ("3", "4"), {"3": 0, "4": 1}),
        (pyarrow.array([[1], [2]]), ("1", "2"), {'["1"]': (0,), '["2"]': (1,)}),
        (pyarrow.array([{"a": 1}, {"a": 2}]), None, "struct<a: int64>, not names or numbers"),
        (pyarrow.array([b"a", b"b"]), ("a", "b"), {"a": 0, "b": 1}),  # as Impala and old versions of Spark write text
        (pyarrow.array([1, 2], pyarrow.date32()), None, "date32[day], not names or numbers"),
        (pyarrow.array([None, None], pyarrow.null()), None, "is empty"),
    ],
)  # fmt: skip
def test_labels_in_parquet(values, names, ids, tmp_path):
    for split in ("train", "validation"):
        write(tmp_path, split, values)
    if isinstance(ids, str):
        assert ids in message_of(tmp_path)
    else:
        found = load(tmp_path)
        assert found.label_names == names
        assert found.label_ids == (pytest.approx(ids) if found.problem_type == REGRESSION else ids)


def test_a_class_label_keeps_its_order_and_the_classes_that_train_has_not(tmp_path):
    names = ["neutral", "for", "against"]
    for split, labels in (("train", [1, 0, 1]), ("validation", [2, 0]), ("test", [-1, -1])):
        write(tmp_path, split, labels, names)
    found = load(tmp_path)
    assert found.label_names == ("neutral", "for", "against")
    assert found.label_ids == {"neutral": 0, "for": 1, "against": 2}
    assert found.splits["validation"].column_names == ["sentence1", "sentence2", "label"]


@pytest.mark.parametrize(
    ("names", "train", "validation", "ids"),
    [
        (["1", "0"], [0, 1], ["1", "0"], {"1": 0, "0": 1}),  # its ids are never names, and text is names first
        (["1", "2", "3"], [0, 1, 2], ["3", "1"], {"1": 0, "2": 1, "3": 2}),
        (["no", "yes"], [0, 1], ["yes", "no"], {"no": 0, "yes": 1}),
        (["no", "yes"], [0, 1], ["1", "0", "0"], {"no": 0, "yes": 1, "0": 0, "1": 1}),
        (["no", "yes"], [0, 1], ["yes", "0"], "row 2 has the label '0'"),  # names, so that 0 is none
        (["no", "yes"], [0, 1], ["1", "2"], "row 2 has the label '2'"),
        (["1", "2", "3"], [0, 1, 2], ["1", "0"], "row 2 has the label '0'"),
    ],
)
def test_text_beside_a_class_label(names, train, validation, ids, tmp_path):
    write(tmp_path, "train", train, names)
    write(tmp_path, "validation", validation)
    if isinstance(ids, str):
        assert ids in message_of(tmp_path)
    else:
        found = load(tmp_path)
        assert (list(found.label_names), found.label_ids) == (names, ids)


@pytest.mark.parametrize(
    ("task", "train", "validation", "names"),
    [
        ("custom", ["no", "yes"], ["yes", "no"], ("no", "yes")),
        ("custom", ["1", "0"], ["0", "1"], ("1", "0")),
        ("mrpc", ["equivalent", "not_equivalent"], ["equivalent", "not_equivalent"], ("not_equivalent", "equivalent")),
        ("mrpc", ["0", "1"], ["equivalent", "not_equivalent"], ("not_equivalent", "equivalent")),
        ("custom", ["no", "yes"], ["no", "maybe"], "no, maybe, but they should be no, yes"),
        ("custom", ["no", "yes"], ["no", "yes", "maybe"], "no, yes, maybe, but they should be no, yes"),
        ("mrpc", ["no", "yes"], ["no", "yes"], "no, yes, but they should be not_equivalent, equivalent"),
    ],
)
def test_class_labels_in_another_order_are_put_in_order(task, train, validation, names, tmp_path, tiny_model):
    from transformers import AutoTokenizer

    write(tmp_path, "train", [0, 1, 1], train)
    write(tmp_path, "validation", [0, 1, 1], validation)
    if isinstance(names, str):
        assert names in message_of(tmp_path, task)
        return
    found = load(tmp_path, task)
    made = tokens.tokenise(found, AutoTokenizer.from_pretrained(tiny_model), 16)
    assert found.label_names == names
    for split, own in (("train", train), ("validation", validation)):
        wanted = (
            [own[0], own[1], own[1]] if own != ["0", "1"] or names == ("1", "0") else [names[0], names[1], names[1]]
        )
        assert [names[label] for label in made[split]["label"]] == wanted


@pytest.mark.parametrize("test", [["?", "?"], ["-", "no"], ["", " "], ["-1", "-1"], ["maybe", "7"], ["yes", "no"]])
def test_labels_of_test_are_not_read(test, tmp_path):
    for split in ("train", "validation"):
        write(tmp_path, split, ["yes", "no"])
    write(tmp_path, "test", test)
    found = load(tmp_path)
    assert found.label_ids == {"no": 0, "yes": 1}
    assert found.splits["test"].to_list() == [{"sentence1": f"a{row}", "sentence2": "b"} for row in (0, 1)]


@pytest.mark.parametrize("labels", [pyarrow.array([[1], [2]]), pyarrow.array([b"a", b"b"])])
def test_a_label_column_of_test_may_have_any_type(labels, tmp_path):
    for split in ("train", "validation"):
        write(tmp_path, split, pyarrow.array([0, 1]))
    write(tmp_path, "test", labels)
    assert load(tmp_path).splits["test"].column_names == ["sentence1", "sentence2"]


def test_the_label_column_may_be_absent_from_test_alone(tmp_path):
    write(tmp_path, "train", ["0", "1"])
    write(tmp_path, "validation", ["0", "1"])
    (tmp_path / "test.csv").write_text("sentence2,sentence1\nb,a\n")
    found = load(tmp_path)
    assert found.splits["test"].to_list() == [{"sentence1": "a", "sentence2": "b"}]
    (tmp_path / "validation.csv").write_text("sentence2,sentence1\nb,a\n")
    message = message_of(tmp_path)
    assert "'label'" in message and "sentence2, sentence1" in message


def test_columns_of_other_names_and_only_one_sentence(tmp_path):
    for split in ("train", "validation"):
        (tmp_path / f"{split}.tsv").write_text("id\tBewertung\tText\n7\tgut\tso\n8\tschlecht\tja\n", encoding="utf-8")
    config = Config(task="custom", data=str(tmp_path), text_columns=("Text",), label_column="Bewertung")
    found = load_pairs(config)
    assert found.splits["train"].to_list() == [
        {"Text": "so", "Bewertung": "gut"},
        {"Text": "ja", "Bewertung": "schlecht"},
    ]
    assert (found.text_columns, found.label_column, found.label_names) == (("Text",), "Bewertung", ("gut", "schlecht"))
