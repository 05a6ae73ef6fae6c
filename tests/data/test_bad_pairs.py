"""Labels and sentences that are refused, each with its row and a remedy."""

import pyarrow
import pyarrow.parquet
import pytest
from test_pairs import load, message_of, write


@pytest.mark.parametrize(
    ("task", "train", "split", "labels", "words"),
    [
        ("custom", ["yes", "no"], "validation", ["no", "maybe"], ["row 2", "'maybe'", "no, yes"]),
        ("custom", ["yes", "no"], "validation", ["no", "1"], ["row 2", "'1'", "no, yes"]),  # train gave no number to it
        ("custom", ["yes", "no"], "validation", ["no", "No"], ["row 2", "'No'", "no, yes"]),
        ("mrpc", ["0", "1"], "validation", ["equivalent", "0"], ["row 2", "'0'", "not_equivalent, equivalent"]),
        ("custom", ["0", "1"], "validation", ["0", "2"], ["row 2", "'2'", "0, 1"]),
        ("custom", ["0", "1"], "validation", ["0", "0.5"], ["row 2", "'0.5'", "0, 1"]),
        ("custom", ["0", "1"], "validation", ["-1", "0"], ["row 1", "'-1'", "0, 1"]),
        ("custom", ["0", "1"], "validation", ["0", ""], ["row 2", "no label", "0, 1"]),
        ("custom", ["2", "10"], "validation", ["1"], ["row 1", "'1'", "2, 10"]),
        ("custom", ["0.5", "1"], "validation", ["1", "high"], ["row 2", "'high'", "finite number"]),
        ("custom", ["0.5", "1"], "validation", ["inf"], ["row 1", "'inf'", "finite number"]),
        ("custom", ["0.5", "1"], "validation", ["1", '"1,5"', '"1,5"'], ["row 2", "'1,5'", "(and 1 more)", "a point"]),
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
    named = "train" if train[2:] else split
    assert all(word in message for word in [f"{named} split", str(tmp_path), "'label'", *words]), message


@pytest.mark.parametrize(
    ("train", "words"),
    [
        (["1", "1", "1"], ["every row", "'1'"]),
        (["0.5", "0.50"], ["every row", "'0.5'"]),
        (["", ""], ["label", "empty"]),
        (["0", "one"], ["mixes numbers and names", "'one'"]),
        (["0.5", "nan"], ["'nan'", "finite"]),
        (["0.5", "inf"], ["'inf'", "finite"]),
        (["0", "1", ""], ["row 3", "no label"]),
        (['"1,25"', "0.5", '"3"'], ["'1,25', with a comma", "1.25"]),
        (["yes", "-", "no", "-"], ["'-' (count: 2)", "no gold label", "another name"]),
        (["yes", "no", "?"], ["'?' (count: 1)", "no gold label"]),
        (["yes", "no", "-1"], ["'-1' (count: 1)", "no gold label"]),
        (["0", "1", "2", "-1"], ["'-1' (count: 1)", "no gold label"]),
    ],
)
def test_labels_from_which_nothing_can_be_learnt(train, words, tmp_path):
    write(tmp_path, "train", train)
    write(tmp_path, "validation", train[:1])
    message = message_of(tmp_path)
    assert all(word in message for word in ["train split", *words]), message


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (["a", ""], ["row 2", "is empty"]),
        (["\u00a0\t\n\u3000", "a"], ["row 1", "is empty"]),
        (["a", "b", None], ["row 3", "is empty"]),
        ([1, 2], ["int64", "not text"]),
        ([["a"], ["b"]], ["list<", "not text"]),
        ([{"a": "b"}, {"a": "c"}], ["struct<a: string>", "not text"]),
        ([b"a", b"\xff"], ["row 2", "binary", "not text"]),
    ],
)
@pytest.mark.parametrize("column", ["sentence1", "sentence2"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_sentence_that_says_nothing_is_named(split, column, values, words, tmp_path, capsys):
    """In the test split, which training doesn't score, a warning counts them."""
    for name in ("train", "validation"):
        write(tmp_path, name, pyarrow.array([0, 1] * len(values)))
    other = {"sentence1": "sentence2", "sentence2": "sentence1"}[column]
    table = pyarrow.table({column: values, other: ["a"] * len(values), "label": list(range(len(values)))})
    pyarrow.parquet.write_table(table, tmp_path / f"{split}.parquet")
    if split == "test" and words[-1] == "is empty":
        assert load(tmp_path).splits["test"][column][:] == [text or "" for text in values]
        assert f"warning: rows with an empty sentence: 1 of the test split of {tmp_path}," in capsys.readouterr().err
        return
    message = message_of(tmp_path)
    where = f"{split}.parquet" if words[-1] == "not text" else f"{split} split"
    assert all(word in message for word in [where, repr(column), *words]), message


@pytest.mark.parametrize("task", ["sts", "stsb"])
@pytest.mark.parametrize(
    ("train", "validation", "words"),
    [
        (["0", "5", "3", "-1"], ["1"], ["train split", "'-1' (count: 1)", "no gold label", "if it is a value, add"]),
        (["0.5", "5", "-1.0", "-1.0"], ["1"], ["train split", "'-1.0' (count: 2)", "no gold label"]),
        (["0.5", "1", "-1"], ["1"], ["train split", "'-1' (count: 1)", "remove these rows"]),
        (["3", "-1"], ["1"], ["train split", "'-1' (count: 1)", "remove these rows"]),
        (["0", "5", "3"], ["1", "-1", "-1"], ["validation split", "'-1' (count: 2)", "no gold label"]),
        (["0", "5", "3"], ["-1"], ["validation split", "'-1' (count: 1)", "no gold label"]),
        (["0", "5", "-"], ["1"], ["train split", "'-' (count: 1)", "no gold label: remove these rows"]),
        (['"1,25"', "0.5", '"3"'], ["1"], ["train split", "'1,25', with a comma", "a point, 1.25"]),
        (["1.5", "2"], ['"1,25"'], ["validation split", "'1,25', with a comma", "a point, 1.25"]),
        (['"1,5"', "2"], ["1.25"], ["validation split", "row 1", "'1.25'", "with a comma"]),
        (["1", "2", "nan"], ["1"], ["train split", "row 3", "'nan'", "finite number"]),
    ],
)
def test_what_is_no_score_of_a_regression(task, train, validation, words, tmp_path):
    write(tmp_path, "train", train)
    write(tmp_path, "validation", validation)
    message = message_of(tmp_path, task)
    assert all(word in message for word in words), message
    assert "class" not in message


@pytest.mark.parametrize("train", [["-1", "0", "1"], ["-1", "-2.5", "3"], ["-1", "-0.5", "0.25"]])
def test_minus_one_is_a_value_beside_other_negative_ones_and_on_a_scale_of_three(train, tmp_path):
    for split in ("train", "validation"):
        write(tmp_path, split, train)
    assert load(tmp_path, "sts").label_ids == {text: float(text) for text in train}
