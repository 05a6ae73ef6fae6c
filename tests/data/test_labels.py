"""Labels from training to prediction: which class a row has, whatever file says so, and what is said of them."""

import csv
import json
from pathlib import Path
from typing import Any

import datasets
import numpy
import pyarrow
import pyarrow.parquet
import pytest
from conftest import some_pairs

from pairft import predict
from pairft.config import Config
from pairft.data.pairs import fingerprint, load_pairs
from pairft.data.summary import near_equal, summary
from pairft.errors import UserError

KINDS = ("csv", "jsonl", "parquet")


def pairs_with(answers: list[Any]) -> dict[str, list[Any]]:
    pairs = some_pairs("train", len(answers))
    return {"a": [pair["sentence1"] for pair in pairs], "b": [pair["sentence2"] for pair in pairs], "y": answers}


def write(path: Path, answers: Any, names: list[str] | None = None) -> Path:
    """Pairs with these labels; `names`: of a ClassLabel, in parquet."""
    path.parent.mkdir(exist_ok=True)
    columns = pairs_with(answers)
    if path.suffix == ".parquet":
        kinds: dict[str, Any] = {"a": datasets.Value("string"), "b": datasets.Value("string")}
        kinds["y"] = datasets.ClassLabel(names=names) if names else datasets.Value("string")
        datasets.Dataset.from_dict(columns, features=datasets.Features(kinds)).to_parquet(str(path))
    elif path.suffix == ".jsonl":
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([list(columns), *zip(*columns.values(), strict=True)])
    return path


FLAGS = ("--task", "custom", "--text-columns", "a,b", "--label-column", "y", "--max-steps", 1, "--run-name", "a")


@pytest.fixture
def score(tmp_path, capsys):
    """Predict a file with run a's model: exit code, answers, and what was said."""

    def run(path: Path) -> tuple[int, list[str], str]:
        capsys.readouterr()
        command = ["--model", tmp_path / "runs" / "a" / "best", "--data", path, "--output", tmp_path / "o.parquet"]
        code = predict.main([str(part) for part in command])
        said = capsys.readouterr()
        answers = [] if code else pyarrow.parquet.read_table(tmp_path / "o.parquet")["label"].to_pylist()
        return code, answers, said.out + said.err

    return run


@pytest.mark.parametrize("names", [["unrelated", "duplicate"], ["1", "0"], ["1", "2", "3"]])
def test_predict_scores_what_training_took_and_a_csv_of_its_ids_or_names(names, go, score, tmp_path):
    """The accuracy that predict prints is the one that its answers have."""
    ids = [0, 1, 1, 0, len(names) - 1, 1]
    for split in ("train", "validation"):
        write(tmp_path / "data" / f"{split}.parquet", ids, names)
    assert go("--data", tmp_path / "data", *FLAGS) == 0
    files = {"data/validation.parquet": names, "names.csv": names, "names.jsonl": names}
    write(tmp_path / "names.csv", [names[label] for label in ids])
    write(tmp_path / "names.jsonl", [names[label] for label in ids])
    write(tmp_path / "other.parquet", [len(names) - 1 - label for label in ids], names[::-1])
    files["other.parquet"] = names  # the same names in another order
    if names[0] == "unrelated":
        write(tmp_path / "ids.csv", ids)
        files["ids.csv"] = names
    for name in files:
        code, answers, said = score(tmp_path / name)
        right = numpy.mean([answer == names[label] for answer, label in zip(answers, ids, strict=True)])
        assert code == 0 and f"accuracy {right:.4f}" in said and "(6 rows)" in said, (name, said)


@pytest.mark.parametrize("kind", KINDS)
def test_ids_are_no_labels_where_the_order_is_the_alphabets(kind, go, score, tmp_path):
    for split in ("train", "validation"):
        write(tmp_path / "data" / f"{split}.{kind}", ["no", "yes", "yes", "no"])
    assert go("--data", tmp_path / "data", *FLAGS) == 0
    code, _, said = score(write(tmp_path / f"ids.{kind}", ["1", "0"]))
    assert code == 0 and "not scored: " in said and "row 1 has the label '1'" in said and "no, yes" in said
    code, _, said = score(write(tmp_path / "own.parquet", [0, 1], ["no", "maybe"]))
    assert code == 0 and "not scored: " in said and "no, maybe" in said and "accuracy" not in said


@pytest.mark.parametrize("placeholder", ["?", "-", "", "-1", "unknown"])
def test_a_placeholder_is_answered_and_not_scored(placeholder, go, score, tmp_path):
    for split in ("train", "validation"):
        write(tmp_path / "data" / f"{split}.csv", ["no", "yes", "yes", "no"])
    test = write(tmp_path / "data" / "test.csv", [placeholder] * 3)
    assert go("--data", tmp_path / "data", *FLAGS) == 0
    code, answers, said = score(test)
    assert code == 0 and len(answers) == 3 and set(answers) <= {"no", "yes"}
    assert "'y' holds no known label, so nothing is scored" in said and "accuracy" not in said


def test_labels_from_leading_zeros_are_answered_as_they_are(go, score, tmp_path):
    for split in ("train", "validation", "test"):
        write(tmp_path / "data" / f"{split}.csv", ["01", "02", "10", "01"])
    assert go("--data", tmp_path / "data", *FLAGS) == 0
    code, answers, said = score(tmp_path / "data" / "test.csv")
    assert code == 0 and set(answers) <= {"01", "02", "10"} and "(4 rows)" in said


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        (["yes"] * 3 + ["no"], "label: 2 classes (no 25 %, yes 75 %) in 4 training examples; F1 is of yes"),
        (["-1", "0", "1", "1"], "label: 3 classes (-1 25 %, 0 25 %, 1 50 %) in 4 training examples; F1 is the mean"),
        (["+", "-"], "label: 2 classes (+ 50 %, - 50 %) in 2 training examples; F1 is of -"),
        (["0.5", "4.75", "-1", "2"], "label: a regression from -1 to 4.75 (mean 1.5625) in 4 training examples"),
        (["Yes", "yes", "YES", "no"], "warning: classes that differ only in spelling: 'YES', 'Yes', 'yes'"),
        (["1", "01", "2", "2"], "warning: classes that differ only in spelling: '01', '1'"),
        (
            [f"c{number:02}" for number in range(30)],
            "c19 3.3 % and 10 more) in 30 training examples; F1 is the mean",
        ),
    ],
)
def test_what_was_understood_is_said_before_training(answers, said, go, tmp_path, capsys):
    for split in ("train", "validation"):
        write(tmp_path / "data" / f"{split}.csv", answers)
    assert go("--data", tmp_path / "data", *FLAGS) == 0
    message = capsys.readouterr().err
    assert said in message
    assert message.index(said) < message.index("step 1/1")
    if "warning" not in said:
        assert "differ only" not in message


def test_the_shares_are_of_the_names_that_a_class_label_has(tmp_path):
    write(tmp_path / "data" / "train.parquet", [0, 1, 1, 1], ["1", "0", "never"])
    write(tmp_path / "data" / "validation.parquet", [0, 1], ["1", "0", "never"])
    found = load_pairs(Config(task="custom", data=str(tmp_path / "data"), text_columns=("a", "b"), label_column="y"))
    assert "label: 3 classes (1 25 %, 0 75 %, never 0 %) in 4 training examples" in summary(found, "custom")


@pytest.mark.parametrize(
    ("names", "groups"),
    [
        (["no", "yes"], []),
        (["No", "no", "yes"], [["No", "no"]]),
        (
            ["not_equivalent", "not equivalent", "Not-Equivalent"],
            [["not_equivalent", "not equivalent", "Not-Equivalent"]],
        ),
        (["1", "1.0", "01", "10"], [["1", "1.0", "01"]]),
        (["ＡＢ", "ab", "Straße", "STRASSE"], [["ＡＢ", "ab"], ["Straße", "STRASSE"]]),
        (["C", "C++", "C#"], []),
    ],
)
def test_names_that_differ_only_in_spelling(names, groups):
    assert near_equal(names) == groups


def test_an_id_that_a_class_label_has_no_name_for_is_named(tmp_path):
    write(tmp_path / "data" / "validation.parquet", [0, 1], ["no", "yes"])
    table = pyarrow.parquet.read_table(tmp_path / "data" / "validation.parquet")
    five = table.set_column(2, table.schema.field("y"), pyarrow.array([0, 5]))
    pyarrow.parquet.write_table(five, tmp_path / "data" / "train.parquet")
    with pytest.raises(UserError, match="row 2 has the label 'class id 5'"):
        load_pairs(Config(task="custom", data=str(tmp_path / "data"), text_columns=("a", "b"), label_column="y"))


def test_the_fingerprint_tells_the_names_of_the_classes():
    def prints(names: list[str]) -> str:
        kinds = datasets.Features(a=datasets.Value("string"), y=datasets.ClassLabel(names=names))
        rows = datasets.Dataset.from_dict({"a": ["x", "z"], "y": [0, 1]}, features=kinds)
        return fingerprint(rows, ("a", "y"))

    assert prints(["no", "yes"]) == prints(["no", "yes"]) != prints(["yes", "no"])
