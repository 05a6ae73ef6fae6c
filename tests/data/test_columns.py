"""Which columns are read: named by flag or YAML, those that nobody asked for left alone, and what is said of others."""

import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import yaml

from pairft import checks, config, flags, predict
from pairft.config import Config
from pairft.data import files, shards
from pairft.data.pairs import check_columns, check_sentences, load_pairs, without_nulls
from pairft.errors import UserError


class Tagged(pyarrow.ExtensionType):
    """A type that no reader knows."""

    def __init__(self) -> None:
        super().__init__(pyarrow.int64(), "pairft.tests.tagged")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: Any, serialized: bytes) -> "Tagged":
        return cls()


def read(path: Path, *texts: str, label: str = "y") -> list[dict[str, Any]]:
    return files.read_files([path], texts or ("a", "b"), label).to_list()


def message_of(call: Any, *arguments: Any, **more: Any) -> str:
    with pytest.raises(UserError) as caught:
        call(*arguments, **more)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("a,b", ("a", "b")),
        ("a, b", ("a", "b")),
        ('"Question, short",Answer 1', ("Question, short", "Answer 1")),
        ('"Question, short" , "Answer, long"', None),  # text behind a quote
        ('"Question, short"', ("Question, short",)),
        ('"say ""no"", twice",b', ('say "no", twice', "b")),
        ('5" nails,b', ('5" nails', "b")),
        ('"a,b', None),
    ],
)
def test_a_name_with_a_comma_stands_in_quotes(text, columns, tmp_path):
    if columns is None:
        assert "in double quotes" in message_of(flags.read_flags, ["--text-columns", text])
        return
    assert flags.read_flags(["--text-columns", text]) == {"text_columns": columns}
    written = config.to_yaml(Config(text_columns=columns))
    assert yaml.safe_load(written)["text_columns"] == list(columns)
    (tmp_path / "config.yaml").write_text(written, encoding="utf-8")
    assert flags.read_file(tmp_path / "config.yaml")["text_columns"] == columns


def test_columns_whose_names_hold_commas_train_and_predict(go, tmp_path, capsys):
    rows = '"Question, short",Answer 1,Same?\na b,a c,no\nd e,d e,yes\n'
    for split in ("train", "validation"):
        (tmp_path / f"{split}.csv").write_text(rows)
    columns = ("--text-columns", '"Question, short",Answer 1', "--label-column", "Same?")
    assert go("--data", tmp_path, "--task", "custom", *columns, "--max-steps", 1, "--run-name", "a") == 0
    best = str(tmp_path / "runs" / "a" / "best")
    for more in ((), columns):
        assert predict.main(["--model", best, "--data", str(tmp_path / "validation.csv"), *more]) == 0
        assert "(2 rows)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"task": "custom", "text_columns": ("sentence1", "label")}, "label"),  # the default label column
        ({"task": "custom", "text_columns": ("a", "y"), "label_column": "y"}, "y"),
        ({"task": "mrpc", "label_column": "sentence2"}, "sentence2"),
        ({"task": "mrpc", "text_columns": ("label", "b")}, "label"),
    ],
)
def test_the_label_is_no_sentence(given, name):
    message = message_of(checks.resolve, given)
    assert message == f"--text-columns names {name!r}, which is the label column: name another with --label-column"


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_the_label_is_no_sentence_for_predict_either(kind, tiny_model, tmp_path, capsys):
    path = tmp_path / f"rows.{kind}"
    if kind == "parquet":
        pyarrow.parquet.write_table(pyarrow.table({"a": ["x"], "y": ["no"]}), path)
    else:
        path.write_text('{"a": "x", "y": "no"}\n' if kind == "jsonl" else "a,y\nx,no\n")
    command = ["--model", str(tiny_model), "--data", str(path), "--text-columns", "a,y", "--label-column", "y"]
    assert predict.main([*command, "--output", str(tmp_path / "o.csv")]) == 2
    message = capsys.readouterr().err
    assert "'y'" in message and "--label-column" in message and "Traceback" not in message


def unwanted_types() -> dict[str, pyarrow.Array]:
    return {
        "map": pyarrow.array([[("k", "v")], []], pyarrow.map_(pyarrow.string(), pyarrow.string())),
        "extension": pyarrow.ExtensionArray.from_storage(Tagged(), pyarrow.array([1, 2])),
        "duration": pyarrow.array([1, 2], pyarrow.duration("s")),
        "nested": pyarrow.array([{"a": [1]}, {"a": []}]),
    }


@pytest.mark.parametrize("kind", unwanted_types())
def test_columns_that_nobody_asked_for_are_not_read(kind, tmp_path):
    table = pyarrow.table({"meta": unwanted_types()[kind], "y": ["no", "yes"], "b": ["c", "d"], "a": ["a", "b"]})
    pyarrow.register_extension_type(Tagged())
    try:
        for split in ("train", "validation"):
            pyarrow.parquet.write_table(table, tmp_path / f"{split}.parquet")
        config = Config(task="custom", data=str(tmp_path), text_columns=("a", "b"), label_column="y")
        found = load_pairs(config)
        assert found.splits["train"].to_list() == [{"a": "a", "b": "c", "y": "no"}, {"a": "b", "b": "d", "y": "yes"}]
        wanted = message_of(read, tmp_path / "train.parquet", "a", "meta")
        assert "'meta'" in wanted and "train.parquet" in wanted and "not text" in wanted
        label = message_of(read, tmp_path / "train.parquet", "a", label="meta")
        assert "'meta'" in label and "not names or numbers" in label
    finally:
        pyarrow.unregister_extension_type("pairft.tests.tagged")


@pytest.mark.parametrize(
    "column",
    [
        pyarrow.array(["x", "y", None], pyarrow.string_view()),
        pyarrow.array(["x", "y", None], pyarrow.large_string()),
        pyarrow.array(["x", "y", None]).dictionary_encode(),
        pyarrow.array(["x", "y", None], pyarrow.large_string()).dictionary_encode(),
    ],
    ids=lambda column: str(column.type),
)
def test_text_is_text_however_it_is_laid_out(column, tmp_path):
    table = pyarrow.table({"a.b": column, "b": ["b"] * 3, "y": [1, 0, 1]})  # a dot in a name is no path
    pyarrow.parquet.write_table(table, tmp_path / "train.parquet")
    found = files.read_files([tmp_path / "train.parquet"], ("a.b", "b"), "y")
    assert found.to_list() == [{"a.b": text, "b": "b", "y": label} for text, label in (("x", 1), ("y", 0), (None, 1))]
    raw = type(found)(pyarrow.Table.from_batches(table.to_batches()))  # as a loader of the Hub may leave it
    for rows in (found, raw):
        check_columns(rows, "here", ("a.b", "b"), "y", True)
        with pytest.raises(UserError, match=r"row 3: 'a\.b' is empty"):
            check_sentences(rows, "here", ("a.b", "b"), allowed=0)
        assert check_sentences(rows, "here", ("a.b", "b"), allowed=1) == 1
        assert without_nulls(rows, ("a.b", "b"))["a.b"][:] == ["x", "y", ""]


def test_empty_columns_without_a_name_are_ignored_and_said_once(tmp_path, capsys):
    for split in ("train", "validation", "test"):
        (tmp_path / f"{split}.csv").write_text("a,b,y,,\nc,d,no,,\ne,f,yes, ,\n")
    found = load_pairs(Config(task="custom", data=str(tmp_path), text_columns=("a", "b"), label_column="y"))
    assert found.splits["train"].to_list() == [{"a": "c", "b": "d", "y": "no"}, {"a": "e", "b": "f", "y": "yes"}]
    message = capsys.readouterr().err
    assert message == f"{tmp_path}: ignoring 2 empty column(s) without a name at the end of each table\n"


def test_other_columns_without_a_name_are_columns_like_any(tmp_path, capsys):
    (tmp_path / "index.csv").write_text(",a,b,y\n0,c,d,no\n")  # as pandas writes its index
    assert read(tmp_path / "index.csv") == [{"a": "c", "b": "d", "y": "no"}]
    assert (
        capsys.readouterr().err
        == f"{tmp_path}: ignoring the first column of each table, which has no name (an index)\n"
    )
    (tmp_path / "shifted.csv").write_text("a,b,y,,\nc,d,no,,\nHello, world,f,yes,\n")  # a comma too many
    assert "row 2: 'yes' is in a column without a name" in message_of(read, tmp_path / "shifted.csv")
    (tmp_path / "twice.csv").write_text("a,b,a,,\nc,d,no,,\n")
    assert "names the column 'a' twice" in message_of(read, tmp_path / "twice.csv", "b", label="a")
    assert files.read_files([tmp_path / "twice.csv"], ("b",), None).to_list() == [{"b": "d"}]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("rows.csv", "a;b;y\nc, d;e;no\n", "semicolons (';')"),
        ("rows.csv", 'a;"b";"y"\n"c, d";e;no\n', "semicolons (';')"),
        ("rows.csv", "a\tb\ty\nc, d\te\tno\n", "tabs ('\\t')"),
        ("rows.csv", "a|b|y\nc, d|e|no\n", "vertical bars ('|')"),
        ("rows.tsv", 'a,b,y\n"c, d",e,no\n', "commas (',')"),
    ],
)
def test_another_delimiter_is_read_and_said(name, content, said, tmp_path, capsys):
    (tmp_path / name).write_text(content)
    assert read(tmp_path / name) == [{"a": "c, d", "b": "e", "y": "no"}]
    assert f"{tmp_path / name}: columns are separated by {said}\n" in capsys.readouterr().err


def test_without_the_wanted_columns_no_other_delimiter_is_taken(tmp_path, capsys):
    (tmp_path / "rows.csv").write_text("a;c;y\nc;d;no\n")
    assert "it has: a;c;y. Name others with --text-columns" in message_of(read, tmp_path / "rows.csv")
    assert capsys.readouterr().err == ""


def test_shards_that_number_their_classes_differently_are_refused(tmp_path):
    import datasets

    for number, names in enumerate((["no", "yes"], ["yes", "no"])):
        kinds = {"a": datasets.Value("string"), "b": datasets.Value("string"), "y": datasets.ClassLabel(names=names)}
        rows = datasets.Dataset.from_dict({"a": ["a"], "b": ["b"], "y": [0]}, features=datasets.Features(kinds))
        rows.to_parquet(str(tmp_path / f"train-{number}-of-2.parquet"))
    message = message_of(files.read_files, shards.split_files(tmp_path, "train"), ("a", "b"), "y")
    assert "train-1-of-2.parquet numbers its classes as ['yes', 'no']" in message and "['no', 'yes']" in message


def test_metadata_of_unwanted_columns_may_say_anything(tmp_path):
    """A feature that this version of `datasets` doesn't know, beside a ClassLabel that it does."""
    about = {"y": {"names": ["no", "yes"], "_type": "ClassLabel"}, "meta": {"_type": "FeatureOfTheFuture"}}
    table = pyarrow.table({"a": ["a"], "b": ["b"], "y": pyarrow.array([1], pyarrow.int8()), "meta": [1]})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": about}})})
    pyarrow.parquet.write_table(table, tmp_path / "train.parquet")
    found = files.read_files([tmp_path / "train.parquet"], ("a", "b"), "y")
    assert found.features["y"].names == ["no", "yes"] and found["y"][:] == [1]
