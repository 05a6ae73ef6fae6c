"""Parquet, Arrow and Feather files with the types that writers give them: their values, or a message."""

import decimal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pandas
import pyarrow
import pyarrow.feather
import pyarrow.parquet
import pytest

from pairft.config import Config
from pairft.data import files, typed_files
from pairft.data.labels import label_texts
from pairft.data.pairs import load_pairs
from pairft.errors import UserError


def write_file(table: pyarrow.Table, path: Path, **options: Any) -> None:
    with pyarrow.ipc.new_file(path, table.schema, options=pyarrow.ipc.IpcWriteOptions(**options)) as file:
        file.write_table(table, max_chunksize=2)


def write_stream(table: pyarrow.Table, path: Path) -> None:
    with pyarrow.ipc.new_stream(path, table.schema) as file:
        file.write_table(table, max_chunksize=2)


WRITERS: dict[str, Callable[[pyarrow.Table, Path], None]] = {
    "parquet": pyarrow.parquet.write_table,
    "small.parquet": lambda table, path: pyarrow.parquet.write_table(table, path, row_group_size=2, version="1.0"),
    "file.arrow": write_file,
    "stream.arrow": write_stream,
    "zstd.arrow": lambda table, path: write_file(table, path, compression="zstd"),
    "feather": lambda table, path: pyarrow.feather.write_feather(table, str(path), compression="lz4"),
    "plain.feather": lambda table, path: pyarrow.feather.write_feather(table, str(path), compression="uncompressed"),
}


def put(path: Path, table: pyarrow.Table) -> Path:
    WRITERS[path.name.partition(".")[2]](table, path)
    return path


def read(path: Path, label: str = "y") -> datasets.Dataset:
    return files.read_files([path], ["a", "b"], label)


def table_of(texts: pyarrow.Array, labels: Any = (0, 1, 1)) -> pyarrow.Table:
    unknown = pyarrow.array([[("k", "v")], [], None], pyarrow.map_(pyarrow.string(), pyarrow.string()))
    return pyarrow.table({"meta": unknown, "y": labels, "b": texts, "a": ["NA", "007", "x"]})


TEXTS = ["👩 é", None, ""]
TEXT_KINDS = {
    "string": pyarrow.string(),
    "large_string": pyarrow.large_string(),
    "string_view": pyarrow.string_view(),
    "binary": pyarrow.binary(),
    "large_binary": pyarrow.large_binary(),
    "binary_view": pyarrow.binary_view(),
    "dictionary": pyarrow.dictionary(pyarrow.int8(), pyarrow.string()),
    "dictionary of large strings": pyarrow.dictionary(pyarrow.int32(), pyarrow.large_string()),
}


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("kind", TEXT_KINDS)
def test_text_of_every_layout(kind, writer, tmp_path):
    values = pyarrow.array(TEXTS)
    target = TEXT_KINDS[kind]
    values = values.dictionary_encode().cast(target) if "dictionary" in kind else values.cast(target)
    found = read(put(tmp_path / f"train.{writer}", table_of(values)))
    assert found.column_names == ["a", "b", "y"]
    assert found["b"][:] == TEXTS and found["a"][:] == ["NA", "007", "x"] and found["y"][:] == [0, 1, 1]


LABELS = {
    "int8": (pyarrow.array([0, -1, 1], pyarrow.int8()), ["0", "-1", "1"]),
    "uint64": (pyarrow.array([0, 2**63, None], pyarrow.uint64()), ["0", str(2**63), None]),
    "boolean": (pyarrow.array([True, False, None]), ["true", "false", None]),
    "decimal": (pyarrow.array([decimal.Decimal("1.00"), decimal.Decimal("2.50"), None]), ["1", "2.50", None]),
    "half float": (pyarrow.array([1.0, 2.5, None], pyarrow.float16()), ["1", "2.5", None]),
    "integers as floats (pandas)": (pyarrow.array([1.0, float("nan"), 0.0]), ["1", None, "0"]),
    "dictionary": (pyarrow.array(["no", "yes", "no"]).dictionary_encode(), ["no", "yes", "no"]),
    "dictionary of integers": (pyarrow.array([1, 0, 1]).dictionary_encode(), ["1", "0", "1"]),
    "string_view": (pyarrow.array(["no", "yes", None], pyarrow.string_view()), ["no", "yes", None]),
    "binary": (pyarrow.array([b"01", b"1", None]), ["01", "1", None]),
    "null": (pyarrow.nulls(3), [None, None, None]),
}


@pytest.mark.parametrize("writer", ["parquet", "stream.arrow"])
@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_every_type(kind, writer, tmp_path):
    values, texts = LABELS[kind]
    found = read(put(tmp_path / f"train.{writer}", table_of(pyarrow.array(TEXTS), values)))
    assert label_texts(found.data.column("y"), None).to_pylist() == texts


LISTS = {
    "list": pyarrow.list_(pyarrow.string()),
    "large_list": pyarrow.large_list(pyarrow.string()),
    "fixed_size_list": pyarrow.list_(pyarrow.string(), 2),
    "list of views": pyarrow.list_(pyarrow.string_view()),
}


@pytest.mark.parametrize("writer", ["parquet", "file.arrow"])
@pytest.mark.parametrize("kind", LISTS)
def test_lists_of_labels_stay_lists(kind, writer, tmp_path):
    values = [["spam", "ad"], ["ad", "x"], None]
    found = read(put(tmp_path / f"train.{writer}", table_of(pyarrow.array(TEXTS), pyarrow.array(values, LISTS[kind]))))
    assert found["y"][:] == values


@pytest.mark.parametrize("writer", WRITERS)
def test_names_of_classes_come_from_the_metadata(writer, tmp_path):
    rows = {"a": ["x", "y"] * 3, "b": ["v", "w"] * 3, "y": [0, 1] * 3}
    made = datasets.Dataset.from_dict(rows).cast_column("y", datasets.ClassLabel(names=["no", "yes"]))
    for split in ("train", "validation"):
        put(tmp_path / f"{split}.{writer}", made.data.table)
    if "." in writer:  # named as one file a split only with a plain suffix
        for path in list(tmp_path.iterdir()):
            path.rename(tmp_path / f"{path.name.partition('.')[0]}{path.suffix}")
    pairs = load_pairs(Config(task="custom", data=str(tmp_path), text_columns=("a", "b"), label_column="y"))
    assert pairs.label_names == ("no", "yes")


@pytest.mark.parametrize("kind", ["parquet", "feather"])
def test_a_frame_that_pandas_writes(kind, tmp_path):
    frame = pandas.DataFrame({"a": ["x", None, "z"], "b": pandas.Categorical(["p", "q", "p"]), "y": [1.0, None, 0.0]})
    frame = frame.astype({"y": "Int8"})
    path = tmp_path / f"train.{kind}"
    getattr(frame, f"to_{kind}")(path)
    again = getattr(pandas, f"read_{kind}")(path).astype(object)
    assert read(path).to_list() == again.where(again.notna(), None).to_dict("records")


BROKEN: dict[str, tuple[str, bytes | pyarrow.Table, list[str]]] = {
    "not text": ("a.parquet", table_of(pyarrow.array([1, 2, 3])), ["'b'", "int64, not text"]),
    "not UTF-8": ("a.parquet", table_of(pyarrow.array([b"a", b"b", b"\xff"])), ["row 3", "'b'", "binary", "not text"]),
    "not UTF-8 in Arrow": ("stream.arrow", table_of(pyarrow.array([b"a", b"b", b"\xe9"])), ["row 3", "'b'", "binary"]),
    "dates as labels": ("a.parquet", table_of(pyarrow.array(TEXTS), pandas.to_datetime(["2024"] * 3)), ["timestamp"]),
    "structs as labels": ("file.arrow", table_of(pyarrow.array(TEXTS), [{"n": 1}] * 3), ["'y'", "not names"]),
    "no such column": ("file.arrow", table_of(pyarrow.array(TEXTS)).drop_columns("b"), ["no column 'b'", "meta, y, a"]),
    "no rows": ("file.arrow", table_of(pyarrow.array(TEXTS)).slice(0, 0), ["no rows"]),
    "no batches": ("stream.arrow", table_of(pyarrow.array(TEXTS)).slice(3), ["no rows"]),
    "Feather version 1": ("a.feather", b"FEA1" + bytes(40) + b"FEA1", ["version 1", "to_feather"]),
    "no Arrow file": ("a.arrow", b"a,b,y\nx,y,1\n", ["can't read"]),
    "an empty file": ("a.feather", b"", ["can't read"]),
    "no parquet file": ("a.parquet", b"a,b,y\nx,y,1\n", ["can't read"]),
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_wrong_is_said(kind, tmp_path, capfd):
    name, content, words = BROKEN[kind]
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        {"a.parquet": pyarrow.parquet.write_table, "file.arrow": write_file, "stream.arrow": write_stream}[name](
            content, path
        )
    with pytest.raises(UserError) as caught:
        read(path)
    assert all(word in str(caught.value) for word in [name, *words]), caught.value
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("writer", ["parquet", "file.arrow", "stream.arrow"])
def test_only_the_wanted_columns_are_loaded(writer, tmp_path):
    path = put(tmp_path / f"train.{writer}", table_of(pyarrow.array(TEXTS)))
    assert {tuple(batch.schema.names) for batch in typed_files.raw_batches(path, ["b"])} == {("b",)}


@pytest.mark.parametrize("writer", ["feather", "stream.arrow"])
def test_a_file_that_is_cut_short_is_named(writer, tmp_path):
    path = put(tmp_path / f"train.{writer}", table_of(pyarrow.array(TEXTS)))
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(UserError, match=f"can't read .*train.{writer}"):
        read(path)


def test_shards_with_other_layouts_of_the_same_types(tmp_path):
    kinds = [pyarrow.string(), pyarrow.large_string(), pyarrow.string_view()]
    labels = [pyarrow.int64(), pyarrow.int8(), pyarrow.uint16()]
    paths = [
        put(tmp_path / f"{number}.parquet", table_of(pyarrow.array(TEXTS, kind), pyarrow.array([0, 1, 1], label)))
        for number, (kind, label) in enumerate(zip(kinds, labels, strict=True))
    ]
    found = files.read_files(paths, ["a", "b"], "y")
    assert found["b"][:] == TEXTS * 3 and found["y"][:] == [0, 1, 1] * 3


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    ("labels", "wanted"),
    [
        (([2, 0, 1], [1.0, None, 0.0]), ["2", "0", "1", "1", None, "0"]),  # as pandas writes integers beside none
        (([None, None, None], [2, 0, 1]), [None, None, None, "2", "0", "1"]),
        ((pyarrow.array([2, 0, 1], pyarrow.int8()), [2**40, 0, 1]), ["2", "0", "1", str(2**40), "0", "1"]),
    ],
)
def test_shards_with_labels_of_several_types(labels, wanted, reverse, tmp_path):
    paths = [put(tmp_path / f"{n}.parquet", table_of(pyarrow.array(TEXTS), some)) for n, some in enumerate(labels)]
    if reverse:
        paths, wanted = paths[::-1], [*wanted[3:], *wanted[:3]]
    assert label_texts(files.read_files(paths, ["a", "b"], "y").data.column("y"), None).to_pylist() == wanted


def test_numbers_never_become_booleans(tmp_path):
    some = ([True, False, None], [2, 0, 1])
    paths = [put(tmp_path / f"{n}.parquet", table_of(pyarrow.array(TEXTS), labels)) for n, labels in enumerate(some)]
    for order in (paths, paths[::-1]):
        with pytest.raises(UserError, match="'y' has booleans in some files"):
            files.read_files(order, ["a", "b"], "y")
