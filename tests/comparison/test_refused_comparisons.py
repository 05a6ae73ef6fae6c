"""What can't be compared ends with one message that says why, and what to do."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy
import pyarrow
import pytest
from compared import copy_run, refused, result, rewrite, train_runs
from pyarrow import parquet

from pairft.runs import evaluations


@pytest.fixture(scope="module")
def trained(tiny_model: Path, pairs_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs: one, and a group of two seeds."""
    return train_runs(tmp_path_factory.mktemp("refused"), tiny_model, pairs_folder, one=[], group=["--seeds", "1,2"])


@pytest.fixture
def one(trained: Path, tmp_path: Path) -> Path:
    return copy_run(trained / "one", tmp_path / "runs" / "one")


def change_examples(run: Path, order: Any = None, **columns: Any) -> None:
    """Put the examples of a run, and its answers to them, in another order, or change some of their columns."""
    path = evaluations.examples_path(run, "validation")
    answers = evaluations.answers_path(run, "validation", evaluations.step_of(run, "best"))
    table = parquet.read_table(path)
    for name, values in columns.items():
        place = table.schema.get_field_index(name)
        table = table.set_column(place, table.schema.field(name), pyarrow.array(values, table.schema.types[place]))
    if order is not None:
        table = table.take(order)
        evaluations.write(answers, iter([parquet.read_table(answers).take(order)]))
    evaluations.write(path, iter([table]))


def test_the_same_run_twice(one, capsys, monkeypatch):
    short = copy_run(one, one.parent / "a")
    monkeypatch.chdir(short.parent)  # Python has one object for each text of one character
    assert "are the same run" in refused(capsys, "a", "a")
    assert "are the same run" in refused(capsys, one, one.parent / "." / "one")
    assert "name two runs or more" in refused(capsys, one)


def test_what_is_no_run(one, capsys, tmp_path):
    assert f"name its run directory, {one}" in refused(capsys, one / "best", one)
    assert "has no config.yaml" in refused(capsys, one, tmp_path / "nothing")


def test_an_unfinished_run(one, capsys):
    other = copy_run(one, one.parent / "other", [1, 2])
    (other / "results.json").unlink()
    message = refused(capsys, one, other)
    assert f"{other} is unfinished: resume it with" in message and "--which" in message
    step = evaluations.step_of(one, "best")
    assert result(one, other, "--which", step)["which"] == step
    message = refused(capsys, one, other, "--which", step + 1)
    assert "is missing" in message and f"answers after step {step}: name one with --which" in message


def test_a_run_without_its_answers(one, capsys):
    other = copy_run(one, one.parent / "other")
    shutil.rmtree(other / "evaluations")
    message = refused(capsys, one, other)
    assert f"{other} has no evaluations/" in message and "--data FILE" in message


def test_answers_that_are_missing_or_damaged(one, capsys):
    other = copy_run(one, one.parent / "other")
    answers = evaluations.answers_path(other, "validation", evaluations.step_of(one, "best"))
    content = answers.read_bytes()
    answers.write_bytes(content[:20] + bytes(len(content) // 2) + content[20 + len(content) // 2 :])
    assert f"{answers} is damaged: remove it" in refused(capsys, one, other)
    answers.unlink()
    assert f"{answers} is missing: remove" in refused(capsys, one, other)
    evaluations.examples_path(other, "validation").unlink()
    assert "validation.parquet is missing: remove" in refused(capsys, one, other)


def test_other_rows(one, capsys):
    texts = evaluations.read(one, "best").texts
    other = copy_run(one, one.parent / "other")
    change_examples(other, text_0=["another sentence", *(first for first, _ in texts[1:])])
    message = refused(capsys, one, other)
    assert f"1 of the 20 rows (row 1) of {one} aren't among those of {other}, and 1 of the 20 rows (row 1)" in message
    fewer = copy_run(one, one.parent / "fewer")
    change_examples(fewer, order=list(range(12)))
    message = refused(capsys, one, fewer)
    assert f"8 of the 20 rows (rows 13, 14, 15, 16, 17, …) of {one}" in message and "0 of the 12 rows of" in message


def test_other_labels(one, capsys):
    labels = evaluations.read(one, "best").output.labels
    other = copy_run(one, one.parent / "other")
    change_examples(other, label=[*labels[:5], *(1 - labels[5:7]), *labels[7:]])
    message = refused(capsys, one, other)
    assert "2 of the 20 rows (rows 6, 7)" in message and "(2 of them have another label there)" in message


def test_another_order_is_compared_row_by_row(one, capsys):
    """Also if a file was shuffled, so that its rows have other numbers."""
    first, second = copy_run(one, one.parent / "a", [0, 3]), copy_run(one, one.parent / "b", [3, 4])
    plain = result(first, second)
    order = numpy.random.default_rng(0).permutation(20)
    change_examples(second, order=order)
    capsys.readouterr()
    assert result(first, second)["comparisons"] == plain["comparisons"]
    assert "in another order: compared row by row" in capsys.readouterr().err
    change_examples(second, row=list(range(1, 21)))
    assert result(first, second)["comparisons"] == plain["comparisons"]


def test_other_classes_and_problem_types(one, go, pairs_folder, capsys):
    custom = ("--task", "custom", "--text-columns", "sentence1,sentence2", "--epochs", 1)
    assert go(*custom, "--run-name", "values", "--regression") == 0
    assert go(*custom, "--run-name", "classes") == 0
    assert "a regression: name runs on the same labels" in refused(capsys, one, one.parent / "values")
    message = refused(capsys, one, one.parent / "classes")
    assert "not_equivalent, equivalent" in message and "same labels" in message


def test_groups(trained, tmp_path, capsys):
    runs = tmp_path / "runs"
    for name in "ab":
        shutil.copytree(trained / "group", runs / name)
    assert "is a single run" in refused(capsys, runs / "a", runs / "b" / "seed-1")
    folds = copy_run(runs / "a" / "seed-1", runs / "folds", folds=3)
    assert "is a cross-validation" in refused(capsys, folds, runs / "a")
    (runs / "b" / "seed-2" / "results.json").unlink()
    assert "two or more that all groups have, and these have 1" in refused(capsys, runs / "a", runs / "b")


def test_flags_without_effect(one, capsys, pairs_folder, tmp_path):
    other = copy_run(one, one.parent / "other")
    data = pairs_folder / "test.jsonl"
    os.mkfifo(tmp_path / "pipe")
    for flags, said in {
        ("--text-columns", "a,b"): "--text-columns is about the rows of --data",
        ("--device", "cpu"): "--device is about",
        ("--data", data, "--which", "8"): "--which 8",
        ("--data", data, "--split", "validation"): "--split names answers",
        ("--data", tmp_path / "none.csv"): "does not exist",
        ("--split", "test"): "name one of: validation",
        ("--metric", "acuracy"): "'acuracy'",
        ("--metric", '"f1'): "is '\"f1'",
        ("--metric", ""): "--metric is ''",
        ("--metric", "pearson"): "should be of: accuracy, f1, matthews, loss",
        ("--limit", "-1"): "--limit is -1",
        ("--which", "newest"): "--which is 'newest'",
        ("--output", tmp_path): "is a folder",
        ("--output", tmp_path / "no" / "x.html"): "there is no folder",
        ("--output", tmp_path / "pipe"): "is no regular file",
        ("--data", data, "--output", data): "is the file that --data names",
    }.items():
        assert said in refused(capsys, one, other, *flags), flags


def test_losses_of_preset_trainer_are_those_of_batches(one, capsys):
    other = copy_run(one, one.parent / "other", preset="trainer")
    assert "can't be resampled" in refused(capsys, one, other, "--metric", "loss")
    assert "loss" not in result(one, other)["sides"][0]["scores"]


def test_rewritten_answers_are_read(one):
    """Otherwise the tests beside this one would say little."""
    rewrite(one, [3])
    found = evaluations.read(one, "best").output
    assert numpy.flatnonzero(found.predictions() != found.labels).tolist() == [3]
