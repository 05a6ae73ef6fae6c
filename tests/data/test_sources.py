"""What --data may name: one file, three paths, a folder, a folder of save_to_disk, plain or gzipped; and what is said
of it otherwise."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pytest
from conftest import some_pairs
from test_ugly_tables import zipped

from pairft import predict
from pairft.config import Config
from pairft.data import hub
from pairft.data.pairs import load_pairs

TEXTS = ("sentence1", "sentence2")


def table(rows: list[dict[str, Any]], between: str) -> str:
    return "".join(between.join(map(str, row)) + "\n" for row in [list(rows[0]), *map(dict.values, rows)])


FORMATS: dict[str, Callable[[list[dict[str, Any]]], str]] = {
    "csv": lambda rows: table([{name: f'"{value}"' for name, value in row.items()} for row in rows], ","),
    "tsv": lambda rows: table(rows, "\t"),
    "json": json.dumps,
    "jsonl": lambda rows: "".join(json.dumps(row) + "\n" for row in rows),
}


def put(path: Path, rows: list[dict[str, Any]]) -> Path:
    """The rows in the format that the file's name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = path.name.partition(".")[2].lower()
    if kind == "parquet":
        datasets.Dataset.from_list(rows).to_parquet(str(path))
        return path
    kind, _, by = kind.partition(".")
    content = FORMATS[kind](rows).encode()
    forms = {"": content, "gz": gzip.compress(content), "zip": zipped(rows=content)}
    path.write_bytes(forms[by] if by in forms else pyarrow.compress(content, "zstd", asbytes=True))
    return path


def read(data: object, **more: Any) -> dict[str, list[tuple[str, str]]]:
    """The sentences of each split."""
    found = load_pairs(Config(data=str(data), **more))
    return {
        split: [tuple(row[name] for name in TEXTS) for row in rows.to_list()] for split, rows in found.splits.items()
    }


def sentences(rows: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [tuple(row[name] for name in TEXTS) for row in rows]


TRAIN, VALIDATION, TEST = some_pairs("train", 30), some_pairs("validation", 10), some_pairs("test", 5)


@pytest.fixture
def refused(go, tmp_path, capfd) -> Callable[..., str]:
    """What train.py says of this --data, with exit code 2 and nothing left behind."""

    def run(data: object, *flags: Any) -> str:
        capfd.readouterr()
        assert go("--max-steps", 1, "--data", data, *flags) == 2
        message = capfd.readouterr().err
        assert message.startswith("error: ") and message.count("\n") == 1, message
        assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").iterdir())
        return message

    return run


KINDS = [*FORMATS, "parquet", *(f"{kind}.{by}" for kind in FORMATS for by in ("gz", "zst", "zip"))]


@pytest.mark.parametrize("kind", [*KINDS, "CSV"])
def test_one_file(kind, tmp_path):
    found = read(put(tmp_path / f"my pairs.{kind}", TRAIN))
    assert list(found) == ["train", "validation"] and len(found["validation"]) == 3
    assert sorted(found["train"] + found["validation"]) == sorted(sentences(TRAIN))


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder(kind, tmp_path):
    put(tmp_path / f"train.{kind}", TRAIN)
    put(tmp_path / f"validation.{kind}", VALIDATION)
    assert read(tmp_path) == {"train": sentences(TRAIN), "validation": sentences(VALIDATION)}


def test_long_paths_by_split(tmp_path):
    """Longer together than a path may be, but none of them too long."""
    folder = tmp_path.joinpath(*["a" * 200] * 10)
    put(folder / "train.csv", TRAIN)
    put(folder / "validation.csv", VALIDATION)
    data = f"train={folder}/train.csv,validation={folder}/validation.csv"
    assert len(data) > 4096
    assert read(data) == {"train": sentences(TRAIN), "validation": sentences(VALIDATION)}


def test_paths_by_split(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    put(Path("a, b.csv"), TRAIN)
    put(Path("x/y.jsonl.gz"), VALIDATION)
    put(Path("t.parquet"), TEST)
    wanted = {"train": sentences(TRAIN), "validation": sentences(VALIDATION), "test": sentences(TEST)}
    assert read("train=a, b.csv,validation=x/y.jsonl.gz,test=t.parquet") == wanted
    assert read("test=t.parquet, validation=x/y.jsonl.gz, train=a, b.csv") == wanted
    cut = read("train=a, b.csv,test=t.parquet")
    assert len(cut["train"]) == 27 and len(cut["validation"]) == 3 and cut["test"] == wanted["test"]
    put(Path("train=this.csv"), TRAIN)  # a file whose name looks like it
    assert len(read("train=this.csv")["validation"]) == 3


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        ("train={d}/a.csv,dev={d}/a.csv,val={d}/a.csv", ("two validation splits, dev and val",)),
        ("train={d}/a.csv,train={d}/a.csv", ("two train splits",)),
        ("train={d}/a.csv,validation={d}/a.csv,validation={d}/a.csv", ("two validation splits",)),
        (
            "train={d}/a.csv,valdation={d}/a.csv",
            ("'valdation'", "train, validation and test; did you mean validation?"),
        ),
        ("validation={d}/a.csv", ("no train split", "train=FILE")),
        ("train={d}/a.csv,test={d}/gone.csv", ("--data test:", "gone.csv doesn't exist", ".parquet")),
        ("train={d}", ("--data train:", "is a folder")),
        ("train=", ("--data names no file for the train split", "train=FILE")),
        ("train={d}/a.csv,validation= ", ("--data names no file for the validation split", "validation=FILE")),
        ("train=" + "x" * 5000, ("--data train: x", "xxx…: File name too long; name a file")),
        ("x" * 5000, ("--data x", "xxx…: File name too long; name a file")),
        ("{d}/gone.csv", ("gone.csv doesn't exist", "train.*")),
        ("gone.csv.gz", ("--data gone.csv.gz doesn't exist",)),  # no id on the Hub
        ("{d}/notes.txt", ("notes.txt", ".csv", ".gz")),
        ("{d}/zipped", ("two validation splits, dev and val",)),
        ("{d}/twice", ("more than once (train.csv, train.csv.gz)",)),
        ("{d}/only", ("no train split", "it holds: test.csv")),
    ],
)
def test_what_names_no_data(data, parts, refused, tmp_path):
    put(tmp_path / "a.csv", TRAIN)
    (tmp_path / "notes.txt").touch()
    for name in ("zipped/train.csv", "zipped/dev.csv", "zipped/val.csv.gz"):
        put(tmp_path / name, TRAIN)
    for name in ("twice/train.csv", "twice/train.csv.gz", "only/test.csv"):
        put(tmp_path / name, TRAIN)
    message = refused(data.format(d=tmp_path))
    assert all(part in message for part in parts), message


@pytest.mark.parametrize("kind", [f"{kind}.gz" for kind in FORMATS])
@pytest.mark.parametrize("damage", ["cut", "flipped", "plain", "start", "checksum"])
def test_a_damaged_gzip_file(kind, damage, refused, tmp_path):
    path = put(tmp_path / f"train.{kind}", some_pairs("train", 400))
    content = path.read_bytes()
    middle, end = len(content) // 2, len(content) - 8
    damaged = {
        "cut": content[:middle],
        "flipped": content[:middle]
        + bytes(byte ^ 0xFF for byte in content[middle : middle + 8])
        + content[middle + 8 :],
        "plain": gzip.decompress(content),
        "start": content[:5],
        "checksum": content[:end] + bytes([content[end] ^ 1]) + content[end + 1 :],
    }
    path.write_bytes(damaged[damage])
    assert f"{path} is damaged, or not a gzip file" in refused(path)


def test_what_is_wrong_in_a_gzip_file_is_said_as_in_a_plain_one(refused, tmp_path):
    path = put(tmp_path / "pairs.csv.gz", TRAIN)
    text = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(text + b"one field\n"))
    assert "pairs.csv.gz, row 31" in refused(path)
    path.write_bytes(gzip.compress(text + "größe,b,1\n".encode() + b'"a","\xff","1"\n'))
    assert "pairs.csv.gz, line 33 is not UTF-8 text (byte 0xff)" in refused(path)
    path.write_bytes(gzip.compress(b""))
    assert "is empty" in refused(path)


def test_a_folder_of_save_to_disk(tmp_path, refused):
    made = {name: datasets.Dataset.from_list(rows) for name, rows in (("train", TRAIN), ("dev", VALIDATION))}
    datasets.DatasetDict(made).save_to_disk(tmp_path / "both")
    assert read(tmp_path / "both") == {"train": sentences(TRAIN), "validation": sentences(VALIDATION)}
    labelled = made["train"].cast_column("label", datasets.ClassLabel(names=["different", "same"]))
    labelled.select([*range(5, 30), *range(5)]).save_to_disk(tmp_path / "one", num_shards=3)
    held = {path: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    config = Config(task="custom", text_columns=TEXTS, data=str(tmp_path / "one"))
    found = load_pairs(config)
    assert found.label_names == ("different", "same") and len(found.splits["validation"]) == 3
    pairs = [row for split in found.splits.values() for row in sentences(split.to_list())]
    assert sorted(pairs) == sorted(sentences(TRAIN))
    assert {path: path.read_bytes() for path in (tmp_path / "one").iterdir()} == held  # nothing is written there
    datasets.DatasetDict({"test": made["dev"]}).save_to_disk(tmp_path / "tests")
    assert "has no train split; it has: test" in refused(tmp_path / "tests")
    (tmp_path / "one" / "data-00001-of-00003.arrow").write_bytes(b"ARROW1")
    assert "can't read" in refused(tmp_path / "one")
    (tmp_path / "one" / "data-00001-of-00003.arrow").unlink()
    assert "data-00001-of-00003.arrow is missing" in refused(tmp_path / "one")
    (tmp_path / "one" / "state.json").write_text("{}")
    assert "is not what save_to_disk" in refused(tmp_path / "one")


@pytest.mark.parametrize("name", ["state.json", "dataset_dict.json"])
def test_train_files_win_over_what_looks_like_save_to_disk(name, tmp_path):
    put(tmp_path / "train.csv", TRAIN)
    put(tmp_path / "validation.csv", VALIDATION)
    (tmp_path / name).write_text('{"step": 3}')
    assert read(tmp_path) == {"train": sentences(TRAIN), "validation": sentences(VALIDATION)}


def test_predict_reads_gzip_files(go, tmp_path, capsys):
    assert go("--max-steps", 1, "--run-name", "a") == 0
    best = str(tmp_path / "runs" / "a" / "best")
    answers = []
    for name in ("test.csv", "test.csv.gz"):
        flags = ["--model", best, "--data", str(put(tmp_path / name, TEST)), "--device", "cpu"]
        assert predict.main([*flags, "--output", str(tmp_path / "answers.jsonl")]) == 0
        answers.append((tmp_path / "answers.jsonl").read_text())
    assert answers[0] == answers[1] and answers[0].count("\n") == 5
    assert "accuracy" in capsys.readouterr().out
    (tmp_path / "test.csv.gz").write_bytes(b"x")
    assert predict.main(flags) == 2
    assert "test.csv.gz is damaged" in capsys.readouterr().err


def test_what_is_of_the_hub_is_idle_elsewhere_and_that_is_said(go, capsys):
    assert go("--data-config", "rte", "--revision", "main", "--max-steps", 1) == 0
    said = capsys.readouterr().err
    assert "note: --data-config rte has no effect" in said and "note: --revision main has no effect" in said


@pytest.mark.parametrize(
    "name", ["pairs.csv", "x/pairs.jsonl.gz", "train=a,validation=b", "x" * 5000, "./x", "builtin"]
)
def test_what_is_no_id_on_the_hub(name):
    assert not hub.is_hub_id(name)
    assert hub.is_hub_id("nyu-mll/glue") and hub.is_hub_id("glue")
