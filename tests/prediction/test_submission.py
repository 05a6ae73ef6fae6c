"""--glue-submission: names and format of the files of each task, against transformers' own answers."""

import json
from pathlib import Path

import datasets
import numpy
import pytest
from conftest import some_pairs, write_rows
from models import classifier
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from pairft import predict
from pairft.tasks import TASKS

NAMES = {task: TASKS[task].label_names for task in ("cola", "sst2", "mrpc", "qqp", "mnli", "qnli", "rte", "wnli", "ax")}
FILES = {
    "cola": "CoLA.tsv", "sst2": "SST-2.tsv", "mrpc": "MRPC.tsv", "stsb": "STS-B.tsv", "qqp": "QQP.tsv",
    "qnli": "QNLI.tsv", "rte": "RTE.tsv", "wnli": "WNLI.tsv", "ax": "AX.tsv",
}  # fmt: skip
AS_TEXT = ("mnli", "qnli", "rte", "ax")


def logits_of(model: Path, rows: list[tuple[str, ...]]) -> numpy.ndarray:
    tokenizer = AutoTokenizer.from_pretrained(model)
    loaded = AutoModelForSequenceClassification.from_pretrained(model).eval()
    return numpy.concatenate([loaded(**tokenizer(*row, return_tensors="pt")).logits.detach() for row in rows])


def run(model: Path, *flags: object) -> int:
    return predict.main(["--model", str(model), "--device", "cpu", *map(str, flags)])


def made(task: str, path: Path, number: int, split: str = "test") -> list[tuple[str, ...]]:
    """Rows of a task, written to a file: their sentences."""
    columns = TASKS[task].text_columns
    rows = [(row["sentence1"], row["sentence2"])[: len(columns)] for row in some_pairs(split, number)]
    write_rows(path, [{**dict(zip(columns, row, strict=True)), "label": -1, "idx": 7} for row in rows])
    return rows


def expected(task: str, model: Path, rows: list[tuple[str, ...]], order: list[int]) -> str:
    logits = logits_of(model, rows)
    if task == "stsb":
        texts = [f"{min(max(score, 0), 5):.3f}" for score in logits[:, 0].tolist()]
    else:
        found = logits[:, order].argmax(axis=1)
        texts = [NAMES[task][index] if task in AS_TEXT else str(index) for index in found]
    assert len(set(texts)) > 1
    return "index\tprediction\n" + "".join(f"{index}\t{text}\n" for index, text in enumerate(texts))


@pytest.mark.parametrize("task", FILES)
def test_the_file_of_each_task(task, tmp_path, capsys):
    names = NAMES.get(task)
    order = list(reversed(range(len(names)))) if names else [0]  # the head's classes are in another order
    held = [names[index] for index in order] if names else ["score"]
    model = classifier(tmp_path, held, None if names else "regression")
    rows = made(task, tmp_path / "data" / "test.jsonl", 20)
    data = tmp_path / "data" if task in ("cola", "rte") else tmp_path / "data" / "test.jsonl"
    assert run(model, "--task", task, "--data", data, "--glue-submission", tmp_path / "out" / "new") == 0
    [file] = (tmp_path / "out" / "new").iterdir()
    assert file.name == FILES[task]
    assert file.read_text(encoding="utf-8") == expected(task, model, rows, order)
    printed = capsys.readouterr()
    assert f"20 predictions written to {file}" in printed.err and "leaderboard expects" in printed.err


def test_mnli_has_two_files(tmp_path):
    model = classifier(tmp_path, NAMES["mnli"])
    matched = made("mnli", tmp_path / "data" / "test_matched.jsonl", 12)
    other = made("mnli", tmp_path / "data" / "test_mismatched.jsonl", 10, "validation")
    flags = ("--task", "mnli", "--glue-submission", tmp_path / "out", "--data")
    assert run(model, *flags, tmp_path / "data" / "test_mismatched.jsonl") == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["MNLI-mm.tsv"]
    assert run(model, *flags, tmp_path / "data") == 0
    for name, rows in (("MNLI-m.tsv", matched), ("MNLI-mm.tsv", other)):
        assert (tmp_path / "out" / name).read_text(encoding="utf-8") == expected("mnli", model, rows, [0, 1, 2])


def test_the_name_of_a_file_decides_for_mnli_alone(tmp_path):
    model = classifier(tmp_path, NAMES["mrpc"])
    made("mrpc", tmp_path / "mismatched.jsonl", 2)
    flags = ("--task", "mrpc", "--data", tmp_path / "mismatched.jsonl")
    assert run(model, *flags, "--glue-submission", tmp_path / "out") == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["MRPC.tsv"]


def test_a_model_of_pairft_knows_its_task_and_blank_rows_are_answered(tmp_path):
    model = classifier(tmp_path, NAMES["mrpc"])
    about = {"task": "mrpc", "text_columns": ["sentence1", "sentence2"]}
    (model / "pairft.json").write_text(json.dumps(about), encoding="utf-8")
    rows = [{"sentence1": "a b", "sentence2": ""}, {"sentence1": "c", "sentence2": "d"}]
    datasets.Dataset.from_list(rows).to_parquet(tmp_path / "test.parquet")
    assert run(model, "--data", tmp_path / "test.parquet", "--glue-submission", tmp_path / "out") == 0
    assert len((tmp_path / "out" / "MRPC.tsv").read_text(encoding="utf-8").splitlines()) == 3


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--task", "mnli"), "head for 2 classes (no, yes), but mnli has 3 classes"),
        (("--task", "custom", "--text-columns", "sentence1,sentence2"), "custom is no task of GLUE"),
        (("--task", "mrpc", "--output", "x.csv"), "--output doesn't go with --glue-submission"),
        (("--task", "mrpc", "--on-bad-row", "skip"), "--on-bad-row doesn't go"),
        (("--task", "mrcp"), "--task is 'mrcp', but should be one of: cola, sst2, "),
    ],
)
def test_what_is_refused(flags, said, tmp_path, capsys):
    model = classifier(tmp_path, ("no", "yes"))
    made("mrpc", tmp_path / "test.jsonl", 2)
    capsys.readouterr()
    assert run(model, "--data", tmp_path / "test.jsonl", "--glue-submission", tmp_path / "out", *flags) == 2
    [message] = capsys.readouterr().err.splitlines()
    assert said in message and not (tmp_path / "out").exists()


def test_without_the_hub_the_file_of_the_test_split_has_to_be_named(tmp_path, capsys):
    model = classifier(tmp_path, NAMES["mrpc"])
    capsys.readouterr()
    assert run(model, "--task", "mrpc", "--glue-submission", tmp_path / "out") == 2
    [message] = capsys.readouterr().err.splitlines()
    assert "--data nyu-mll/glue" in message and "name the file of the test split with --data" in message
