"""The files of each split in a folder, as Spark, Dask, the Hub and people lay them out."""

import datasets
import pytest
from test_sources import TEST, TRAIN, VALIDATION, put, read, sentences

from pairft.errors import UserError

WANTED = {"train": sentences(TRAIN), "validation": sentences(VALIDATION), "test": sentences(TEST)}
SPARK = "part-{:05d}-0c1e8a52-7d7e-4b6b-93b5-5a0f8d0e7a11-c000.snappy"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("train/part-0.parquet", "train/part-1.parquet"),
        ("train/0000.parquet", "train/0001.parquet"),
        (f"train/{SPARK.format(0)}.parquet", f"train/{SPARK.format(1)}.parquet"),
        ("train/train-00000-of-00002.jsonl", "train/train-00001-of-00002.jsonl"),
        ("train/part.0.csv", "train/part.1.csv"),
        ("train/part-0.csv", "train/part-1.csv.gz"),
        ("data/train-00000-of-00002.tsv", "data/train-00001-of-00002.tsv"),
        ("data/train-00000-of-00002-2f1c0a9be4d7316c.parquet", "data/train-00001-of-00002-9b0e77aa51c2d4f8.parquet"),
        ("data/train/0.json", "data/train/1.json"),
        ("train-0.tsv.gz", "train-1.tsv.gz"),
    ],
)
def test_shards_of_a_split(first, second, tmp_path):
    put_at(tmp_path / first, TRAIN[:3])
    put_at(tmp_path / second, TRAIN[3:])
    place = tmp_path / "data" if first.startswith("data/") else tmp_path
    put_at(place / f"dev/{SPARK.format(0)}.csv", VALIDATION)
    put(place / "test.csv", TEST)
    for name in ("_SUCCESS", "._SUCCESS.crc", f".{SPARK.format(0)}.csv.crc", "._part.csv", "_metadata.parquet"):
        (place / "dev" / name).write_bytes(b"\0")
    assert read(tmp_path) == WANTED


def put_at(path, rows):
    """`put` for names with other points than those of the suffix."""
    suffix = "".join(path.suffixes[-2:] if path.suffix == ".gz" else path.suffixes[-1:])
    path.parent.mkdir(parents=True, exist_ok=True)
    put(path.with_name(f"rows{suffix}"), rows).rename(path)


def test_a_folder_for_each_split_that_save_to_disk_has_written(tmp_path):
    for split, rows in (("train", TRAIN), ("validation", VALIDATION)):
        datasets.Dataset.from_list(rows).save_to_disk(tmp_path / split)
    assert read(tmp_path) == {split: WANTED[split] for split in ("train", "validation")}


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["train.csv", "train/a.csv"], ["train split more than once", "train.csv and train/"]),
        (["train-0.csv", "train-1.csv", "train/a.csv"], ["train split more than once", "train-0.csv and train/"]),
        (["train/a.csv", "train/b.jsonl"], ["several formats", ".csv, .jsonl"]),
        (["train/a-00000-of-00003.csv", "train/a-00001-of-00003.csv"], ["2 of the 3", "this split"]),
        (["data/train.csv", "data/train/a.csv"], ["train split more than once", "/data holds"]),
        (["train.csv", "dev_easy/a.csv"], ["no split named validation, but dev_easy"]),
        (["raw/a.csv", "data/a.csv"], ["/data has no train split", "a.csv"]),
        (["train/a.txt"], ["has no train split", "train"]),
    ],
)
def test_what_is_wrong_is_said(names, words, tmp_path):
    for name in names:
        put(tmp_path / name.replace(".txt", ".csv"), TRAIN)
    if names == ["train/a.txt"]:
        (tmp_path / "train/a.csv").rename(tmp_path / "train/a.txt")
    with pytest.raises(UserError) as caught:
        read(tmp_path)
    assert all(word in str(caught.value) for word in [str(tmp_path), *words]), caught.value


def test_other_folders_and_data_beside_train_are_left_alone(tmp_path):
    for name in ("train.csv", "data/train.csv", "raw/a.csv", "raw/b.json"):
        put(tmp_path / name, TRAIN)
    put(tmp_path / "val" / "part-0.csv", VALIDATION)
    assert read(tmp_path) == {split: WANTED[split] for split in ("train", "validation")}
