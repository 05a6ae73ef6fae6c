"""Tokens: the same as the tokenizer gives when it is called directly, cut to length, and made only once."""

import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy
import pyarrow
import pytest
from conftest import ROOT, some_pairs, write_rows, write_tiny_model
from pyarrow import parquet

from pairft.config import Config
from pairft.data import files, tokens
from pairft.data.meaning import read_labels
from pairft.data.pairs import Pairs, load_pairs
from pairft.data.targets import has_label

TEXTS = [
    ("The bank opens at 9.", "It is closed."),
    ("NA", "007"),
    ("[CLS] [SEP] [MASK]", "[PAD] ##a"),
    ("e\u0301 \u00e9 E\u0301", "👩‍👩‍👧 ok"),
    ("שלום (world) \u200fabc", "ไทย\u00a0中文"),
    ("one\ntwo\ttwo\u2028three", ' "quoted" '),
    ("a " * 100, "b " * 100),
    ("a", "b " * 300),
    ("x" * 500, "."),
]


@pytest.fixture(scope="module")
def tokenizer(tiny_model: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_model)


def folder_of(path: Path, pairs: list[tuple[str, str]], labels: list[Any], **more: list[Any]) -> Path:
    """The same pairs in every split; `more`: other labels for a split."""
    for split in ("train", "validation", *more):
        rows = zip(pairs, more.get(split, labels), strict=True)
        write_rows(
            path / f"{split}.jsonl", [{"sentence1": a, "sentence2": b, "label": label} for (a, b), label in rows]
        )
    return path


def load(folder: Path, *columns: str) -> Pairs:
    return load_pairs(Config(task="custom", data=str(folder), text_columns=columns or ("sentence1", "sentence2")))


def scored(folder: Path) -> Pairs:
    """The test split with its labels, read as predict does."""
    trained, columns = load(folder), ("sentence1", "sentence2")
    rows = files.read_files([folder / "test.jsonl"], columns, "label", label_needed=False)
    ids = read_labels(rows, "test", "label", trained.problem_type, trained.label_names, trained.by_number, False)
    return Pairs({"test": rows}, columns, "label", trained.problem_type, trained.label_names, ids)


@pytest.mark.parametrize("max_length", [5, 6, 13, 64])
def test_tokens_are_what_the_tokenizer_gives(max_length, tokenizer, tmp_path):
    pairs = load(folder_of(tmp_path, TEXTS, [number % 2 for number in range(len(TEXTS))]))
    rows = tokens.tokenise(pairs, tokenizer, max_length)["train"]
    assert sorted(rows.column_names) == ["input_ids", "label", "length", "lost", "token_type_ids"]
    for row, (first, second) in zip(rows, TEXTS, strict=True):
        direct = tokenizer(first, second, truncation="longest_first", max_length=max_length)
        assert row["input_ids"] == direct["input_ids"]
        assert row["token_type_ids"] == direct["token_type_ids"]
        assert row["length"] == len(direct["input_ids"]) <= max_length


def test_the_longer_sentence_is_cut_first(tokenizer, tmp_path):
    pairs = load(folder_of(tmp_path, [("a b c d e f", "x y"), ("x", "a b c d e f")], [0, 1]))
    rows = tokens.tokenise(pairs, tokenizer, 8)["train"]
    assert [tokenizer.convert_ids_to_tokens(row["input_ids"]) for row in rows] == [
        ["[CLS]", "a", "b", "c", "[SEP]", "x", "y", "[SEP]"],
        ["[CLS]", "x", "[SEP]", "a", "b", "c", "d", "[SEP]"],
    ]
    assert [row["token_type_ids"] for row in rows] == [[0, 0, 0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 1, 1, 1]]
    assert rows["length"][:] == [8, 8]


def test_one_sentence_alone(tokenizer, tmp_path):
    pairs = load(folder_of(tmp_path, [("a b", "x"), ("c d e f g", "x")], [0, 1]), "sentence1")
    rows = tokens.tokenise(pairs, tokenizer, 6)["train"]
    assert [tokenizer.convert_ids_to_tokens(row["input_ids"]) for row in rows] == [
        ["[CLS]", "a", "b", "[SEP]"],
        ["[CLS]", "c", "d", "e", "f", "[SEP]"],
    ]


def test_token_type_ids_only_where_the_model_reads_them(tiny_model, tmp_path):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model, model_input_names=["input_ids", "attention_mask"])
    rows = tokens.tokenise(load(folder_of(tmp_path, TEXTS[:2], [0, 1])), tokenizer, 64)["train"]
    assert sorted(rows.column_names) == ["input_ids", "label", "length", "lost"]


@pytest.mark.parametrize(
    ("train", "test", "kind", "wanted"),
    [
        (["yes", "no", "no"], ["no", -1, None], "int64", [0, -100, -100]),
        ([1.0, 0, 1], [1.0, "", "-1"], "int64", [1, -100, -100]),
        ([5, 10, 7], ["10", 7.0, None], "int64", [2, 1, -100]),
        (["yes", "no", "no"], ["?", "no", "-"], "int64", [-100, 0, -100]),
        (["yes", "no", "no"], ["unknown", "unknown", None], "int64", [-100, -100, -100]),
        ([True, False, True], [True, False, None], "int64", [1, 0, -100]),
        (["0.5", 1, 2.5], [2.5, 7, None], "float32", [2.5, 7.0, float("nan")]),
        (["0.5", 1, 2.5], [-1, "-1.0", ""], "float32", [float("nan")] * 3),
        (["0.5", 1, 2.5], [-1, 2.5, "?"], "float32", [-1.0, 2.5, float("nan")]),  # -1 is a value among others
    ],
)
def test_labels_stand_in_their_rows(train, test, kind, wanted, tokenizer, tmp_path):
    pairs = scored(folder_of(tmp_path, TEXTS[:3], train, test=test))
    rows = tokens.tokenise(pairs, tokenizer, 64)["test"]
    assert rows.features["label"].dtype == kind
    assert rows.features["length"].dtype == "int32"
    found = numpy.array(rows["label"][:], kind)
    numpy.testing.assert_array_equal(found, numpy.array(wanted, kind))
    labelled = [value != -100 and not math.isnan(value) for value in wanted]
    assert has_label(found).tolist() == labelled


@pytest.mark.parametrize(
    "kind", [pyarrow.string(), pyarrow.large_string(), pyarrow.dictionary(pyarrow.int8(), pyarrow.string())]
)
def test_class_names_of_any_layout_become_ids(kind, tokenizer, tmp_path):
    """pandas and polars write text as large_string."""
    first, second = zip(*TEXTS[:3], strict=True)
    table = pyarrow.table({"sentence1": first, "sentence2": second, "label": pyarrow.array(["yes", "no", "yes"], kind)})
    for split in ("train", "validation"):
        parquet.write_table(table, tmp_path / f"{split}.parquet")
    rows = tokens.tokenise(load(tmp_path), tokenizer, 64)["train"]
    assert rows.features["label"].dtype == "int64" and rows["label"][:] == [1, 0, 1]


def test_a_test_part_without_labels_has_none(tokenizer, tmp_path):
    folder = folder_of(tmp_path, TEXTS[:2], ["yes", "no"])
    write_rows(folder / "test.jsonl", [{"sentence1": "a", "sentence2": "b"}] * 3)
    assert tokens.tokenise(load(folder), tokenizer, 64)["test"]["label"][:] == [-100, -100, -100]


def made_by(splits: dict[str, Any]) -> dict[str, str]:
    return {split: rows.cache_files[0]["filename"] for split, rows in splits.items()}


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_the_same_rows_tokenizer_and_length_are_tokenised_once(kind, tiny_model, tokenizer, tmp_path):
    import datasets

    folder = folder_of(tmp_path / "data", TEXTS, [number % 2 for number in range(len(TEXTS))])
    if kind == "parquet":
        for path in folder.iterdir():
            datasets.Dataset.from_json(str(path), cache_dir=str(tmp_path / "json")).to_parquet(
                path.with_suffix(".parquet")
            )
            path.unlink()
    first = made_by(tokens.tokenise(load(folder), tokenizer, 32))
    stamps = [Path(path).stat().st_mtime_ns for path in first.values()]
    tokenizer(["a b", "c"], padding=True, truncation=True, max_length=4)  # what a call leaves behind changes no key
    again = made_by(tokens.tokenise(load(folder), tokenizer, 32))
    assert again == first
    assert [Path(path).stat().st_mtime_ns for path in again.values()] == stamps

    longer = made_by(tokens.tokenise(load(folder), tokenizer, 33))
    single = made_by(tokens.tokenise(load(folder, "sentence1"), tokenizer, 32))
    swapped = made_by(tokens.tokenise(load(folder, "sentence2", "sentence1"), tokenizer, 32))
    assert len({made["train"] for made in (first, longer, single, swapped)}) == 4


def test_another_vocabulary_or_case_is_tokenised_anew(tiny_model, tokenizer, tmp_path):
    from transformers import AutoTokenizer, BertTokenizer

    folder = folder_of(tmp_path / "data", TEXTS[:2], [0, 1])
    words = (tiny_model / "vocab.txt").read_text(encoding="utf-8").splitlines()
    (tmp_path / "vocab.txt").write_text("\n".join([*words[:5], *reversed(words[5:])]) + "\n", encoding="utf-8")
    others = [
        AutoTokenizer.from_pretrained(tiny_model),
        BertTokenizer(vocab=str(tmp_path / "vocab.txt")),
        BertTokenizer(vocab=str(tiny_model / "vocab.txt"), do_lower_case=False),
    ]
    first = made_by(tokens.tokenise(load(folder), tokenizer, 32))["train"]
    made = [made_by(tokens.tokenise(load(folder), other, 32))["train"] for other in others]
    assert made[0] == first
    assert len(set(made)) == 3


def files_below(folder: Path) -> dict[str, tuple[int, int]]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns) for path in paths}


@pytest.mark.slow
def test_a_second_process_tokenises_nothing(tiny_model, tmp_path):
    """With other hyperparameters, since none of them has a part in the tokens; a third one with another length, and
    with another model, must tokenise."""
    from transformers import BertTokenizer

    for split, number in (("train", 24), ("validation", 8), ("test", 4)):
        write_rows(tmp_path / "data" / f"{split}.jsonl", some_pairs(split, number))
    cased = Path(shutil.copytree(tiny_model, tmp_path / "cased"))
    BertTokenizer(vocab=str(cased / "vocab.txt"), do_lower_case=False, model_max_length=64).save_pretrained(cased)
    home, runs = tmp_path / "home", tmp_path / "runs"

    def train(*calls: list[Any]) -> dict[str, tuple[int, int]]:
        """What the cache of `datasets` holds after these calls in one process."""
        common = ["--data", tmp_path / "data", "--runs-dir", runs, "--device", "cpu", "--max-steps", 1]
        flags = [[str(flag) for flag in [*common, *call]] for call in calls]
        code = f"import sys, train; sys.exit(max([train.main(call) for call in {flags!r}]))"
        environment = {**os.environ, "HF_HOME": str(home)}
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env=environment, cwd=ROOT)
        return files_below(home / "datasets")

    first = train(["--model", tiny_model, "--run-name", "a"])
    arrow = {name for name in first if name.endswith(".arrow")}
    assert len(arrow) == 6  # of each split the rows, and their tokens
    assert train(["--model", tiny_model, "--run-name", "b", "--seed", 7, "--batch-size", 3, "--lr", "1e-3"]) == first
    third = train(["--model", tiny_model, "--run-name", "c", "--max-length", 16], ["--model", cased, "--run-name", "d"])
    assert len({name for name in third if name.endswith(".arrow")} - arrow) == 6  # three tokenised twice
    assert {name: third[name] for name in arrow} == {name: first[name] for name in arrow}


def test_a_token_beyond_the_embedding_is_named(go, tmp_path, capsys):
    encoder = write_tiny_model(tmp_path / "small", vocab_size=100)
    for flags in ((), ("--preset", "trainer")):
        assert go("--model", encoder, "--run-name", "a", *flags) == 2
        message = capsys.readouterr().err
        assert f"--model {encoder}: the data has the token id" in message and "100 rows" in message
    assert not (tmp_path / "runs" / "a").exists()
