"""pairft.load(…).predict(…): the same answers as the command's and transformers', from every kind of input."""

import json
import re
import shutil
import subprocess
import sys

import datasets
import numpy
import pandas
import pytest
from conftest import ROOT, some_pairs, write_rows, write_tiny_model
from models import NAMES, classifier, logits_of, run
from scipy.special import softmax

import pairft
from pairft.errors import UserError
from pairft.prediction import predictor

COLUMNS = ("sentence1", "sentence2")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return classifier(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def loaded(model):
    return pairft.load(str(model), device="cpu")


@pytest.fixture(scope="module")
def rows():
    return [{name: row[name] for name in COLUMNS} for row in some_pairs("validation", 40)]


@pytest.fixture(scope="module")
def expected(model, rows):
    found = softmax(logits_of(model, rows), axis=1)
    assert numpy.abs(numpy.diff(found[:, 1])).min() > 1e-4  # else any order would do
    return found


@pytest.mark.parametrize("kind", ["tuples", "lists", "generator", "DataFrame", "Dataset", "columns"])
def test_every_kind_of_input_gives_the_same_answers(kind, loaded, rows, expected):
    pairs = [(row["sentence1"], row["sentence2"]) for row in rows]
    given = {
        "tuples": pairs,
        "lists": [list(pair) for pair in pairs],
        "generator": (pair for pair in pairs),
        "DataFrame": pandas.DataFrame(rows),
        "Dataset": datasets.Dataset.from_list(rows),
        "columns": {name: [row[name] for row in rows] for name in COLUMNS},
    }
    text_columns = COLUMNS if kind in ("DataFrame", "Dataset", "columns") else None
    found = loaded.predict(given[kind], text_columns=text_columns)
    assert found.label_names == NAMES and len(found) == 40
    assert numpy.allclose(found.probabilities, expected, rtol=0, atol=1e-5)
    assert found.labels == [NAMES[index] for index in expected.argmax(axis=1)]
    assert found.scores.shape == (40, 0) and found.logits.shape == (40, 3)


def test_blocks_keep_the_order_and_the_command_says_the_same(loaded, model, rows, expected, tmp_path, monkeypatch):
    monkeypatch.setattr(predictor, "BLOCK_ROWS", 7)
    found = loaded.predict([(row["sentence1"], row["sentence2"]) for row in rows])
    assert numpy.allclose(found.probabilities, expected, rtol=0, atol=1e-5)
    write_rows(tmp_path / "rows.jsonl", rows)
    assert run(model, "--data", tmp_path / "rows.jsonl", "--output", tmp_path / "out.jsonl") == 0
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    answers = pandas.DataFrame(found.columns).to_dict("records")
    for line, row, answer in zip(lines, rows, answers, strict=True):
        assert line == pytest.approx({**row, **answer}, abs=1e-6)


def test_no_pairs_and_one_pair(loaded, rows, expected):
    none = loaded.predict([])
    assert len(none) == 0 and none.labels == [] and none.probabilities.shape == (0, 3)
    one = loaded.predict([(rows[3]["sentence1"], rows[3]["sentence2"])])
    assert numpy.allclose(one.probabilities, expected[3:4], rtol=0, atol=1e-5)


def test_the_most_probable_classes(loaded, rows, expected):
    found = loaded.predict([(row["sentence1"], row["sentence2"]) for row in rows], top_k=2).columns
    assert list(found) == ["label", "probability", "label_2", "probability_2"]
    order = (-expected).argsort(axis=1)
    assert found["label"] == [NAMES[index] for index in order[:, 0]]
    assert found["label_2"] == [NAMES[index] for index in order[:, 1]]
    assert numpy.allclose(found["probability_2"], numpy.sort(expected, axis=1)[:, 1], atol=1e-5)


def test_a_regression_has_scores(tmp_path, rows):
    model = classifier(tmp_path, ("score",), "regression")
    found = pairft.load(str(model), "cpu").predict([(row["sentence1"], row["sentence2"]) for row in rows[:5]])
    assert numpy.allclose(found.scores, logits_of(model, rows[:5]), atol=1e-5)
    assert found.labels == [] and found.probabilities.shape == (5, 0)
    with pytest.raises(ValueError, match="classes, not scores"):
        pairft.load(str(model), "cpu").predict([("a", "b")], top_k=1)


@pytest.mark.parametrize(
    ("pairs", "columns", "said"),
    [
        ("one text", None, "not one text"),
        ([("a", "b"), ("c",)], None, "row 2 is one sentence, but should be two sentences"),
        ([("a", "b", "c")], None, "row 1 is 3 sentences"),
        ([("a", "b"), ("c", " ")], None, "row 2 has an empty sentence"),
        ([("a", "b"), ("c", None)], None, "row 2 has an empty sentence"),
        ([("a", 5)], None, "row 1: 5 is not text"),
        ([3], None, "row 1 is int '3'"),
        (pandas.DataFrame({"a": ["x"], "b": [None]}), ("a", "b"), "row 1 has an empty sentence"),
        (pandas.DataFrame({"a": ["x"]}), ("a", "b"), "there is no column 'b', but a"),
        (pandas.DataFrame({"a": ["x"], "b": ["y"]}), None, "text_columns"),
        ({"a": ["x"]}, ("a", "b", "c"), "one or two columns"),
        ({"a": "one", "b": "two"}, ("a", "b"), "'a' is one text, but should be a list"),
        ({"a": ["x", "y"], "b": ["z"]}, ("a", "b"), "'a' and 'b' are not equally long"),
        (pandas.DataFrame([["x", "y", "z"]] * 3, columns=["a", "a", "b"]), ("a", "b"), "several columns 'a'"),
        ({"ab": ["x"]}, "a", "there is no column 'a', but ab"),
        (None, None, "give a list of pairs, such as [(first, second)], not None"),
        ([("a", "cut \ud83d")], None, "row 1: 'cut \\ud83d' holds half a character"),
    ],
)
def test_what_cannot_be_predicted_is_named(pairs, columns, said, loaded):
    with pytest.raises(ValueError, match=re.escape(said)):
        loaded.predict(pairs, text_columns=columns)


def test_a_model_that_is_not_there_is_a_value_error(tmp_path):
    with pytest.raises(UserError, match="gone doesn't exist"):
        pairft.load(str(tmp_path / "gone"))


def test_a_path_is_a_folder_and_what_is_no_device_is_named(model, loaded, rows):
    pairs = [(row["sentence1"], row["sentence2"]) for row in rows[:2]]
    assert (pairft.load(model, "cpu").predict(pairs).logits == loaded.predict(pairs).logits).all()
    for given in ({"device": "gpu"}, {"precision": "float32"}):
        [(name, value)] = given.items()
        with pytest.raises(UserError, match=f"--{name} is '{value}', but should be one of: auto, "):
            pairft.load(model, **given)


def test_a_string_names_one_text_column(loaded, rows):
    texts = [row["sentence1"] for row in rows[:3]]
    found = loaded.predict({"text": texts}, text_columns="text")
    assert numpy.allclose(found.logits, loaded.predict(texts).logits, rtol=0, atol=1e-5)


def test_importing_pairft_imports_nothing_heavy():
    code = "import pairft, sys; print([name for name in ('torch', 'numpy', 'datasets') if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert result.stdout.strip() == "[]"


def broken(model, folder, what):
    """A copy of the model folder without a file, or with half of one."""
    shutil.copytree(model, folder)
    name, _, half = what.partition(":")
    content = (folder / name).read_bytes()
    (folder / name).unlink()
    if half:
        (folder / name).write_bytes(content[: len(content) // 2])
    return folder


@pytest.mark.parametrize(
    "what", ["model.safetensors", "model.safetensors:half", "config.json", "config.json:half", "tokenizer.json:half"]
)
def test_half_a_model_folder_is_one_message(what, model, tmp_path, capsys):
    folder = broken(model, tmp_path / "model", what)
    assert run(folder, "--data", ROOT / "tests" / "gone.csv") == 2
    capsys.readouterr()
    write_rows(tmp_path / "rows.jsonl", [{"sentence1": "a", "sentence2": "b"}])
    assert run(folder, "--data", tmp_path / "rows.jsonl", "--output", tmp_path / "out.csv") == 2
    [message] = capsys.readouterr().err.splitlines()
    assert message.startswith("error: ") and f"--model {folder}" in message
    assert not (tmp_path / "out.csv").exists()


def test_a_causal_language_model_is_named(tmp_path, capsys):
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    encoder = write_tiny_model(tmp_path / "gpt", "gpt2")
    AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(encoder)).save_pretrained(tmp_path / "model")
    AutoTokenizer.from_pretrained(encoder).save_pretrained(tmp_path / "model")
    write_rows(tmp_path / "rows.jsonl", [{"sentence1": "a", "sentence2": "b"}])
    capsys.readouterr()
    assert run(tmp_path / "model", "--data", tmp_path / "rows.jsonl", "--output", tmp_path / "out.csv") == 2
    [message] = capsys.readouterr().err.splitlines()
    assert "is a GPT2LMHeadModel, not a sequence classifier" in message
