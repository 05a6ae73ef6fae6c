"""The defaults on a Hub: the stand-in of ../shared, where that is, which the real client libraries load from."""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT, environment, lines_with, recorded, run_train

from pairft.data.builtin import PACKAGE

SHARED = Path(ROOT).parent / "shared"
MODEL, DATA = "google-bert/bert-base-uncased", "nyu-mll/glue"
SHORT = ("--max-length", "16", "--batch-size", "2", "--device", "cpu")  # what the defaults train on, only less of it

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec(PACKAGE) is None, reason=f"{PACKAGE} is not installed"),
    pytest.mark.skipif(not (SHARED / "tools").is_dir(), reason=f"there is no stand-in Hub in {SHARED}"),
]


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory) -> Iterator[tuple[subprocess.CompletedProcess, Path]]:
    """What the defaults do with a Hub: the finished program, and its folder with runs/a, its cache hf and root."""
    folder = tmp_path_factory.mktemp("hub")
    tools = SHARED / "tools"
    subprocess.run([sys.executable, str(tools / "hub_root.py"), str(folder / "root")], check=True, capture_output=True)
    flags = ("--run-name", "a", "--max-steps", "4", *SHORT)
    yield run_train(folder, dict(os.environ), *flags, before=serving(folder, "requests")), folder
    shutil.rmtree(folder)


def serving(folder: Path, log: str, **more: object) -> tuple[str, ...]:
    """The words before a command that give it the stand-in as its Hub, and folder/hf as its cache, or another."""
    options = {"--root": folder / "root", "--hf-home": folder / "hf", "--log": folder / log}
    options |= {f"--{name.replace('_', '-')}": value for name, value in more.items()}
    words = [str(word) for pair in options.items() for word in pair]
    return (sys.executable, str(SHARED / "tools" / "local_hub.py"), *words, "--")


def test_the_defaults_train_from_the_hub(stand_in):
    result, folder = stand_in
    assert result.returncode == 0, result.stderr
    assert recorded(folder / "runs" / "a") == [(MODEL, DATA, False)] * 2
    assert "3668 pairs, 4 steps" in result.stderr and not lines_with("builtin", result)
    requests = (folder / "requests").read_text()
    assert f"/{MODEL}/" in requests and f"/datasets/{DATA}/" in requests


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "seed"), [(0.1, 1), (0.3, 1), pytest.param(0.3, 2, marks=pytest.mark.slow)])
def test_a_hub_that_fails_at_random(rate, seed, stand_in, tmp_path):
    """A tenth or three tenths of its answers are errors or break off: training on all of it, or exit 2 and one line."""
    folder = stand_in[1]
    before = serving(folder, "failing", hf_home=tmp_path / "hf", fail_rate=rate, fail_seed=seed)
    run = folder / "runs" / f"failing-{rate}-{seed}"
    result = run_train(folder, dict(os.environ), "--run-name", run.name, "--max-steps", "1", *SHORT, before=before)
    assert not lines_with("traceback", result), result.stderr
    if result.returncode:
        assert result.returncode == 2 and len(lines_with("error:", result)) == 1, result.stderr
        assert not run.exists()
    else:
        assert recorded(run) == [(MODEL, DATA, False)] * 2
        assert "3668 pairs" in result.stderr


@pytest.mark.slow
def test_without_the_hub_the_cache_serves_and_nothing_is_retried(stand_in, closed):
    folder = stand_in[1]
    result = run_train(folder, environment(folder / "hf", closed), "--run-name", "b", "--max-steps", "2", *SHORT)
    assert result.returncode == 0, result.stderr
    assert recorded(folder / "runs" / "b") == [(MODEL, DATA, False)] * 2
    assert not lines_with("builtin", result) and not lines_with("retry", result), result.stderr


@pytest.mark.slow
def test_glue_for_short_is_the_same_data_in_the_cache(stand_in, closed, tiny_model):
    folder = stand_in[1]
    flags = ("--data", "glue", "--model", str(tiny_model), "--run-name", "c", "--max-steps", "1", *SHORT)
    result = run_train(folder, environment(folder / "hf", closed), *flags)
    assert result.returncode == 0, result.stderr
    assert recorded(folder / "runs" / "c") == [(str(tiny_model), "glue", False)] * 2
    assert "3668 pairs" in result.stderr and not lines_with("builtin", result) and not lines_with("retry", result)


def test_a_model_that_the_hub_does_not_have(stand_in):
    folder = stand_in[1]
    flags = ("--model", "nobody/no-such-model", "--run-name", "none")
    result = run_train(folder, dict(os.environ), *flags, before=serving(folder, "more-requests"))
    assert result.returncode == 2, result.stderr
    assert not lines_with("retrying", result)  # it isn't asked again and again
    [message] = lines_with("error", result)
    assert "--model nobody/no-such-model" in message and not lines_with("traceback", result)
    assert "huggingface.co" not in message  # it was another Hub that was asked
    assert not (folder / "runs" / "none").exists()
