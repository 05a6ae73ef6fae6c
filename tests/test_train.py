"""The real entry point, on a tiny model: what a run leaves behind, and that it learns."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from conftest import ROOT, read_lines, some_pairs, write_rows
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from pairft import flags
from pairft.runs.log import RunLog


def test_a_run_leaves_what_the_readme_promises(go, tmp_path):
    assert go("--epochs", 2, "--log-every", 3, "--run-name", "a") == 0
    run = tmp_path / "runs" / "a"
    training, validation = read_lines(run, "train"), read_lines(run, "validation")
    assert [line["step"] for line in training] == [3, 6, 9, 12, 15, 16]  # 60 pairs are 8 steps an epoch
    assert [(line["step"], line["epoch"]) for line in validation] == [(8, 1.0), (16, 2.0)]
    assert training[0]["epoch"] == 24 / 60
    assert set(training[0]) == {"split", "step", "epoch", "loss", "lr", "grad_norm", "examples_per_second"}
    assert set(validation[0]) == {"split", "step", "epoch", "loss", "accuracy", "f1"}
    results = json.loads((run / "results.json").read_text())
    best = max(validation, key=lambda line: line["f1"])
    assert results["best"]["step"] == best["step"]
    assert results["best"]["validation"] == {key: best[key] for key in ("loss", "accuracy", "f1")}
    assert results["last"]["step"] == results["train"]["steps"] == 16
    assert results["fallback"] is False
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["step-00000008", "step-00000016"]
    assert list(run.glob("events.out.tfevents.*"))
    assert [path.name for path in run.rglob(".*")] == [".lock"]  # nothing half-written
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["versions"]["torch"] == torch.__version__
    assert "--epochs" in manifest["command"]


def test_config_yaml_takes_the_run_again(go, tmp_path):
    assert go("--max-steps", 4, "--lr", "3e-4", "--run-name", "a") == 0
    written = tmp_path / "runs" / "a" / "config.yaml"
    values = yaml.safe_load(written.read_text())
    assert values["lr"] == 3e-4 and values["max_steps"] == 4
    assert not {"run_name", "resume", "config"} & set(values)
    assert go("--config", written, "--run-name", "b") == 0
    losses = [[line["loss"] for line in read_lines(tmp_path / "runs" / name, "train")] for name in "ab"]
    assert losses[0] == losses[1]


def test_the_same_seed_gives_the_same_numbers_and_another_does_not(go, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert go("--max-steps", 5, "--log-every", 1, "--seed", seed, "--run-name", name) == 0
    a, b, c = ([line["loss"] for line in read_lines(tmp_path / "runs" / name, "train")] for name in "abc")
    assert a == b
    assert a[0] != c[0]


def test_it_learns(go, tmp_path):
    """The label is told by the first word: something a tiny model must be able to learn."""
    rows = [
        {**row, "sentence1": ("Paris " if row["label"] else "London ") + row["sentence1"]}
        for row in some_pairs("train", 200)
    ]
    write_rows(tmp_path / "data" / "train.jsonl", rows[:160])
    write_rows(tmp_path / "data" / "validation.jsonl", rows[160:])
    assert go("--data", tmp_path / "data", "--epochs", 12, "--lr", "2e-3", "--run-name", "a") == 0
    results = json.loads((tmp_path / "runs" / "a" / "results.json").read_text())
    assert results["best"]["validation"]["accuracy"] >= 0.95


def test_best_and_last_load_in_transformers_and_agree_with_the_results(go, tmp_path, pairs_folder):
    from transformers import AutoModelForSequenceClassification, pipeline

    assert go("--epochs", 2, "--lr", "1e-3", "--run-name", "a") == 0
    run = tmp_path / "runs" / "a"
    last = AutoModelForSequenceClassification.from_pretrained(run / "last")
    assert last.config.id2label == {0: "not_equivalent", 1: "equivalent"}
    answer = pipeline("text-classification", str(run / "last"))
    rows = [json.loads(line) for line in (pairs_folder / "validation.jsonl").read_text().splitlines()]
    found = [answer({"text": row["sentence1"], "text_pair": row["sentence2"]})["label"] for row in rows]
    right = [last.config.label2id[label] == row["label"] for label, row in zip(found, rows, strict=True)]
    results = json.loads((run / "results.json").read_text())
    assert sum(right) / len(right) == results["last"]["validation"]["accuracy"]
    card = (run / "best" / "README.md").read_text()
    assert f"{results['best']['validation']['f1']:.4f}" in card and "batch_size: 8" in card


def test_intervals_in_steps_and_never(go, tmp_path):
    assert go("--max-steps", 10, "--eval-every", 4, "--save-every", "never", "--run-name", "a") == 0
    run = tmp_path / "runs" / "a"
    assert [line["step"] for line in read_lines(run, "validation")] == [4, 8, 10]
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["step-00000010"]


def test_a_logged_loss_is_the_mean_over_the_examples_since_the_last_line(go, tmp_path):
    for name, every in (("each", 1), ("some", 3)):
        assert go("--epochs", 1, "--lr", "1e-3", "--log-every", every, "--run-name", name) == 0
    each, some = (read_lines(tmp_path / "runs" / name, "train") for name in ("each", "some"))
    sizes = [8] * 7 + [4]  # 60 pairs
    for line, steps in zip(some, (range(3), range(3, 6), range(6, 8)), strict=True):
        total = sum(each[step]["loss"] * sizes[step] for step in steps)
        assert line["loss"] == pytest.approx(total / sum(sizes[step] for step in steps), rel=1e-6)


def test_what_is_not_finite_is_null_and_no_scalar(tmp_path):
    """Standard JSON has no NaN."""
    record = RunLog(tmp_path, 1, 1, "")
    record.write({"split": "train", "step": 1, "loss": 0.5, "grad_norm": float("inf")}, {"a": float("nan"), "b": 0.5})
    record.close()
    assert (tmp_path / "metrics.jsonl").read_text() == '{"split": "train", "step": 1, "loss": 0.5, "grad_norm": null}\n'
    assert EventAccumulator(str(tmp_path)).Reload().Tags()["scalars"] == ["b"]


def test_accumulation_counts_examples_not_micro_batches(go, tmp_path):
    assert go("--epochs", 1, "--batch-size", 8, "--accumulate", 3, "--log-every", 1, "--run-name", "a") == 0
    assert [line["epoch"] for line in read_lines(tmp_path / "runs" / "a", "train")] == [0.4, 0.8, 1.0]  # 24, 24, 12


LEARNING = {  # tag: split and key of the lines of metrics.jsonl
    "learning/loss/train": ("train", "loss"),
    "learning/loss/validation": ("validation", "loss"),
    "learning/metrics/accuracy": ("validation", "accuracy"),
    "learning/metrics/f1": ("validation", "f1"),
    "learning/metrics_best/f1": ("validation", "f1"),  # of one evaluation
    "learning/optimizer/grad_norm": ("train", "grad_norm"),
    "learning/optimizer/lr": ("train", "lr"),
}


@pytest.mark.parametrize("unpad", ["auto", "never"])
def test_tensorboard_holds_the_same_values_with_what_is_learned_first(go, tmp_path, unpad):
    assert go("--epochs", 1, "--log-every", 4, "--run-name", "a", "--unpad", unpad) == 0
    run = tmp_path / "runs" / "a"
    events = EventAccumulator(str(run)).Reload()
    tags = sorted(events.Tags()["scalars"])  # as TensorBoard shows them
    assert tags[:7] == list(LEARNING)
    assert {tag.split("/")[0] for tag in tags[7:]} == {"mistakes", "resources", "throughput", "update_ratio"}
    for tag, (split, key) in [*LEARNING.items(), ("throughput/examples_per_second", ("train", "examples_per_second"))]:
        lines = {line["step"]: line[key] for line in read_lines(run, split)}
        assert {scalar.step: scalar.value for scalar in events.Scalars(tag)} == pytest.approx(lines, rel=1e-6), tag
    padding = "throughput/padding_share"
    assert (padding in tags) == (unpad == "never")
    if padding in tags:
        assert all(0.01 < scalar.value < 0.5 for scalar in events.Scalars(padding))
    assert "config/text_summary" in events.Tags()["tensors"]
    # The page of hyperparameters refers to curves that exist.
    page = HParamsPluginData.FromString(events.SummaryMetadata("_hparams_/experiment").plugin_data.content)
    columns = {info.name.tag for info in page.experiment.metric_infos}
    assert columns == {tag for tag, (split, _) in LEARNING.items() if split == "validation"}


def test_the_preset_changes_hyperparameters_and_a_flag_beats_it(go, tmp_path):
    assert go("--max-steps", 2, "--preset", "trainer", "--weight-decay", "0.5", "--run-name", "a") == 0
    values = flags.read_file(tmp_path / "runs" / "a" / "config.yaml")
    assert (values["warmup_ratio"], values["weight_decay"], values["preset"]) == (0.0, 0.5, "trainer")


def start(tiny_model: Path, pairs_folder: Path, runs: Path, *flags: str) -> subprocess.Popen:
    command = [sys.executable, str(ROOT / "train.py"), "--model", str(tiny_model), "--data", str(pairs_folder),
               "--runs-dir", str(runs), "--device", "cpu", *flags]  # fmt: skip
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=runs.parent, env=os.environ.copy())


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_with_a_checkpoint_and_its_code(number, code, tiny_model, pairs_folder, tmp_path):
    process = start(tiny_model, pairs_folder, tmp_path / "runs", "--run-name", "a", "--max-steps", "1000000")
    while not (tmp_path / "runs" / "a" / "metrics.jsonl").exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    process.send_signal(number)
    message = process.communicate(timeout=60)[1]
    assert process.returncode == code, message
    assert "--resume --run-name a" in message
    saved = list((tmp_path / "runs" / "a" / "checkpoints").iterdir())
    assert saved and all(path.name.startswith("step-") for path in saved)


def test_help_needs_no_torch_and_names_every_flag():
    began = time.perf_counter()
    code = "import sys, train\ntry: train.main(['--help'])\nexcept SystemExit: pass\nprint('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert time.perf_counter() - began < 30
    assert result.stdout.strip().endswith("False")
    for flag, default, _ in flags.flag_rows():
        assert flag in result.stdout
        assert default in result.stdout
