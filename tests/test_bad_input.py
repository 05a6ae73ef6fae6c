"""What a user gets wrong: exit code 2, one message with thing, value and remedy, and nothing left behind."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import some_pairs, write_rows


@pytest.fixture
def refused(go, tmp_path, capfd) -> Callable[..., str]:
    """Run train.py with flags that should be refused; the message."""

    def run(*flags: Any) -> str:
        capfd.readouterr()
        assert go("--max-steps", 1, *flags) == 2
        message = capfd.readouterr().err
        assert message.startswith("error: ") and message.count("error: ") == 1, message
        assert "Traceback" not in message
        runs = tmp_path / "runs"
        assert not runs.exists() or not list(runs.iterdir())
        return message

    return run


@pytest.fixture
def data(tmp_path) -> Path:
    """A folder of pairs to spoil."""
    folder = tmp_path / "data"
    write_rows(folder / "train.jsonl", some_pairs("train", 24))
    write_rows(folder / "validation.jsonl", some_pairs("validation", 8))
    return folder


def spoil(path: Path, row: int, **values: Any) -> None:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[row] |= values
    write_rows(path, rows)


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (("--batch-size", "-1"), ("--batch-size is -1", "at least 1")),
        (("--epochs", "0"), ("--epochs is 0", "at least 1")),
        (("--epochs", "1.5"), ("--epochs is '1.5'", "whole number")),
        (("--lr", "nan"), ("--lr is nan", "finite")),
        (("--lr", "inf"), ("--lr is inf", "finite")),
        (("--lr", "0"), ("--lr is 0.0", "above 0")),
        (("--lr", "fast"), ("--lr is 'fast'", "number")),
        (("--warmup-ratio", "2"), ("--warmup-ratio is 2.0", "from 0 to 1")),
        (("--weight-decay", "-0.1"), ("--weight-decay is -0.1", "at least 0")),
        (("--max-grad-norm", "0"), ("--max-grad-norm is 0.0", "above 0")),
        (("--eval-every", "0"), ("--eval-every is 0", "at least 1")),
        (("--save-every", "often"), ("--save-every is 'often'", "'epoch' or 'never'")),
        (("--seed", "-1"), ("--seed is -1", "from 0")),
        (("--max-length", "65"), ("--max-length is 65", "5", "64")),
        (("--max-length", "4"), ("--max-length is 4", "5", "64")),
        (("--run-name", "../x"), ("'../x'", "--runs-dir")),
        (("--run-name", "a/b"), ("'a/b'", "--runs-dir")),
        (("--run-name", ""), ("--run-name is ''",)),
        (("--run-name", ".x"), ("'.x'",)),
        (("--resume",), ("no unfinished run", "leave out --resume")),
        (("--resume", "--run-name", "never"), ("no run", "never", "leave out --resume")),
        (("--resume", "--run-name", "../x"), ("'../x'", "--runs-dir")),
        (("--run-name", "x" * 300), ("--run-name is 'xxx", "--runs-dir")),
        (("--lr", "-5e-5"), ("--lr is -5e-05", "above 0")),
        (("--task", "mrcp"), ("'mrcp'", "did you mean mrpc?")),
        (("--task", "custom"), ("--text-columns",)),
        (("--task", "custom", "--text-columns", "a,a"), ("'a' twice",)),
        (("--task", "custom", "--text-columns", "a,b,c"), ("one or two columns",)),
        (("--text-columns", "sentence1,label"), ("--text-columns names 'label'", "--label-column")),
        (("--precision", "bf17"), ("'bf17'", "did you mean bf16?")),
        (("--precision", "fp16"), ("fp16 needs a GPU", "bf16")),
        (("--device", "tpu"), ("'tpu'", "cpu, cuda")),
        (("--preset", "bert"), ("'bert'", "trainer")),
        (("--bath-size", "4"), ("--bath-size", "did you mean --batch-size?")),
        (("--batch", "4"), ("unknown flag --batch", "--help")),
        (("surplus",), ("'surplus'", "flags")),
        (("--model", "no/such"), ("--model no/such", "local folder")),
        (("--data", "no/such"), ("--data no/such", "local folder")),
        (("--config", "no.yaml"), ("no.yaml", "No such file")),
    ],
)
def test_flags(refused, flags, parts):
    message = refused(*flags)
    for part in parts:
        assert part in message


def test_every_problem_is_named_at_once(refused, tmp_path):
    (tmp_path / "c.yaml").write_text("lr: .inf\naccumulate: 0\nseed: -1\n")
    message = refused("--config", tmp_path / "c.yaml")
    assert "--lr is inf" in message and "--accumulate is 0" in message and "--seed is -1" in message


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"lr: [1, 2", "not YAML, line"),
        (b"- 1\n- 2\n", "no settings"),
        (b"\xff\xfe\xfa", "not UTF-8"),
        (b"lrr: 1\n", "unknown key 'lrr'; did you mean lr?"),
        (b"epochs: many\n", "--epochs is 'many'"),
        (b"deterministic: 3\n", "true or false"),
        (b"run_name: 2024-13-45\n", "not YAML"),
    ],
)
def test_config_files(refused, tmp_path, content, part):
    (tmp_path / "c.yaml").write_bytes(content)
    message = refused("--config", tmp_path / "c.yaml")
    assert part in message and "c.yaml" in message


@pytest.mark.parametrize(
    ("split", "values", "parts"),
    [
        ("train", {"sentence1": ""}, ("train split", "row 4", "'sentence1' is empty")),
        ("train", {"sentence2": "  \t"}, ("train split", "row 4", "'sentence2' is empty")),
        ("validation", {"sentence2": None}, ("validation split", "row 4", "'sentence2' is empty")),
        ("validation", {"label": 7}, ("validation split", "row 4", "'7'", "not_equivalent, equivalent")),
        ("train", {"label": "maybe"}, ("train split", "row 4", "'maybe'", "not_equivalent, equivalent")),
        ("train", {"label": None}, ("train split", "row 4", "no label")),
        ("train", {"label": -1}, ("train split", "row 4", "'-1'")),
    ],
)
def test_rows(refused, data, split, values, parts):
    spoil(data / f"{split}.jsonl", 3, **values)
    message = refused("--data", data)
    for part in parts:
        assert part in message


def test_labels_that_the_training_part_has_not(refused, data):
    spoil(data / "validation.jsonl", 2, label="new")
    for split in ("train", "validation"):
        rows = [json.loads(line) for line in (data / f"{split}.jsonl").read_text().splitlines()]
        write_rows(
            data / f"{split}.jsonl", [{**row, "label": {0: "no", 1: "yes"}.get(row["label"], "new")} for row in rows]
        )
    message = refused("--data", data, "--task", "custom", "--text-columns", "sentence1,sentence2")
    assert "validation split" in message and "row 3" in message and "'new'" in message and "no, yes" in message


def test_one_class_only(refused, data):
    write_rows(data / "train.jsonl", [row for row in some_pairs("train", 60) if row["label"] == 1])
    assert "every row" in refused("--data", data)


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        ("train.jsonl", b"", ("train.jsonl", "empty")),
        ("train.csv", b"", ("train.csv", "empty")),
        ("train.csv", b"sentence1,sentence2,label\n", ("train.csv", "no rows")),
        ("train.jsonl", b'{"a": "x", "label": 1}\n', ("no column 'sentence1'", "a, label", "--text-columns")),
        ("train.csv", b"sentence1,sentence2,label\na,b,1\na,b\n", ("train.csv, row 2", "2 fields", "3")),
        ("train.csv", b'sentence1,sentence2,label\na,"b,1\n', ("train.csv, row 1",)),
        (
            "train.csv",
            b"sentence1,sentence2,label\na,b\xc3\xbc\xc3\xbc,1\n\xe9,b,0\n",
            ("train.csv, line 3", "UTF-8", "0xe9"),
        ),
        ("train.jsonl", b'{"sentence1": "a"\n', ("train.jsonl", "not JSON at line 2 column 1")),
        (
            "train.json",
            b'[{"sentence1": "a", "sentence2": "b", "label": 1}, {"sent',
            ("train.json, row 2", "not JSON at line 1 column 53"),
        ),
        ("train.json", b"[1, 2]", ("train.json, row 1", "named columns")),
        ("train-00000-of-00003.csv", b"sentence1,sentence2,label\na,b,1\n", ("1 of the 3 files",)),
        ("train.txt", b"a\tb\n", ("no train split", "train.txt")),
    ],
)
def test_files(refused, data, name, content, parts):
    (data / "train.jsonl").unlink()
    (data / name).write_bytes(content)
    message = refused("--data", data)
    for part in parts:
        assert part in message


def test_a_part_twice_or_not_at_all(refused, data):
    (data / "train.csv").write_text("sentence1,sentence2,label\na,b,1\n")
    assert "more than once (train.csv, train.jsonl)" in refused("--data", data)
    (data / "train.csv").unlink()
    (data / "train.jsonl").unlink()
    assert "no train split" in refused("--data", data)


def test_data_that_is_neither_a_folder_nor_a_file_of_pairs(refused, data):
    assert "doesn't exist" in refused("--data", data / "nowhere")
    (data / "notes.txt").touch()
    assert "should end in one of .parquet, .arrow" in refused("--data", data / "notes.txt")


def test_a_parquet_file_cut_short(refused, data):
    import datasets

    datasets.Dataset.from_list(some_pairs("train", 24)).to_parquet(data / "train.parquet")
    (data / "train.jsonl").unlink()
    whole = (data / "train.parquet").read_bytes()
    (data / "train.parquet").write_bytes(whole[: len(whole) // 2])
    assert "train.parquet" in refused("--data", data)


def test_models(refused, tiny_model, tmp_path):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    assert "doesn't exist" in refused("--model", tmp_path / "nowhere")
    three, cut, mute = tmp_path / "three", tmp_path / "cut", tmp_path / "mute"
    AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=3).save_pretrained(three)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(three)
    message = refused("--model", three)
    assert (
        "3 classes (LABEL_0, LABEL_1, LABEL_2)" in message
        and "not_equivalent, equivalent" in message
        and "--new-head" in message
    )
    shutil.copytree(tiny_model, cut)
    os.truncate(cut / "model.safetensors", 5000)
    assert "can't load the weights" in refused("--model", cut)
    shutil.copytree(tiny_model, mute)
    for path in mute.iterdir():
        if path.name not in ("config.json", "model.safetensors"):
            path.unlink()
    assert "no tokenizer files" in refused("--model", mute)


def test_a_run_that_exists_and_a_folder_that_cannot_be_made(go, tmp_path, capfd):
    assert go("--max-steps", 1, "--run-name", "a") == 0
    before = sorted((tmp_path / "runs").rglob("*"))
    assert go("--max-steps", 1, "--run-name", "a") == 2
    message = capfd.readouterr().err
    assert "exists" in message and "--resume" in message
    assert sorted((tmp_path / "runs").rglob("*")) == before
    (tmp_path / "file").write_text("")
    assert go("--max-steps", 1, "--runs-dir", tmp_path / "file" / "runs") == 2
    assert "can't write to --runs-dir" in capfd.readouterr().err
