"""The cache of rows: what is read again, and a cache that can't be written."""

import json
import multiprocessing
import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from test_columns import message_of, read

from pairft import predict
from pairft.data import cache, files
from pairft.errors import UserError


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_a_file_changed_in_content_alone_is_read_again(kind, tmp_path):
    """The same path, size and time: a cache that goes by these gives the old rows."""
    path = tmp_path / f"train.{kind}"
    for text in ("one", "two"):
        row = {"a": text, "b": "b", "y": "1"}
        if kind == "parquet":
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row]), path)
        else:
            path.write_text(json.dumps([row]) if kind == "json" else f"a,b,y\n{text},b,1\n")
        os.utime(path, (1e9, 1e9))
        assert read(path) == [row]


def test_the_same_content_elsewhere_is_not_read_again(tmp_path):
    made = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "train.csv").write_text("a,b,y\nc,d,1\n")
        found = files.read_files([tmp_path / folder / "train.csv"], ("a", "b"), "y")
        made.append([part["filename"] for part in found.cache_files])
    assert made[0] == made[1]


SCHEMA = pyarrow.schema([("a", pyarrow.string())])


def slow_batches(number: int) -> Iterator[pyarrow.RecordBatch]:
    for _ in range(number):
        time.sleep(0.01)
        yield pyarrow.RecordBatch.from_pylist([{"a": "x"}] * 1000, SCHEMA)


def keep(path: Path) -> int:
    cache.write_rows(path, SCHEMA, slow_batches(20))
    return len(pyarrow.ipc.open_stream(path).read_all())


def test_processes_that_write_the_same_rows_both_get_them_whole(tmp_path):
    path = tmp_path / "key" / "rows.arrow"
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(keep, [path, path], chunksize=1) == [20_000, 20_000]
    assert [file.name for file in path.parent.iterdir()] == ["rows.arrow"]


def test_an_error_midway_leaves_nothing_in_the_cache(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    path = tmp_path / "train.csv"
    path.write_text("a,b,y\n" + "c,d,1\n" * 30_000 + "c,d\n")
    assert "row 30001" in message_of(read, path)
    assert not [file for file in (tmp_path / "cache").rglob("*") if file.is_file()]
    path.write_text("a,b,y\n" + "c,d,1\n" * 30_001)
    found = files.read_files([path], ("a", "b"), "y")
    assert len(found) == 30_001 and found[30_000] == {"a": "c", "b": "d", "y": "1"}


def test_rows_that_do_not_fit_are_named(tmp_path):
    """A limit on the size of files stands for a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(UserError, match=r"can't write to the cache folder .*File too large; set HF_DATASETS_CACHE"):
            cache.write_rows(tmp_path / "cache" / "rows.arrow", SCHEMA, slow_batches(20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list((tmp_path / "cache").iterdir())


@pytest.mark.parametrize("source", ["csv", "parquet"])
def test_a_part_of_the_cache_that_another_owns_is_named(source, tmp_path, monkeypatch):
    """The data aren't blamed for it. A file stands where our folder should be."""
    import datasets

    cache = tmp_path / "cache"
    cache.mkdir()
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
    (cache / "pairft").write_text("")
    path = tmp_path / f"train.{source}"
    if source == "csv":
        path.write_text("a,b,y\nc,d,1\n")
    else:
        pyarrow.parquet.write_table(pyarrow.table({"a": ["a"], "b": ["b"], "y": [1]}), path)
    message = message_of(read, path)
    assert f"can't write to the cache folder {cache}" in message and "set HF_DATASETS_CACHE" in message


@pytest.mark.parametrize("source", ["folder", "builtin"])
def test_a_cache_that_cannot_be_written_is_named(source, go, tiny_model, tmp_path, monkeypatch, capsys):
    import datasets

    (tmp_path / "file").write_text("")
    cache = tmp_path / "file" / "datasets"  # not even root can make a folder below a file
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)  # as the variable does when it is imported
    rows = tmp_path / "data" / "train.csv"
    rows.parent.mkdir()
    for split in ("train", "validation"):
        rows.with_stem(split).write_text("sentence1,sentence2,label\na,b,1\nc,d,0\n")
    assert go("--data", "builtin" if source == "builtin" else rows.parent, "--max-steps", 1) == 2
    command = ["--model", tiny_model, "--data", rows, "--output", tmp_path / "o.csv"]
    command += ["--text-columns", "sentence1,sentence2"]
    assert predict.main([str(part) for part in command]) == 2
    messages = capsys.readouterr().err.splitlines()
    assert len(messages) == 2
    for message in messages:
        assert f"can't write to the cache folder {cache}" in message and "set HF_DATASETS_CACHE" in message
    assert not list((tmp_path / "runs").iterdir()) and not (tmp_path / "o.csv").exists()
