"""The folds of a cross-validation: as scikit-learn's, each row once, no group on both sides; what is refused."""

import csv
import json
from collections import Counter
from pathlib import Path

import datasets
import numpy
import pytest
from sklearn.model_selection import StratifiedGroupKFold

from pairft.config import Config
from pairft.data import folds as folding
from pairft.data.pairs import Pairs, load_pairs
from pairft.data.row_numbers import ROW
from pairft.data.splits import pair_keys
from pairft.errors import UserError

Row = tuple[str, str, str, str]  # two sentences, label and group


def write(path: Path, rows: list[Row]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("a", "b", "y", "doc"), *rows])
    return path


def load(path: Path, folds: int, fold: int, **more: object) -> Pairs:
    chosen = {"task": "custom", "text_columns": ("a", "b"), "label_column": "y", **more}
    return load_pairs(Config(data=str(path), folds=folds, fold=fold, **chosen))


def numbers(pairs: Pairs, split: str) -> list[int]:
    """The numbers of a split's rows in the source, from 1."""
    return pairs.splits[split][ROW][:]


def held_out(path: Path, folds: int, **more: object) -> list[list[int]]:
    """The rows that each fold holds out. The other ones train."""
    found = [load(path, folds, fold, **more) for fold in range(1, folds + 1)]
    for pairs in found:
        rows = [*numbers(pairs, "train"), *numbers(pairs, "validation")]
        assert sorted(rows) == list(range(1, len(pairs.folded) + 1))
    return [numbers(pairs, "validation") for pairs in found]


def some_rows(number: int, classes: tuple[str, ...] = ("no", "yes"), docs: int = 12) -> list[Row]:
    return [(f"first {n}", f"second {n}", classes[n % len(classes)], f"doc {n % docs}") for n in range(number)]


def fold_of(held: list[list[int]]) -> dict[int, int]:
    return {row: fold for fold, rows in enumerate(held, 1) for row in rows}


def test_each_row_is_held_out_once_and_classes_are_spread_evenly(tmp_path):
    path = write(tmp_path / "pairs.csv", some_rows(61, ("a", "b", "b")))
    held = held_out(path, 4)
    assert sorted(row for rows in held for row in rows) == list(range(1, 62))
    assert all(rows == sorted(rows) for rows in held)
    assert sorted(map(len, held)) == [15, 15, 15, 16]
    counts = [Counter((row - 1) % 3 == 0 for row in rows)[True] for rows in held]
    assert set(counts) == {5, 6}  # 21 rows of class a


def test_as_scikit_learn(tmp_path):
    """Groups by their own column: as StratifiedGroupKFold deals out the groups in the order of their least pair key."""
    rows = [(f"first {n}", f"second {n}", "xyyyz"[n % 5], f"doc {n * n % 17}") for n in range(90)]
    path = write(tmp_path / "pairs.csv", rows)
    keys = pair_keys(load(path, 3, 1).folded, ("a", "b"))
    least = {
        doc: min(key for key, row in zip(keys, rows, strict=True) if row[3] == doc) for doc in {r[3] for r in rows}
    }
    labels, groups = numpy.array([row[2] for row in rows]), numpy.array([least[row[3]] for row in rows])
    wanted = [(held + 1).tolist() for _, held in StratifiedGroupKFold(3).split(labels, labels, groups)]
    assert held_out(path, 3, group_column="doc") == wanted
    alone = [(held + 1).tolist() for _, held in StratifiedGroupKFold(3).split(labels, labels, keys)]
    assert held_out(path, 3) == alone != wanted


def test_the_folds_do_not_depend_on_the_order_of_the_rows_or_the_seed(tmp_path):
    rows = some_rows(40)
    one = fold_of(held_out(write(tmp_path / "pairs.csv", rows), 4, seed=1))
    other = fold_of(held_out(write(tmp_path / "turned.csv", rows[::-1]), 4, seed=2))
    assert one == {41 - row: fold for row, fold in other.items()}


def test_equal_and_swapped_pairs_and_groups_stay_together(tmp_path):
    rows = some_rows(60, docs=15)
    rows += [(b, a, y, f"copy {n}") for n, (a, b, y, _) in enumerate(rows[:20])]
    of_row = fold_of(held_out(write(tmp_path / "pairs.csv", rows), 3))
    assert all(of_row[row] == of_row[60 + row] for row in range(1, 21))
    of_row = fold_of(held_out(tmp_path / "pairs.csv", 3, group_column="doc"))
    assert all(of_row[row] == of_row[60 + row] for row in range(1, 21))
    assert all(of_row[row] == of_row[row % 15 or 15] for row in range(1, 61))


def test_a_group_column_may_be_a_sentence(tmp_path):
    rows = [(f"question {n % 9}", f"answer {n}", ("no", "yes")[n % 2], "") for n in range(60)]
    of_row = fold_of(held_out(write(tmp_path / "pairs.csv", rows), 3, group_column="a"))
    assert all(of_row[row] == of_row[row % 9 or 9] for row in range(1, 61))
    assert len(set(of_row.values())) == 3


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "xlsx"])
def test_groups_that_are_numbers(tmp_path, kind):
    import pandas

    table = pandas.DataFrame(some_rows(60), columns=["a", "b", "y", "doc"])
    table["doc"] = [n % 10 for n in range(60)]
    if kind == "parquet":
        table.to_parquet(tmp_path / "pairs.parquet")
    elif kind == "jsonl":
        table.to_json(tmp_path / "pairs.jsonl", orient="records", lines=True)
    else:
        openpyxl = pytest.importorskip("openpyxl")
        book = openpyxl.Workbook()
        for row in [list(table.columns), *table.to_numpy().tolist()]:
            book.active.append(row)
        book.save(tmp_path / "pairs.xlsx")
    of_row = fold_of(held_out(tmp_path / f"pairs.{kind}", 3, group_column="doc"))
    assert all(of_row[row] == of_row[row % 10 or 10] for row in range(1, 61))
    as_text = write(tmp_path / "pairs.csv", [tuple(map(str, row)) for row in table.to_numpy().tolist()])
    assert of_row == fold_of(held_out(as_text, 3, group_column="doc"))


def test_a_regression_is_spread_by_its_values(tmp_path):
    rows = [(f"first {n}", f"second {n}", f"{n / 10}", "") for n in range(100)]
    means = [numpy.mean(some) for some in held_out(write(tmp_path / "pairs.csv", rows), 5)]
    assert max(means) - min(means) < 3  # of 50.5; a fold of 20 drawn at random has a standard deviation of 5.8
    few = write(tmp_path / "few.csv", rows[:7])  # fewer than folds times deciles
    assert sorted(row for some in held_out(few, 3) for row in some) == list(range(1, 8))


def test_multi_label_rows_are_spread_by_their_combinations(tmp_path):
    sets = (["x"], ["y"], ["x", "y"], [])
    rows = [(f"first {n}", f"second {n}", json.dumps(sets[n % 4]), "") for n in range(80)]
    rare = [("first", "second", '["z", "x"]', ""), ("one", "two", '["z"]', "")]
    held = held_out(write(tmp_path / "pairs.csv", [*rows, *rare]), 4)
    for some in held:
        assert set(Counter((row - 1) % 4 for row in some if row <= 80).values()) == {5}


def test_the_validation_split_is_left_out_and_said(tmp_path, capsys):
    for split, number in (("train", 30), ("validation", 10), ("test", 10)):
        write(tmp_path / f"{split}.csv", some_rows(number))
    found = load(tmp_path, 3, 2)
    assert [len(rows) for rows in found.splits.values()] == [20, 10, 10] and "test" in found.splits
    said = capsys.readouterr().err
    assert f"the validation split of {tmp_path} is not used" in said
    assert "fold 2 of 3: 10 of 30 training rows (33.3%) are held out" in said


def test_both_validation_splits_of_mnli_are_left_out(tmp_path):
    for split, number in (("train", 30), ("validation_matched", 10), ("validation_mismatched", 10)):
        write(tmp_path / f"{split}.csv", some_rows(number, ("entailment", "neutral", "contradiction")))
    found = load(tmp_path, 3, 1, task="mnli")
    assert {split: len(rows) for split, rows in found.splits.items()} == {"train": 20, "validation": 10}


def test_groups_of_a_saved_dataset(tmp_path):
    rows = some_rows(60, docs=10)
    columns = dict(zip(("a", "b", "y", "doc"), map(list, zip(*rows, strict=True)), strict=True))
    table = datasets.Dataset.from_dict({**columns, "more": [None] * 60})
    split = datasets.DatasetDict(train=table, test=table.select(range(4)).remove_columns("doc"))
    split.save_to_disk(tmp_path / "saved")
    of_row = fold_of(held_out(tmp_path / "saved", 3, group_column="doc"))
    assert all(of_row[row] == of_row[row % 10 or 10] for row in range(1, 61))
    assert of_row == fold_of(held_out(write(tmp_path / "pairs.csv", rows), 3, group_column="doc"))
    with pytest.raises(UserError, match="has no column 'page'; it has: a, b, y, doc, more"):
        load(tmp_path / "saved", 3, 1, group_column="page")


def test_many_rows_are_dealt_out_in_bundles_of_their_stratum():
    draw = numpy.random.default_rng(0)
    keys, strata = draw.integers(0, 2**63, 5000).astype(numpy.uint64), draw.integers(0, 3, 5000)
    keys[:100] = keys[0]  # a group
    bundles = folding.bundled(keys, strata, most=500)
    counts = numpy.bincount(bundles)
    assert counts.max() == 100 and len(counts[counts > 0]) <= 500 and (bundles[:100] == bundles[0]).all()
    assert all(len(set(strata[bundles == bundle])) == 1 for bundle in numpy.unique(bundles[100:]))
    order = draw.permutation(5000)
    turned = folding.bundled(keys[order], strata[order], most=500)
    assert (turned == bundles[order]).all()
    plain = folding.bundled(keys, strata, most=5000)
    assert (plain == numpy.unique(keys, return_inverse=True)[1]).all()


def test_many_rows_are_still_stratified(monkeypatch):
    monkeypatch.setattr(folding.bundled, "__defaults__", (300,))
    draw = numpy.random.default_rng(0)
    keys, strata = draw.integers(0, 2**63, 5000).astype(numpy.uint64), (draw.random(5000) < 0.1).astype(int)
    of_row = folding.fold_of_rows(keys, strata, 5)
    sizes = numpy.bincount(of_row)[1:]
    assert sizes.min() > 950 and numpy.ptp([strata[of_row == fold].mean() for fold in range(1, 6)]) < 0.01


PLAIN, BY_DOC = some_rows(40), {"group_column": "doc"}
ONE_DOC = [*PLAIN, *((f"a {n}", "b", "rare", "d") for n in range(3))]


@pytest.mark.parametrize(
    ("rows", "folds", "more", "words"),
    [
        ([*PLAIN, ("a", "b", "rare", "d")], 5, {}, "the class 'rare' has only 1 row in the train split"),
        (
            ONE_DOC,
            5,
            {},
            "'rare' has only 3 rows in the train split of FILE, and each fold needs one: choose at most 3",
        ),
        (PLAIN[:4], 5, {}, "--folds 5: the 4 rows of the train split of FILE are only 4 different pairs"),
        ([("a", "b", y, "") for y in ("no", "yes")] * 9, 2, {}, "are only 1 different pairs"),
        (some_rows(40, docs=4), 5, BY_DOC, "are only 4 groups by 'doc', and each fold needs one"),
        (ONE_DOC, 3, BY_DOC, "--folds 3: the groups by 'doc' leave no row of the class 'rare'"),
        (PLAIN, 5, {"group_column": "page"}, "has no column 'page'; it has: a, b, y, doc"),
        ([*PLAIN, ("x", "y", "no", " ")], 5, BY_DOC, "row 41: the group column 'doc' is empty"),
    ],
)
def test_folds_that_can_not_be_made(tmp_path, rows, folds, more, words):
    path = write(tmp_path / "pairs.csv", rows)
    with pytest.raises(UserError) as error:
        load(path, folds, 1, **more)
    assert words.replace("FILE", str(path)) in str(error.value)
