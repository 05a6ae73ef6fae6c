"""What the model card says of the rows that were scored, and of names and lengths that are special."""

import json
import re
from typing import Any

import pytest
from conftest import some_pairs, write_rows, write_tiny_model
from test_card import SHORT, about, card_of

from pairft.config import Config
from pairft.model import card_metadata


def test_scores_on_held_out_rows_are_none_on_the_validation_split():
    """The Hub would compare them with those of other models. With --limit, the part of the split is named."""

    def named(config: Config, **more: Any) -> set[tuple[str, str]]:
        results = card_metadata.eval_results(about(task="mrpc", validation={"accuracy": 0.5}, **more), config)
        return {(result.dataset_name, result.dataset_split) for result in results}

    assert named(Config(), scored_rows={"validation": 408}) == {("nyu-mll/glue (mrpc)", "validation")}
    assert named(Config(), held_out=True) == {("nyu-mll/glue (mrpc), held-out rows", "train")}
    assert named(Config(limit=100), scored_rows={"validation": 100}) == {("nyu-mll/glue (mrpc)", "validation[:100]")}
    assert named(Config(limit=500), scored_rows={"validation": 408}) == {("nyu-mll/glue (mrpc)", "validation")}


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [
        ((), "Scores on validation (20 rows):"),
        (("--limit", 10), "Scores on the first 10 rows of validation:"),
        (("--data", "train.jsonl"), "Scores on 6 rows held out from the training split:"),
    ],
)
def test_the_card_says_which_rows_were_scored(flags, wanted, made, pairs_folder, monkeypatch):
    monkeypatch.chdir(pairs_folder)
    card = card_of(made(*SHORT, *flags))
    split = {"--limit": "validation[:10]", "--data": "train"}.get(str(flags[:1] and flags[0]), "validation")
    assert wanted in card.text and {result.dataset_split for result in card.data.eval_results} == {split}


def test_a_model_without_a_limit_of_length(made, tmp_path):
    model = write_tiny_model(tmp_path / "model", "xlnet")
    about = json.loads((model / "tokenizer_config.json").read_text(encoding="utf-8"))
    about.pop("model_max_length")
    (model / "tokenizer_config.json").write_text(json.dumps(about), encoding="utf-8")
    text = card_of(made("--model", model, *SHORT)).text
    assert "Reads `sentence1` and `sentence2`; answers: " in text and str(2**31 - 1) not in text


def test_a_class_whose_name_has_a_bar(go, tmp_path):
    """As a cell it doesn't end there. The task custom is no name of data."""
    rows = [{**row, "label": ("x|y", "z")[index % 2]} for index, row in enumerate(some_pairs("train", 24))]
    write_rows(tmp_path / "pairs.jsonl", rows)
    flags = ("--data", tmp_path / "pairs.jsonl", "--task", "custom", "--text-columns", "sentence1,sentence2")
    assert go(*flags, "--positive-class", "x|y", *SHORT, "--run-name", "a") == 0
    text = card_of(tmp_path / "runs" / "a").text
    assert re.search(r"^\| f1 of 'x\\\|y' \| \d\.\d{4} \|$", text, re.M)
    assert "fine-tuned on pairs.jsonl\n" in text
