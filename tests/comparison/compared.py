"""What the tests of comparisons share: runs whose answers are as a test wants them."""

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy
import pyarrow
import pytest
from scipy.special import log_softmax

import train
from pairft import compare
from pairft.runs import evaluations


def train_runs(folder: Path, model: Path, pairs: Path, **runs: Sequence[Any]) -> Path:
    """Train runs with these flags on a tiny model. Returns the folder of the runs."""
    common = ["--model", model, "--data", pairs, "--runs-dir", folder / "runs", "--device", "cpu"]
    common += ["--batch-size", 30, "--epochs", 1, "--lr", "1e-3"]
    for name, flags in runs.items():
        assert train.main([str(flag) for flag in [*common, *flags, "--run-name", name]]) == 0
    return folder / "runs"


def copy_run(
    source: Path, place: Path, wrong: Sequence[int] | None = None, logits: Any = None, **settings: Any
) -> Path:
    """Copy a run, with answers of which those `wrong` are wrong, with these logits, or with its own ones. `settings`
    change its config.yaml."""
    shutil.copytree(source, place)
    if wrong is not None or logits is not None:
        rewrite(place, wrong or (), logits)
    config = place / "config.yaml"
    for key, value in settings.items():
        text = config.read_text(encoding="utf-8")
        config.write_text(re.sub(rf"^{key}: .*$", f"{key}: {value}", text, flags=re.MULTILINE), encoding="utf-8")
    return place


def rewrite(run: Path, wrong: Sequence[int], logits: Any = None) -> None:
    """Replace the answers of a run's only evaluation."""
    found = evaluations.read(run, "best")
    labels = found.output.labels
    if logits is None:
        answers = labels.copy()
        answers[list(wrong)] = 1 - answers[list(wrong)]
        sure = 1 + numpy.arange(len(labels)) / 100  # the later, the surer
        logits = numpy.stack([(answers == 0) * sure, (answers == 1) * sure], axis=1)
    logits = numpy.asarray(logits, numpy.float32)
    losses = numpy.zeros(len(labels))
    if logits.shape[1] == 2 and labels.ndim == 1:
        losses = -log_softmax(logits, axis=1)[range(len(labels)), labels]
    columns = {"logits": evaluations.as_column(logits), "loss": pyarrow.array(losses.astype(numpy.float32))}
    path = evaluations.answers_path(run, "validation", found.step)
    evaluations.write(path, iter([pyarrow.table(columns)]))


def result(*flags: Any) -> dict[str, Any]:
    """What --format json writes."""
    output = Path(str(flags[0])).parent / "compared.json"
    assert compare.main([*map(str, flags), "--output", str(output)]) == 0
    found: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
    return found


def refused(capsys: pytest.CaptureFixture[str], *flags: Any) -> str:
    """The one message of a command that ends with exit code 2."""
    capsys.readouterr()
    assert compare.main(list(map(str, flags))) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("error: ") and captured.err.count("\n") == 1
    return captured.err
