"""A run's best/ in other libraries: the real pipeline, Trainer and CrossEncoder answer as pairft's predict does."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
from conftest import some_pairs, write_rows, write_tiny_model
from scipy.special import expit, softmax

from pairft import predict

LENGTH = 20  # most pairs are longer
COLUMNS = ("sentence1", "sentence2")
FLAGS = ("--task", "custom", "--text-columns", ",".join(COLUMNS), "--max-length", LENGTH, "--max-steps", 4)
LABELS: dict[str, Callable[[int], Any]] = {
    "two classes": lambda row: ("no", "yes")[row % 2],
    "three classes": lambda row: ("a", "b", "c")[row % 3],
    "regression": lambda row: row / 7,
    "multi-label": lambda row: [("rude",), ("rude", "spam"), ("ad",)][row % 3],
}


@pytest.fixture(params=LABELS)
def trained(request, go, tmp_path, wild_model) -> tuple[Path, list[dict[str, Any]]]:
    """The model folder of a run with each kind of label, and some pairs."""
    return folder_of(go, tmp_path, wild_model, LABELS[request.param])


def folder_of(
    go: Callable[..., int], tmp_path: Path, model: Path, label: Callable[[int], Any]
) -> tuple[Path, list[dict[str, Any]]]:
    rows = [{**row, "label": label(number)} for number, row in enumerate(some_pairs("train", 60))]
    for split, some in (("train", rows[:40]), ("validation", rows[40:])):
        write_rows(tmp_path / "data" / f"{split}.jsonl", some)
    assert go("--model", model, "--data", tmp_path / "data", *FLAGS, "--run-name", "a") == 0
    return tmp_path / "runs" / "a" / "best", rows[40:]


def own_scores(folder: Path, rows: list[dict[str, Any]], tmp_path: Path) -> numpy.ndarray:
    """What pairft's predict answers: float [rows, outputs], probabilities or scores."""
    write_rows(tmp_path / "unlabelled.jsonl", [{name: row[name] for name in COLUMNS} for row in rows])
    output = tmp_path / "answers.jsonl"
    flags = ["--model", folder, "--data", tmp_path / "unlabelled.jsonl", "--output", output, "--device", "cpu"]
    assert predict.main([str(flag) for flag in flags]) == 0
    answers = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    names = [name for name in answers[0] if name == "score" or name.startswith("probability_")]
    found = numpy.array([[answer[name] for name in names] for answer in answers])
    assert len({*map(tuple, found.round(4).tolist())}) > len(found) / 2  # the pairs can be told apart
    return found


def activated(logits: numpy.ndarray, folder: Path) -> numpy.ndarray:
    kind = json.loads((folder / "config.json").read_text())["problem_type"]
    if kind == "regression":
        return logits
    return expit(logits) if kind == "multi_label_classification" else softmax(logits, axis=1)


def assert_close(found: numpy.ndarray, wanted: numpy.ndarray) -> None:
    assert found.shape == wanted.shape
    numpy.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 8])
def test_pipeline_gives_the_same_scores(trained, batch_size, tmp_path):
    from transformers import pipeline

    folder, rows = trained
    classify = pipeline("text-classification", str(folder), truncation=True, max_length=LENGTH, device="cpu")
    pairs = [{"text": row["sentence1"], "text_pair": row["sentence2"]} for row in rows]
    names = [classify.model.config.id2label[index] for index in range(classify.model.config.num_labels)]
    answers = [
        {one["label"]: one["score"] for one in row} for row in classify(pairs, top_k=None, batch_size=batch_size)
    ]
    found = numpy.array([[answer[name] for name in names] for answer in answers])
    assert_close(found, own_scores(folder, rows, tmp_path))


def test_pipeline_takes_no_list_for_a_pair(trained):
    """As the card says: two strings in a list are two texts, and a list of them is refused."""
    from transformers import pipeline

    classify = pipeline("text-classification", str(trained[0]), device="cpu")
    assert len(classify(["one", "two"])) == 2
    with pytest.raises(ValueError, match="text_pair"):
        classify([["one", "two"], ["three", "four"]])


def test_trainer_predicts_the_same(trained, tmp_path):
    import datasets
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments

    folder, rows = trained
    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = ([row[name] for row in rows] for name in COLUMNS)
    dataset = datasets.Dataset.from_dict(dict(tokenizer(*texts, truncation=True, max_length=LENGTH)))
    trainer = Trainer(
        AutoModelForSequenceClassification.from_pretrained(folder),
        TrainingArguments(str(tmp_path / "trainer"), report_to=[], use_cpu=True, disable_tqdm=True),
        processing_class=tokenizer,
    )
    assert_close(activated(trainer.predict(dataset).predictions, folder), own_scores(folder, rows, tmp_path))


def test_cross_encoder_gives_the_same_scores(trained, tmp_path):
    """Without an argument about the activation: config.json says that a regression has none."""
    cross_encoder = pytest.importorskip("sentence_transformers", reason="pip install sentence-transformers")
    folder, rows = trained
    model = cross_encoder.CrossEncoder(str(folder), max_length=LENGTH, device="cpu")
    pairs = [(row["sentence1"], row["sentence2"]) for row in rows]
    kind = json.loads((folder / "config.json").read_text())["problem_type"]
    found = model.predict(pairs, apply_softmax=kind == "single_label_classification", show_progress_bar=False)
    wanted = own_scores(folder, rows, tmp_path)
    assert_close(found if found.ndim == 2 else found[:, None], wanted)
    if found.ndim == 1:  # best first
        ranked = model.rank(pairs[0][0], [second for _, second in pairs])
        assert [one["score"] for one in ranked] == sorted((one["score"] for one in ranked), reverse=True)


def test_the_activation_of_a_base_model_is_not_kept(go, tmp_path, wild_model):
    """A CrossEncoder model that was trained further: its sigmoid would act on the logits of two classes."""
    base = shutil.copytree(wild_model, tmp_path / "base")
    config = json.loads((base / "config.json").read_text())
    sigmoid = "torch.nn.modules.activation.Sigmoid"
    config |= {"sbert_ce_default_activation_function": sigmoid, "sentence_transformers": {"activation_fn": sigmoid}}
    (base / "config.json").write_text(json.dumps(config))
    folder, _ = folder_of(go, tmp_path, base, LABELS["two classes"])
    config = json.loads((folder / "config.json").read_text())
    assert config["sentence_transformers"] == {"activation_fn": "torch.nn.modules.linear.Identity"}
    assert "sbert_ce_default_activation_function" not in config


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["roberta", "distilbert", "electra", "albert", "mpnet", "modernbert"])
def test_cross_encoder_and_pipeline_with_other_architectures(architecture, go, tmp_path):
    model = write_tiny_model(tmp_path / architecture, architecture, initializer_range=0.4)
    trained = folder_of(go, tmp_path, model, LABELS["two classes"])
    test_cross_encoder_gives_the_same_scores(trained, tmp_path)
    test_pipeline_gives_the_same_scores(trained, 8, tmp_path)
