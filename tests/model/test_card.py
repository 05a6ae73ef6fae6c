"""The model card: metadata that the Hub's library reads, and code that runs as it stands."""

import importlib.util
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import some_pairs, write_rows, write_tiny_model
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import model_index_to_eval_results

from pairft import predict
from pairft.config import Config
from pairft.data.builtin import PACKAGE
from pairft.model import card_metadata, card_text

SHORT = ("--max-steps", 2)


def card_of(run: Path, which: str = "best") -> ModelCard:
    return ModelCard.load(run / which / "README.md")


def blocks(card: ModelCard, language: str = "python") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", card.text, re.DOTALL | re.MULTILINE)


def test_the_hub_reads_the_scores(made):
    run = made(*SHORT)
    data = card_of(run).data
    assert (data.library_name, data.pipeline_tag, data.tags) == ("transformers", "text-classification", ["pairft"])
    found = {result.metric_name: result.metric_value for result in data.eval_results}
    scores = json.loads((run / "results.json").read_text())["best"]["validation"]
    assert found == {"Accuracy": scores["accuracy"], "F1 of 'equivalent'": scores["f1"]}
    assert {result.metric_type for result in data.eval_results} == {"accuracy", "f1"} == set(data.metrics)
    result = data.eval_results[0]
    assert (result.task_type, result.dataset_split) == ("text-classification", "validation")
    assert result.dataset_name.endswith("(mrpc)") and result.dataset_type == "unknown"
    # A folder of the machine is no name on the Hub, and no licence is known.
    assert data.base_model is None and data.license is None and data.to_dict().get("datasets") is None
    text = (run / "best" / "README.md").read_text(encoding="utf-8")
    _, again = model_index_to_eval_results(yaml.safe_load(text.split("---\n")[1])["model-index"])
    assert again == data.eval_results


def about(**more: Any) -> dict[str, Any]:
    return {
        "model": "google-bert/bert-base-uncased",
        "data": "glue",
        "task": "mnli",
        "text_columns": ["premise", "hypothesis"],
        "problem_type": "single_label_classification",
        "positive_class": None,
        "validation": {"loss": 0.5, "accuracy": 0.84},
        "validation_mismatched": {"loss": 0.4, "accuracy": 0.85},
        **more,
    }


def test_names_of_the_hub_are_metadata():
    """Model, data set, configuration, splits and revision as the Hub calls them."""
    config = Config(task="mnli", revision="main")
    found = yaml.safe_load(card_metadata.front_matter(about(), config))
    assert (found["base_model"], found["datasets"]) == ("google-bert/bert-base-uncased", ["nyu-mll/glue"])
    _, results = model_index_to_eval_results(found["model-index"])
    assert [(r.dataset_type, r.dataset_config, r.dataset_split, r.metric_value) for r in results] == [
        ("nyu-mll/glue", "mnli", "validation_matched", 0.84),
        ("nyu-mll/glue", "mnli", "validation_mismatched", 0.85),
    ]
    assert {result.dataset_revision for result in results} == {"main"}


def test_metrics_have_the_names_of_the_hub():
    scores = {"accuracy": 0.1, "f1": 0.2, "f1_micro": 0.3}
    given = about(task="custom", problem_type="multi_label_classification", validation=scores)
    results = card_metadata.eval_results(given, Config(task="custom"))
    assert [(result.metric_type, result.metric_args) for result in results[1:]] == [
        ("f1", {"average": "macro"}),
        ("f1", {"average": "micro"}),
    ]
    results = card_metadata.eval_results(about(task="stsb", validation={"pearson": 0.8, "spearman": 0.7}), Config())
    assert [result.metric_type for result in results] == ["pearsonr", "spearmanr"]
    results = card_metadata.eval_results(about(task="cola", validation={"matthews": 0.5}), Config())
    assert [result.metric_type for result in results] == ["matthews_correlation"]


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("---\nlicense: apache-2.0\ntags: [x]\n---\n# A model", {"license": "apache-2.0"}),
        (
            "---\nlicense: other\nlicense_name: mine\nlicense_link: https://example.org/mine\n---\n",
            {"license": "other", "license_name": "mine", "license_link": "https://example.org/mine"},
        ),
        ("# A card without metadata: licence MIT", {}),
        ("---\nlicense: [\n---\n", {}),
        ("---\n- license\n---\n", {}),
        (b"\xff\xfe", {}),
    ],
)
def test_the_licence_is_that_of_the_base_models_card(written, wanted, made, tmp_path):
    model = write_tiny_model(tmp_path / "licensed")
    (model / "README.md").write_bytes(written if isinstance(written, bytes) else written.encode())
    data = card_of(made("--model", model, *SHORT)).data.to_dict()
    assert {key: value for key, value in data.items() if key.startswith("license")} == wanted


@pytest.mark.skipif(importlib.util.find_spec(PACKAGE) is None, reason=f"{PACKAGE} is not installed")
def test_the_builtin_encoder_has_its_name_and_licence():
    found = yaml.safe_load(card_metadata.front_matter(about(model="builtin", data="builtin"), Config()))
    assert (found["base_model"], found["license"]) == ("sentence-transformers/all-MiniLM-L6-v2", "apache-2.0")
    assert "datasets" not in found
    wanted = "sentence-transformers/all-MiniLM-L6-v2 fine-tuned on pairft's generated pairs"
    assert found["model-index"][0]["name"] == wanted


def test_the_folder_names_no_folder_of_the_machine(made, tmp_path, pairs_folder, tiny_model):
    folder = made(*SHORT) / "best"
    for file in ("README.md", "pairft.json", "config.json", "tokenizer_config.json"):
        text = (folder / file).read_text(encoding="utf-8")
        assert not [str(path) for path in (tmp_path, pairs_folder, tiny_model.parent) if str(path) in text], file
    assert f"# {tiny_model.name} fine-tuned on {pairs_folder.name} (mrpc)" in (folder / "README.md").read_text()


LABELS = {
    "classes": ("sentence1,sentence2", lambda row: ["no", "yes"][row % 2]),
    "regression": ("sentence1,sentence2", lambda row: row / 7),
    "multi-label": ("sentence1,sentence2", lambda row: [["a"], ["a", "b"]][row % 2]),
    "one logit": ("sentence1,sentence2", lambda row: ["no", "yes"][row % 2]),
    "one text": ("sentence1", lambda row: ["no", "yes"][row % 2]),
}


@pytest.mark.parametrize("kind", LABELS)
def test_the_code_of_the_card_runs_and_agrees(kind, go, tmp_path, wild_model, capsys):
    """All of its python, with the folder as MODEL: the same numbers as predict gives for the card's example."""
    pytest.importorskip("sentence_transformers", reason="pip install sentence-transformers")
    columns, label = LABELS[kind]
    for split, number in (("train", 16), ("validation", 8)):
        rows = [{**row, "label": label(index)} for index, row in enumerate(some_pairs(split, number))]
        write_rows(tmp_path / "data" / f"{split}.jsonl", rows)
    flags = ("--task", "custom", "--text-columns", columns, "--run-name", "a", *SHORT)
    flags += ("--one-logit",) if kind == "one logit" else ()
    assert go("--model", wild_model, "--data", tmp_path / "data", *flags) == 0
    card, folder = card_of(tmp_path / "runs" / "a"), tmp_path / "runs" / "a" / "best"
    texts = card_text.EXAMPLE[: len(columns.split(","))]
    [command] = blocks(card, "bash")
    assert shlex.split(command) == ["python", "-m", "pairft.predict", "--model", "MODEL", "--text", *texts]
    capsys.readouterr()
    assert predict.main(["--device", "cpu", "--model", str(folder), "--text", *texts]) == 0
    answer = json.loads(capsys.readouterr().out)
    wanted = sorted(value for name, value in answer.items() if name != "label")
    own, *others = blocks(card)
    assert len(others) == 2 + (len(texts) == 2) and own.startswith("import pairft\n")
    for code in [own, *others]:
        if kind == "one logit" and code != own:  # the other libraries give that of the positive class
            wanted = [answer["probability_yes"]]
        exec(code.replace("MODEL", str(folder)), {})
        printed = capsys.readouterr().out
        found = [float(number) for number in re.findall(r"(?<![\w.])-?\d+\.\d*(?:e-?\d+)?", printed)]
        assert sorted(found) == pytest.approx(wanted, abs=2e-4), code  # torch prints four digits


@pytest.mark.parametrize("truncation", ["first", "second", "head-tail", "longest"])
def test_the_card_says_how_pairs_are_cut(truncation, made):
    card = card_of(made(*SHORT, "--truncation", truncation, "--max-length", 30)).text
    wanted = {"first": '"only_first"', "second": '"only_second"'}.get(truncation, "True")
    assert card.count(f"truncation={wanted}, max_length=30") == 2
    assert ("only pairft does" in card) == (truncation == "head-tail")
    assert ("`CrossEncoder` cuts the longer one" in card) == (truncation in ("first", "second"))


def test_the_card_of_each_seed_has_the_spread(made, tmp_path):
    group = made(*SHORT, "--seeds", "1,2")
    summary = json.loads((group / "summary.json").read_text())
    for seed in (1, 2):
        for which in ("best", "last"):
            found = summary[which]["f1"]
            low, high = found["interval"]
            numbers = [f"{found[name]:.4f}" for name in ("mean", "sd", "min", "max")]
            row = " | ".join(["f1", *numbers, f"{low:.4f} to {high:.4f}"])
            card = card_of(group / f"seed-{seed}", which)
            assert (
                f"\n| {row} |\n" in card.text
                and "differ only in their seeds: 1, 2. Scores of the " + which in card.text
            )
            assert card.text.index("## Other seeds") < card.text.index("## Settings") and len(blocks(card, "yaml")) == 1
            assert card.data.eval_results  # the metadata is still read


def test_the_card_of_each_fold_has_the_spread(made):
    group = made(*SHORT, "--folds", 2)
    found = json.loads((group / "summary.json").read_text())["best"]["accuracy"]
    numbers = " | ".join(f"{found[name]:.4f}" for name in ("mean", "sd", "min", "max"))
    for fold in (1, 2):
        text = card_of(group / f"fold-{fold}").text
        assert f"\n| accuracy | {numbers} | - |\n" in text and "One of 2 models of a cross-validation" in text
        assert (
            f"Scores on fold {fold} of 2 of the training split (30 rows), which the model was not trained on:" in text
        )
        assert {result.dataset_split for result in card_of(group / f"fold-{fold}").data.eval_results} == {"train"}


def test_the_spread_is_written_once_and_into_any_card():
    one = {"mean": 0.8, "sd": None, "min": 0.8, "max": 0.8, "interval": None}
    summary = {"seeds": [3], "diverged": [4], "best": {"f1": one}}
    card = "# Mine\n\n## Settings\n\nlr: 1\n"
    once = card_text.with_spread(card, "best", summary)
    assert "| f1 | 0.8000 | - | 0.8000 | 0.8000 | - |" in once and "(4 diverged)" in once
    assert once.startswith("# Mine\n\n<!-- spread -->") and once.endswith("<!-- /spread -->\n\n## Settings\n\nlr: 1\n")
    assert card_text.with_spread(once, "best", summary) == once
    edited = card_text.with_spread("# Mine\n", "best", summary)
    assert edited.startswith("# Mine\n\n<!-- spread -->") and edited.endswith("<!-- /spread -->\n")
    assert card_text.with_spread(edited, "best", summary) == edited
