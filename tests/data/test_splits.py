"""A validation split that is held out: its size, its classes, no pair on both sides, and the same one every time."""

import csv
import json
import random
from collections import Counter
from pathlib import Path

import numpy
import pytest
import yaml
from conftest import FLAGS, comparable, read_lines, same_weights, some_pairs, undone

from pairft.config import Config
from pairft.data import splits
from pairft.data.pairs import Pairs, load_pairs
from pairft.errors import UserError

Row = tuple[str, str, str]


def write(path: Path, rows: list[Row]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("a", "b", "y"), *rows])
    return path


def load(path: Path, **more: object) -> Pairs:
    return load_pairs(Config(task="custom", data=str(path), text_columns=("a", "b"), label_column="y", **more))


def rows_of(pairs: Pairs, split: str) -> list[Row]:
    return [(row["a"], row["b"], row["y"]) for row in pairs.splits[split].to_list()]


def sides(pairs: Pairs, split: str) -> set[frozenset[str]]:
    return {frozenset(row[:2]) for row in rows_of(pairs, split)}


def some_rows(number: int, classes: tuple[str, ...] = ("no", "yes")) -> list[Row]:
    return [(f"first {index}", f"second {index}", classes[index % len(classes)]) for index in range(number)]


@pytest.mark.parametrize(
    ("rows", "share", "size"),
    [
        (2, None, 1),
        (60, None, 6),
        (399, None, 40),
        (400, None, 200),  # as many are left to train on
        (1000, None, 200),
        (2000, None, 200),
        (5000, None, 500),
        (60, 0.5, 30),
        (1000, 0.03, 30),
        (10, 0.001, 1),
        (10, 0.999, 9),
    ],
)
def test_how_many_rows_are_held_out(rows, share, size):
    assert splits.validation_size(rows, share) == size


@pytest.mark.parametrize(("share", "size"), [(None, 200), (0.25, 250)])
def test_each_class_keeps_its_share_and_the_rows_their_order(share, size, tmp_path, capsys):
    rows = some_rows(1000, ("no", "no", "no", "no", "maybe", "maybe", "yes"))
    random.Random(1).shuffle(rows)
    found = load(write(tmp_path / "pairs.csv", rows), validation_share=share)
    assert f"no validation split: {size} of its 1000 training rows ({size / 1000:.1%})" in capsys.readouterr().err
    train, validation = rows_of(found, "train"), rows_of(found, "validation")
    assert (len(train), len(validation)) == (1000 - size, size)
    assert sorted(train + validation) == sorted(rows)
    assert [row for row in rows if row in set(train)] == train
    whole, cut = Counter(row[2] for row in rows), Counter(row[2] for row in validation)
    assert all(abs(cut[name] - whole[name] * size / 1000) < 1 for name in whole)


def test_a_rare_class_stays_in_training(tmp_path):
    rows = [*some_rows(30), ("only", "one", "rare"), ("other", "two", "rarer"), ("or", "three", "rarer")]
    found = load(write(tmp_path / "pairs.csv", rows), validation_share=0.5)
    assert {row[2] for row in rows_of(found, "train")} == {"no", "yes", "rare", "rarer"}


def test_every_class_keeps_a_row_to_train_on_though_its_pairs_have_other_labels():
    """The only pair of class 2 is also of class 0; and all pairs of class 1 are also of rarer ones."""
    keys = numpy.array([5, 5, *range(10, 110)], numpy.uint64)
    strata = numpy.array([0, 2, *[0, 1] * 50])
    chosen = splits.choose(keys, strata, 51)
    assert chosen.sum() in (50, 51) and set(strata[~chosen]) == {0, 1, 2} and chosen[0] == chosen[1]
    for seed in range(20):
        keys = numpy.random.default_rng(seed).permutation(40).astype(numpy.uint64)[[0, 0, 1, 2, 2, 3, *range(4, 40)]]
        strata = numpy.array([1, 2, 2, 1, 3, 3, *[4] * 36])
        chosen = splits.choose(keys, strata, 20)
        assert set(strata[~chosen]) == {1, 2, 3, 4}
        assert (splits.choose(keys[::-1], strata[::-1], 20)[::-1] == chosen).all()


def test_a_regression_is_stratified_by_quantiles(tmp_path):
    draw = random.Random(2)
    rows = [(f"a{index}", f"b{index}", f"{draw.expovariate(1):.4f}") for index in range(1000)]
    found = load(write(tmp_path / "pairs.csv", rows))
    assert found.label_names is None
    edges = numpy.quantile([float(row[2]) for row in rows], numpy.linspace(0, 1, 11))
    counts, _ = numpy.histogram([float(row[2]) for row in rows_of(found, "validation")], edges)
    assert counts.sum() == 200 and abs(counts - 20).max() <= 2


def test_no_pair_is_in_both_in_either_order(tmp_path):
    """Every pair occurs once as it is, once swapped, and some of them often, not always with the same label."""
    once = some_rows(300)
    often = [row for row in once[:20] for _ in range(7)]
    rows = [*once, *((second, first, label) for first, second, label in once), *often, ("first 3", "second 3", "no")]
    random.Random(3).shuffle(rows)
    found = load(write(tmp_path / "pairs.csv", rows))
    assert not sides(found, "train") & sides(found, "validation")
    assert sorted(rows_of(found, "train") + rows_of(found, "validation")) == sorted(rows)
    assert 198 <= len(found.splits["validation"]) <= 200


def test_a_pair_that_fills_the_file_does_not_stop_the_others(tmp_path):
    rows = [*some_rows(100), *[("same", "pair", "no")] * 300]
    found = load(write(tmp_path / "pairs.csv", rows), validation_share=0.1)
    assert len(found.splits["validation"]) == 40
    assert ("same", "pair", "no") not in rows_of(found, "validation")


def test_pairs_are_told_apart_by_both_sentences(tmp_path):
    """Pairs whose joined text is the same are different pairs."""
    rows = [("ab", "c", "no"), ("a", "bc", "yes"), ("c", "ab", "no"), ("bc", "a", "yes")]
    found = load(write(tmp_path / "pairs.csv", [*rows, *some_rows(20)]), validation_share=0.2)
    train, validation = (splits.pair_keys(rows, ("a", "b")).tolist() for rows in found.splits.values())
    assert len({*train, *validation}) == 22 and not {*train} & {*validation}


def test_one_text_column(tmp_path):
    write(tmp_path / "pairs.csv", [*some_rows(50), *some_rows(50)])
    found = load_pairs(Config(task="custom", data=str(tmp_path / "pairs.csv"), text_columns=("a",), label_column="y"))
    held = {split: {row["a"] for row in rows.to_list()} for split, rows in found.splits.items()}
    assert len(held["validation"]) == 5 and not held["train"] & held["validation"]


def test_the_split_is_the_same_for_every_seed_and_order_of_the_rows(tmp_path, monkeypatch):
    rows = some_rows(500)
    found = load(write(tmp_path / "one.csv", rows))
    again = load(tmp_path / "one.csv", seed=7)
    assert [rows_of(again, split) for split in again.splits] == [rows_of(found, split) for split in found.splits]
    other = load(write(tmp_path / "other.csv", rows[::-1]))
    assert sorted(rows_of(other, "validation")) == sorted(rows_of(found, "validation"))
    monkeypatch.setattr(splits, "SALT", b"another")
    assert sorted(rows_of(load(tmp_path / "one.csv"), "validation")) != sorted(rows_of(found, "validation"))


def test_too_few_different_pairs(tmp_path):
    rows = [("a", "b", "no"), ("b", "a", "no"), ("c", "d", "yes"), ("d", "c", "yes")]
    with pytest.raises(UserError, match=r"too few different pairs.*--validation-share"):
        load(write(tmp_path / "pairs.csv", rows))


def test_the_row_of_an_error_is_that_of_the_file(tmp_path):
    rows = some_rows(100)
    rows[89] = (*rows[89][:2], "")
    with pytest.raises(UserError, match="row 90 has no label"):
        load(write(tmp_path / "pairs.csv", rows))


def test_class_ids_keep_their_names(tmp_path):
    import datasets

    kinds = {"a": datasets.Value("string"), "b": datasets.Value("string"), "y": datasets.ClassLabel(names=["n", "e"])}
    rows = {"a": [f"a{i}" for i in range(40)], "b": ["b"] * 40, "y": [0, 1] * 20}
    datasets.Dataset.from_dict(rows, features=datasets.Features(kinds)).to_parquet(str(tmp_path / "pairs.parquet"))
    found = load(tmp_path / "pairs.parquet")
    assert found.label_names == ("n", "e")
    assert [found.splits[split].features["y"].names for split in ("train", "validation")] == [["n", "e"]] * 2
    assert sorted(rows_of(found, "validation"))[0][2] in (0, 1) and len(found.splits["validation"]) == 4


def test_a_validation_split_makes_the_share_idle_and_that_is_said(go, capsys):
    assert go("--validation-share", 0.5, "--max-steps", 1) == 0
    assert "note: --validation-share 0.5 has no effect" in capsys.readouterr().err


@pytest.fixture
def one_file(tmp_path) -> Path:
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in some_pairs("train", 67)), encoding="utf-8")
    return path


def test_validation_share_arrives(go, one_file, tmp_path, capsys):
    flags = ("--data", one_file, "--validation-share", 0.4, "--max-steps", 1)
    assert go(*flags, "--run-name", "a") == 0
    assert f"{one_file} has no validation split: 27 of its 67 training rows (40.3%)" in capsys.readouterr().err
    assert yaml.safe_load((tmp_path / "runs" / "a" / "config.yaml").read_text())["validation_share"] == 0.4
    assert [line["epoch"] for line in read_lines(tmp_path / "runs" / "a", "train")] == [8 / 40]


@pytest.mark.parametrize("share", ["0", "1", "1.5", "-0.1", "nan", "many"])
def test_a_share_is_between_0_and_1(share, go, one_file, capsys):
    assert go("--data", one_file, f"--validation-share={share}") == 2
    message = capsys.readouterr().err
    assert message.startswith("error: --validation-share is") and ("between 0 and 1" in message or "number" in message)


def test_resume_of_a_run_on_one_file_is_exact(go, one_file, tmp_path, capsys):
    whole, killed = tmp_path / "runs" / "whole", tmp_path / "runs" / "killed"
    assert go("--data", one_file, *FLAGS, "--save-every", 11, "--run-name", "whole") == 0
    undone(whole, killed, 11)
    moved = one_file.rename(tmp_path / "moved.jsonl")
    assert go("--data", moved, "--resume", "--run-name", "killed") == 0
    assert "from step 11" in capsys.readouterr().err
    assert same_weights(whole, killed)
    assert comparable(whole, "train") == comparable(killed, "train")
    assert comparable(whole, "validation") == comparable(killed, "validation")


def test_another_share_or_other_rows_are_another_run(go, one_file, tmp_path, capsys):
    whole, killed = tmp_path / "runs" / "whole", tmp_path / "runs" / "killed"
    assert go("--data", one_file, *FLAGS, "--save-every", 8, "--run-name", "whole") == 0
    undone(whole, killed, 8)
    capsys.readouterr()
    assert go("--data", one_file, "--resume", "--run-name", "killed", "--validation-share", 0.2) == 2
    assert "--validation-share is 0.2, but" in capsys.readouterr().err
    one_file.write_text("".join(one_file.read_text().splitlines(keepends=True)[:-1]))
    assert go("--data", one_file, "--resume", "--run-name", "killed") == 2
    assert "split of the data is not the one" in capsys.readouterr().err


def test_all_seeds_have_the_same_split(go, one_file, tmp_path):
    assert go("--data", one_file, "--seeds", "1,2", "--max-steps", 1, "--run-name", "a") == 0
    about = [json.loads((tmp_path / "runs" / "a" / f"seed-{n}" / "manifest.json").read_text()) for n in (1, 2)]
    assert about[0]["data_fingerprint"] == about[1]["data_fingerprint"]
    assert about[0]["data_fingerprint"].keys() == {"train", "validation"}
