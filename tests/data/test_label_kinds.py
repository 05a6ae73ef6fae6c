"""What labels are taken for: classes, values or sets of classes; what a flag changes, and what is an error."""

import datasets
import numpy
import pytest
from label_files import folder, load, message_of, write_csv
from sklearn.utils.class_weight import compute_class_weight

from pairft.data.summary import percent, summary
from pairft.tasks import REGRESSION, SINGLE_LABEL

SCORES = list(range(101))


def test_many_whole_numbers_are_never_taken_silently(tmp_path):
    data = folder(tmp_path / "data", SCORES)
    message = message_of(data)
    assert "'y'" in message and "101 different whole numbers from 0 to 100: scores or classes?" in message
    assert "add --regression or --classification" in message
    values = load(data, regression=True)
    assert (values.problem_type, values.label_names) == (REGRESSION, None)
    assert values.label_ids == {str(score): float(score) for score in SCORES}
    assert summary(values, "custom").startswith("label: a regression from 0 to 100 (mean 50) in 101 training")
    classes = load(data, classification=True)
    assert classes.problem_type == SINGLE_LABEL
    assert classes.label_names == tuple(map(str, SCORES))  # numbers as numbers: 2 before 10
    assert load(folder(tmp_path / "few", list(range(20)))).problem_type == SINGLE_LABEL
    assert message_of(data, task="nli", text_columns=("a", "b")) == message


def test_many_numbers_that_a_class_label_names_are_classes(tmp_path):
    kinds = datasets.Features(a=datasets.Value("string"), y=datasets.ClassLabel(names=[str(n) for n in range(40)]))
    rows = {"a": [f"a{n}" for n in range(40)], "y": list(range(40))}
    for split in ("train", "validation"):
        datasets.Dataset.from_dict(rows, features=kinds).to_parquet(str(tmp_path / f"{split}.parquet"))
    found = load(tmp_path, text_columns=("a",))
    assert (found.problem_type, len(found.label_names or ())) == (SINGLE_LABEL, 40)


def test_fractions_that_begin_in_the_validation_split_are_named(tmp_path):
    data = folder(tmp_path / "data", [1, 2, 3, 4], [1, 2.5])
    message = message_of(data)
    assert "validation split" in message and "row 2 has the label '2.5'" in message and "add --regression" in message
    assert load(data, regression=True).label_ids == {"1": 1, "2": 2, "3": 3, "4": 4, "2.5": 2.5}
    assert "--regression" not in message_of(folder(tmp_path / "names", ["no", "yes"], ["no", "2.5"]))
    assert load(folder(tmp_path / "later", [*[1, 2] * 50, 0.5], [1])).problem_type == REGRESSION  # later in the file


def test_fractions_and_mixed_labels_may_be_classes(tmp_path):
    assert load(folder(tmp_path / "a", ["0.5", "2", "10"]), classification=True).label_names == ("0.5", "2", "10")
    mixed = folder(tmp_path / "b", ["0", "one"])
    assert "add --classification" in message_of(mixed)
    assert load(mixed, classification=True).label_names == ("0", "one")


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["-1", "0", "1"], ("-1", "0", "1")),
        (["-1", "1"], ("-1", "1")),
        (["-1", "1", "2", "3"], ("-1", "1", "2", "3")),  # not ids from 0
        (["-2", "-1", "0", "2"], ("-2", "-1", "0", "2")),
        (["0", "1", "2", "-1"], None),
        (["no", "yes", "-1"], None),
    ],
)
def test_minus_one_is_a_class_unless_the_others_are_ids_from_0(labels, names, tmp_path):
    data = folder(tmp_path, labels)
    if names is None:
        message = message_of(data)
        assert "has the label '-1' (count: 1)" in message and "add --classification" in message
    else:
        found = load(data)
        assert found.label_names == names
        assert f"-1 {percent(1 / len(labels))}" in summary(found, "custom")
    assert set(load(data, classification=True).label_names or ()) == set(labels)
    if "no" not in labels:
        assert load(data, regression=True).label_ids["-1"] == -1.0


def test_minus_one_in_a_class_label_is_no_label(tmp_path):
    kinds = datasets.Features(a=datasets.Value("string"), y=datasets.ClassLabel(names=["-1", "0", "1"]))
    rows = {"a": ["x", "z", "w"], "y": [0, 2, -1]}
    datasets.Dataset.from_dict(rows, features=kinds).to_parquet(str(tmp_path / "data.parquet"))
    assert "row 3 has no label" in message_of(tmp_path / "data.parquet", text_columns=("a",))


def test_minus_one_is_a_score_if_a_flag_says_so(tmp_path):
    data = folder(tmp_path, ["0", "5", "-1"])
    assert "if it is a value, add --regression" in message_of(data, task="sts", text_columns=("a", "b"))
    assert load(data, task="sts", text_columns=("a", "b"), regression=True).label_ids["-1"] == -1.0
    classes = load(data, task="sts", text_columns=("a", "b"), classification=True)
    assert classes.label_names == ("-1", "0", "5")


def test_a_decimal_comma_is_read_and_said(tmp_path, capsys):
    data = folder(tmp_path / "data", ["1,25", "0,5", "3", "-2,0"], ["3", "4,5"])
    found = load(data)
    assert found.label_ids == {"1,25": 1.25, "0,5": 0.5, "3": 3.0, "-2,0": -2.0, "4,5": 4.5}
    said = capsys.readouterr().err.splitlines()
    assert [line for line in said if "comma" in line] == [f"{data}: 'y' is read with a decimal comma: 1,25 is 1.25"]
    assert load(folder(tmp_path / "c", ["1,25", "3"]), classification=True).label_names == ("3", "1,25")


@pytest.mark.parametrize(
    "labels", [["1,25", "0.5"], ["1,25", "high", "2"], ["1,250,000", "2"], ["1,5", "1.250,5", "2"]]
)
def test_other_commas_are_not_guessed(labels, tmp_path):
    assert repr(labels[0]) in message_of(folder(tmp_path, labels))


@pytest.mark.parametrize("limit", [None, 90])
def test_balanced_weights_are_scikit_learns_on_what_is_left_to_train_on(limit, tmp_path):
    labels = ["c", "a", "a", "b", "a", "b"] * 30
    found = load(write_csv(tmp_path / "train.csv", labels), class_weights="balanced", limit=limit)
    held = numpy.array(found.splits["train"]["y"])
    wanted = compute_class_weight("balanced", classes=numpy.array(["a", "b", "c"]), y=held)
    assert found.class_weights == pytest.approx(tuple(wanted), rel=1e-12)
    ids = [found.label_ids[label] for label in held]
    assert numpy.mean([found.class_weights[int(index)] for index in ids]) == pytest.approx(1.0, abs=1e-12)
    assert load(tmp_path / "train.csv").class_weights is None


def test_a_class_without_an_example_has_weight_1(tmp_path):
    kinds = datasets.Features(a=datasets.Value("string"), y=datasets.ClassLabel(names=["x", "never", "z"]))
    for split in ("train", "validation"):
        rows = datasets.Dataset.from_dict({"a": ["p", "q", "r", "s"], "y": [0, 2, 2, 2]}, features=kinds)
        rows.to_parquet(str(tmp_path / f"{split}.parquet"))
    weights = load(tmp_path, text_columns=("a",), class_weights="balanced").class_weights
    assert weights == pytest.approx((4 / (2 * 1), 1.0, 4 / (2 * 3)))


@pytest.mark.parametrize(
    ("flag", "setting"),
    [("--class-weights", {"class_weights": "balanced"}), ("--label-smoothing", {"label_smoothing": 0.1})],
)
def test_settings_of_the_classification_loss_are_for_classification(flag, setting, tmp_path):
    assert flag in message_of(folder(tmp_path / "r", ["0.5", "1"]), **setting)
    assert flag in message_of(folder(tmp_path / "m", ['["a"]', '["b"]']), **setting)


def test_a_positive_class_that_is_unknown_or_has_no_effect(tmp_path, capsys):
    message = message_of(folder(tmp_path / "c", ["no", "yes", "maybe"]), positive_class="yess")
    assert "--positive-class is 'yess'" in message and "maybe, no, yes; did you mean yes?" in message
    assert load(tmp_path / "c", positive_class="no").positive == 1
    for labels in (["0.5", "1"], ['["a"]', '["b"]']):
        assert load(folder(tmp_path / labels[0][:2], labels), positive_class="a").positive is None
        assert "note: --positive-class a has no effect" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("share", "shown"),
    [(0, "0 %"), (1, "100 %"), (1 / 3, "33 %"), (0.096, "9.6 %"), (0.0025, "0.25 %"), (0.0999, "10 %")],
)
def test_shares_have_two_digits(share, shown):
    assert percent(share) == shown
