"""--seeds: each run equals the one that --seed alone makes, and the summary says what they say together."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import weakref
from dataclasses import replace
from pathlib import Path

import numpy
import pytest
import torch
from conftest import ROOT
from safetensors.torch import load_file

import train
from pairft import disk, predict
from pairft.model import classifier as model
from pairft.runs import directory, seeds
from pairft.training import evaluation

FLAGS = ("--max-steps", 12, "--lr", "1e-3", "--eval-every", 6)


def test_the_spread_of_some_values():
    found = seeds.spread([0.8, 0.9, 0.85, 0.95])
    assert found["mean"] == pytest.approx(0.875)
    assert found["sd"] == pytest.approx((((0.075**2) * 2 + (0.025**2) * 2) / 3) ** 0.5)
    assert (found["min"], found["max"]) == (0.8, 0.95)
    # The 0.975 quantile of Student's t with 3 degrees of freedom, from the printed tables: 3.182.
    half = 3.182 * found["sd"] / 2
    assert found["interval"] == pytest.approx([0.875 - half, 0.875 + half], rel=1e-4)
    assert seeds.spread([0.5]) == {"mean": 0.5, "sd": None, "min": 0.5, "max": 0.5, "interval": None}
    assert seeds.spread([0.5, 0.5])["interval"] == [0.5, 0.5]


@pytest.mark.parametrize("number", [2, 3, 5])
def test_the_interval_holds_the_mean_in_95_of_100_cases(number):
    draws = numpy.random.default_rng(number).normal(0.87, 0.01, (4000, number))
    intervals = [seeds.spread(values)["interval"] for values in draws.tolist()]
    assert 0.93 <= sum(low <= 0.87 <= high for low, high in intervals) / len(intervals) <= 0.97


def test_runs_of_seeds_equal_runs_of_one_seed(go, tmp_path, capsys):
    runs = tmp_path / "runs"
    assert go(*FLAGS, "--seeds", "3,11", "--run-name", "several") == 0
    printed = capsys.readouterr().out
    summary = json.loads((runs / "several" / "summary.json").read_text())
    for seed in (3, 11):
        assert go(*FLAGS, "--seed", seed, "--run-name", f"alone-{seed}") == 0
        alone, one = runs / f"alone-{seed}", runs / "several" / f"seed-{seed}"
        weights, again = (load_file(run / "last" / "model.safetensors") for run in (alone, one))
        assert all(torch.equal(weights[name], again[name]) for name in weights)
        results = json.loads((alone / "results.json").read_text())
        assert summary["runs"][str(seed)] == {key: results[key] for key in ("last", "best", "stopped_early")}
        assert results["seed"] == seed
    f1 = [summary["runs"][seed]["last"]["validation"]["f1"] for seed in ("3", "11")]
    assert summary["last"]["f1"]["mean"] == pytest.approx(sum(f1) / 2)
    assert (summary["last"]["f1"]["min"], summary["last"]["f1"]["max"]) == (min(f1), max(f1))
    assert f"{summary['last']['f1']['mean']:.4f}" in printed
    assert summary["positive_class"] == "equivalent" and "\nf1 of 'equivalent'\nseeds: 3, 11" in printed
    assert go("--resume", "--run-name", "several") == 0
    assert "is finished" in capsys.readouterr().err


def test_a_collapsed_run_is_named(go, tmp_path, capsys, tiny_model, pairs_folder):
    assert go("--seeds", "1,2,3", "--max-steps", 1, "--lr", "1e-9", "--run-name", "a") == 0
    shown, group = capsys.readouterr(), tmp_path / "runs" / "a"
    one_class = []
    for seed in (1, 2, 3):
        output = tmp_path / f"{seed}.jsonl"
        data = pairs_folder / "validation.jsonl"
        last = group / f"seed-{seed}" / "last"
        assert predict.main(["--model", str(last), "--data", str(data), "--output", str(output)]) == 0
        if len({json.loads(line)["label"] for line in output.read_text().splitlines()}) == 1:
            one_class.append(seed)
    assert one_class  # an untrained head says the same to all, for one of these seeds at least
    assert json.loads((group / "summary.json").read_text())["collapsed"] == one_class
    assert f"one class: {one_class}" in shown.out
    assert shown.err.count("predicts the same for every example") == len(one_class)


def test_one_row_says_nothing_of_a_collapse(go, tmp_path, capsys, pairs_folder):
    shutil.copytree(pairs_folder, tmp_path / "pairs")
    file = tmp_path / "pairs" / "validation.jsonl"
    file.write_text(file.read_text().splitlines(keepends=True)[0])
    assert go("--data", tmp_path / "pairs", "--max-steps", 1, "--run-name", "a") == 0
    assert "predicts the same" not in capsys.readouterr().err
    assert json.loads((tmp_path / "runs" / "a" / "results.json").read_text())["last"]["collapsed"] is False


@pytest.mark.slow
def test_stopped_seeds_go_on(go, tmp_path, tiny_model, pairs_folder, capsys):
    runs = tmp_path / "runs"
    flags = ["--max-steps", "300", "--lr", "1e-3", "--eval-every", "never"]
    command = [sys.executable, str(ROOT / "train.py"), "--model", str(tiny_model), "--data", str(pairs_folder)]
    command += ["--runs-dir", str(runs), "--device", "cpu", "--batch-size", "8", *flags]
    command += ["--seeds", "5,6", "--run-name", "killed"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not (runs / "killed" / "seed-6" / "metrics.jsonl").exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    message = process.communicate(timeout=60)[1]
    assert process.returncode == 143, message
    assert f"--resume --run-name killed --runs-dir {runs}" in message
    assert not (runs / "killed" / "summary.json").exists()
    first = (runs / "killed" / "seed-5" / "results.json").stat().st_mtime_ns
    assert go("--resume", "--run-name", "killed", "--epochs", 9) == 2  # the first is finished as it is
    assert "--epochs" in capsys.readouterr().err
    assert go("--resume", "--run-name", "killed") == 0
    assert (runs / "killed" / "seed-5" / "results.json").stat().st_mtime_ns == first
    assert go(*flags, "--seeds", "5,6", "--run-name", "whole") == 0
    whole, killed = (json.loads((runs / name / "summary.json").read_text()) for name in ("whole", "killed"))
    assert whole == killed


def test_a_stop_at_the_very_end_of_a_seed_ends_them_all(go, tmp_path, capsys, monkeypatch):
    scored = []

    def stopped_while_scoring(*arguments):
        scored.append(os.kill(os.getpid(), signal.SIGTERM))
        return score(*arguments)

    score = evaluation.compute_metrics
    monkeypatch.setattr(evaluation, "compute_metrics", stopped_while_scoring)
    assert go("--seeds", "1,2", "--max-steps", 2, "--run-name", "a") == 143
    assert "resume all seeds with: python train.py --resume --run-name a" in capsys.readouterr().err
    group = tmp_path / "runs" / "a"
    assert (group / "seed-1" / "results.json").exists() and not (group / "seed-2").exists()
    assert len(scored) == 1
    monkeypatch.undo()
    assert go("--resume", "--run-name", "a") == 0
    assert json.loads((group / "summary.json").read_text())["seeds"] == [1, 2]


def test_a_stop_while_a_later_seed_loads_says_how_to_go_on(go, tmp_path, capsys, monkeypatch):
    load = model.load_model

    def stopped_while_loading(*arguments):
        if (tmp_path / "runs" / "a" / "seed-1").exists():
            os.kill(os.getpid(), signal.SIGINT)
        return load(*arguments)

    monkeypatch.setattr(model, "load_model", stopped_while_loading)
    assert go("--seeds", "1,2", "--max-steps", 3, "--run-name", "a") == 130
    assert "resume all seeds with: python train.py --resume --run-name a" in capsys.readouterr().err
    monkeypatch.undo()
    assert go("--resume", "--run-name", "a") == 0
    assert go("--seeds", "1,2", "--max-steps", 3, "--run-name", "whole") == 0
    whole, stopped = (json.loads((tmp_path / "runs" / name / "summary.json").read_text()) for name in ("whole", "a"))
    assert whole == stopped


def test_a_run_of_the_same_numbers_from_the_config_of_a_seed(go, tmp_path):
    runs = tmp_path / "runs"
    assert go("--seeds", "4,5", "--max-steps", 3, "--run-name", "group") == 0
    config = runs / "group" / "seed-5" / "config.yaml"
    assert train.main(["--config", str(config), "--run-name", "again"]) == 0
    group, again = ((runs / name / "results.json") for name in ("group/seed-5", "again"))
    assert json.loads(group.read_text())["last"] == json.loads(again.read_text())["last"]
    assert (runs / "again" / "config.yaml").read_text() == config.read_text()


def test_a_disk_that_fails_before_the_first_run_leaves_nothing_behind(go, tmp_path, capsys, monkeypatch):
    create = directory.create

    def fail(config, manifest, runs):
        if config.seeds is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(runs))
        return create(config, manifest, runs)

    monkeypatch.setattr(directory, "create", fail)
    assert go("--seeds", "1,2", "--max-steps", 1, "--run-name", "a") == 2
    assert "No space left" in capsys.readouterr().err
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_seed_that_diverges_does_not_end_the_others(go, tmp_path, capsys, monkeypatch):
    plain = seeds.one_seed
    steep = lambda config, seed: replace(plain(config, seed), lr=1e30 if seed == 1 else 1e-3)  # noqa: E731
    monkeypatch.setattr(seeds, "one_seed", steep)
    assert go("--seeds", "1,2", "--max-steps", 4, "--run-name", "a") == 3
    shown, group = capsys.readouterr(), tmp_path / "runs" / "a"
    summary = json.loads((group / "summary.json").read_text())
    assert (summary["seeds"], summary["diverged"]) == ([2], [1])
    assert "the training diverged" in shown.err and "resume all seeds" not in shown.err
    assert "diverged, and not counted: 1" in shown.out
    assert go("--seeds", "1", "--max-steps", 4, "--run-name", "b") == 3
    assert not (tmp_path / "runs" / "b" / "summary.json").exists()


def test_all_seeds_have_the_same_data(go, tmp_path, capsys, pairs_folder):
    shutil.copytree(pairs_folder, tmp_path / "pairs")
    assert go("--data", tmp_path / "pairs", "--seeds", "1,2", "--max-steps", 2, "--run-name", "a") == 0
    (tmp_path / "runs" / "a" / "summary.json").unlink()
    shutil.rmtree(tmp_path / "runs" / "a" / "seed-2")
    file = tmp_path / "pairs" / "train.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:40]))
    assert go("--data", tmp_path / "pairs", "--resume", "--run-name", "a") == 2
    assert "the train split of the data is not the one" in capsys.readouterr().err
    assert not (tmp_path / "runs" / "a" / "seed-2").exists()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("1,1", "each seed once"),
        ("1,x", "comma-separated"),
        ("", "comma-separated"),
        ("1,-2", "from 0"),
        ("1.5", "1,2,3"),
    ],
)
def test_seeds_that_make_no_sense(go, tmp_path, capsys, value, said):
    assert go(f"--seeds={value}") == 2
    message = capsys.readouterr().err
    assert "--seeds" in message and said in message
    assert not (tmp_path / "runs").exists()


def test_a_mistake_in_the_data_leaves_nothing_behind(go, tmp_path, capsys, pairs_folder):
    shutil.copytree(pairs_folder, tmp_path / "pairs")
    (tmp_path / "pairs" / "validation.jsonl").write_text("")
    assert go("--data", tmp_path / "pairs", "--seeds", "1,2", "--run-name", "a") == 2
    assert "validation.jsonl" in capsys.readouterr().err
    assert list(Path(tmp_path / "runs").iterdir()) == []


def test_no_model_outlives_its_seed_and_no_lock_its_run(go, tmp_path, monkeypatch):
    load_model, models = model.load_model, []

    def load(*arguments):
        assert not any(earlier() for earlier in models)
        loaded = load_model(*arguments)
        models.append(weakref.ref(loaded[0]))
        return loaded

    monkeypatch.setattr(model, "load_model", load)
    assert go("--seeds", "1,2,3", "--max-steps", 1, "--run-name", "a") == 0
    assert len(models) == 3
    for run_dir in (tmp_path / "runs" / "a", tmp_path / "runs" / "a" / "seed-3"):
        disk.lock(run_dir).release()  # raises where it is held
