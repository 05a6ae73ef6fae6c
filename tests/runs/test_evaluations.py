"""What a run keeps of its evaluations: the examples as they are in their source, and the answers of each evaluation."""

import json
import random
import resource
import signal
from pathlib import Path

import numpy
import pyarrow
import pytest
from conftest import read_lines, some_pairs, undone, write_rows
from pyarrow import parquet
from scipy.special import expit, softmax
from sklearn.metrics import accuracy_score, f1_score

from pairft import predict
from pairft.errors import UserError
from pairft.runs import evaluations


def test_the_answers_give_the_scores_of_metrics_jsonl(made):
    run = made("--epochs", 2, "--lr", "1e-3", "--eval-every", 5)
    lines = read_lines(run, "validation")
    assert [line["step"] for line in lines] == [5, 10, 15, 16]
    for line in lines:
        found = evaluations.read(run, line["step"])
        predicted = found.output.predictions()
        assert line["accuracy"] == accuracy_score(found.output.labels, predicted)
        assert line["f1"] == f1_score(found.output.labels, predicted)
        assert line["loss"] == pytest.approx(found.output.losses.mean(), rel=1e-6)
        assert found.probabilities == pytest.approx(softmax(found.output.logits, axis=1))
    results = json.loads((run / "results.json").read_text())
    for which in ("best", "last"):
        assert evaluations.read(run, which).step == results[which]["step"]


def test_examples_are_those_of_the_source(made, tmp_path, capsys):
    rows = some_pairs("train", 40)
    rows[4]["label"] = None
    write_rows(tmp_path / "pairs.jsonl", rows)
    run = made("--data", tmp_path / "pairs.jsonl", "--drop-bad-rows", "--max-steps", 2)
    found = evaluations.read(run, "last")
    assert 0 < len(found.rows) < 39 and 5 not in found.rows
    source = [rows[number - 1] for number in found.rows]
    assert found.texts == [(row["sentence1"], row["sentence2"]) for row in source]
    assert found.output.labels.tolist() == [row["label"] for row in source]
    assert found.texts_of(numpy.array([3, 0, 3])) == [found.texts[3], found.texts[0], found.texts[3]]
    assert (found.names, found.positive) == (("not_equivalent", "equivalent"), 1)
    assert found.text_columns == ("sentence1", "sentence2")
    write_rows(tmp_path / "held.jsonl", source)
    flags = ["--data", tmp_path / "held.jsonl", "--output", tmp_path / "answers.jsonl", "--device", "cpu"]
    assert predict.main(["--model", str(run / "last"), *map(str, flags)]) == 0
    answers = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert [answer["probability_equivalent"] for answer in answers] == pytest.approx(found.probabilities[:, 1].tolist())


def test_the_number_of_tokens(made, tiny_model):
    from transformers import AutoTokenizer

    found = evaluations.read(made("--max-steps", 1, "--max-length", 16), "last")
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    encoded = tokenizer([list(pair) for pair in found.texts], truncation=True, max_length=16)
    assert found.tokens.tolist() == [len(ids) for ids in encoded["input_ids"]]


def test_values_and_sets_of_labels(made, tmp_path):
    pairs, sets = some_pairs("train", 24), (["x"], ["x", "y"], [], ["y"])
    flags = ("--task", "custom", "--text-columns", "sentence1,sentence2", "--max-steps", 2)
    values = [{**row, "label": n / 4} for n, row in enumerate(pairs)]
    lists = [{**row, "label": sets[n % 4]} for n, row in enumerate(pairs)]
    write_rows(tmp_path / "values.jsonl", values)
    found = evaluations.read(made("--data", tmp_path / "values.jsonl", *flags, name="values"), "last")
    assert found.names is None and found.probabilities.shape == (len(found.rows), 1)
    assert found.output.labels.tolist() == [values[number - 1]["label"] for number in found.rows]
    assert found.label_text(found.output.labels[0]) == str(values[found.rows[0] - 1]["label"])
    write_rows(tmp_path / "lists.jsonl", lists)
    found = evaluations.read(made("--data", tmp_path / "lists.jsonl", *flags, name="lists"), "last")
    assert [found.label_text(label) for label in found.output.labels] == [
        ", ".join(lists[number - 1]["label"]) for number in found.rows
    ]
    assert found.probabilities == pytest.approx(expit(found.output.logits))


def test_a_resumed_run_keeps_the_same_answers(go, made, tmp_path):
    whole, copy = made("--epochs", 2, "--lr", "1e-3"), tmp_path / "runs" / "b"
    undone(whole, copy, 8)
    for path in (copy / "evaluations").glob("*-step-00000016.parquet"):
        path.write_bytes(b"cut short")
    assert go("--resume", "--run-name", "b") == 0
    for path in (whole / "evaluations").iterdir():
        assert path.read_bytes() == (copy / "evaluations" / path.name).read_bytes()


@pytest.mark.parametrize("part", ["pages", "metadata"])
def test_damage_inside_a_file_is_named(made, part):
    """It shows when columns are read, not when the file is opened."""
    run = made("--max-steps", 1)
    path = evaluations.examples_path(run, "validation")
    if part == "metadata":
        parquet.write_table(parquet.read_table(path).replace_schema_metadata(None), path)
    else:
        content = bytearray(path.read_bytes())
        content[4:60] = bytes(56)
        path.write_bytes(content)
    with pytest.raises(UserError, match=f"{path} is damaged: remove it"):
        evaluations.read(run, "last")


def test_damaged_sentences_are_named(made):
    run = made("--max-steps", 1)
    path = evaluations.examples_path(run, "validation")
    group = parquet.ParquetFile(path).metadata.row_group(0)
    place = next(group.column(n) for n in range(group.num_columns) if group.column(n).path_in_schema == "text_1")
    content, start = bytearray(path.read_bytes()), place.dictionary_page_offset or place.data_page_offset
    content[start : start + 60] = bytes(60)
    path.write_bytes(content)
    found = evaluations.read(run, "last")
    with pytest.raises(UserError, match=f"{path} is damaged"):
        found.texts_of(numpy.array([0]))


def test_what_is_missing_or_damaged_is_named_and_written_again(go, made):
    run = made("--epochs", 2)
    path = evaluations.answers_path(run, "validation", 16)
    for content, said in ((None, "is missing"), (b"PAR1", "is damaged")):
        kept = path.read_bytes()
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(UserError, match=f"{path} {said}.*results.json.*--resume"):
            evaluations.read(run, "last")
        path.unlink(missing_ok=True)
        results = (run / "results.json").read_bytes()
        (run / "results.json").unlink()
        with pytest.raises(UserError, match="the run has not finished; --resume completes it"):
            evaluations.read(run, "last")
        assert go("--resume", "--run-name", "a") == 0
        assert path.read_bytes() == kept
        assert json.loads(results)["last"] == json.loads((run / "results.json").read_text())["last"]


def test_examples_that_were_removed_are_written_again(go, made):
    run = made("--max-steps", 1)
    path = evaluations.examples_path(run, "validation")
    kept = path.read_bytes()
    path.unlink()
    (run / "results.json").unlink()
    (run / "evaluations" / ".validation-step-00000009.parquet.part").write_bytes(b"of a killed process")
    assert go("--resume", "--run-name", "a") == 0
    assert path.read_bytes() == kept and not list((run / "evaluations").glob(".*"))


def test_a_file_that_does_not_fit_on_the_disk_leaves_nothing(tmp_path):
    """Its part would take the room that the next checkpoint needs."""
    path = tmp_path / "validation.parquet"
    table = pyarrow.table({"text_0": [random.randbytes(1000).hex() for _ in range(100)]})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(OSError, match="too large") as raised:
            evaluations.write(path, iter([table]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert raised.value.filename == str(path) and list(tmp_path.iterdir()) == []


def test_a_full_disk_costs_only_the_answers(made, monkeypatch, capsys):
    write, failed = evaluations.write, []

    def fail_once(path: Path, tables):
        if not failed:
            failed.append(path)
            raise OSError(28, "No space left on device", str(path))
        write(path, tables)

    monkeypatch.setattr(evaluations, "write", fail_once)
    run = made("--epochs", 2)
    assert "saving has failed" in capsys.readouterr().err and failed
    assert evaluations.read(run, "last").step == 16
    with pytest.raises(UserError, match=r"step-00000008.parquet is missing"):
        evaluations.read(run, 8)
