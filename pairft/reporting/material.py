"""What a report is made of: the files of a run directory, as far as they are there."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy

from pairft.config import Config
from pairft.data.audit import from_json
from pairft.errors import UserError
from pairft.flags import read_file
from pairft.model.card import SIDECAR
from pairft.runs import evaluations
from pairft.runs.evaluations import Evaluated
from pairft.runs.log import parsed
from pairft.tasks import TASKS, metrics_of

DAMAGED = (OSError, ValueError, KeyError, TypeError, AttributeError)  # what reading a damaged file raises


@dataclass
class Material:
    """The content of a run directory. What is missing or damaged is empty, and `left_out` says what that costs."""

    run_dir: Path
    config: Config
    manifest: dict[str, Any] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    training: list[dict[str, Any]] = field(default_factory=list)  # the training lines of metrics.jsonl
    evaluations: list[dict[str, Any]] = field(default_factory=list)  # its validation lines
    audit: dict[str, Any] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)  # pairft.json of best/
    calibration: dict[str, Any] = field(default_factory=dict)
    found: Evaluated | None = None  # the best model's answers
    left_out: list[str] = field(default_factory=list)

    @property
    def problem_type(self) -> str:
        return str(self.about["problem_type"])

    @property
    def text_columns(self) -> Sequence[str]:
        return [str(name) for name in self.about["text_columns"]]

    @property
    def metrics(self) -> tuple[Sequence[str], str]:
        """The names of the metrics, and of the main one."""
        return metrics_of(TASKS[self.config.task], self.problem_type)

    @property
    def best(self) -> dict[str, Any]:
        """The best evaluation: {"step", "epoch", "validation": {…}, "calibration", "collapsed"}."""
        return dict(self.results["best"])

    @property
    def positive(self) -> str | None:
        """The name of the positive class of F1."""
        name = self.about.get("positive_class")
        return None if name is None else str(name)

    def answers(self, split: str) -> Evaluated | None:
        """The best model's answers to a split, if they are there."""
        if split == "validation" or self.found is None:
            return self.found
        try:
            return evaluations.read(self.run_dir, "best", split)
        except UserError as error:
            self.left_out.append(f"intervals of {split}: {error}")
        return None


def read(run_dir: Path) -> Material:
    """Read a run directory. Raises UserError if it isn't one, if its training hasn't finished, or if what every report
    needs is damaged."""
    if not (run_dir / "config.yaml").is_file():
        raise UserError(f"{run_dir} is no run directory: it has no config.yaml")
    if not (run_dir / "results.json").is_file():
        raise UserError(f"{run_dir} has no results.json: its training has not finished; --resume completes it")
    left_out: list[str] = []

    def part(name: str, what: str, read_it: Callable[[Path], Any], otherwise: Any) -> Any:
        try:
            return read_it(run_dir / name)
        except FileNotFoundError:
            left_out.append(f"{what}: {name} is missing")
        except UserError as error:  # a ValueError, too
            left_out.append(f"{what}: {error}")
        except DAMAGED:
            left_out.append(f"{what}: {name} is damaged")
        return otherwise

    material = Material(run_dir, Config(**read_file(run_dir / "config.yaml")), left_out=left_out)
    material.results = needed(run_dir / "results.json", ("best", "train"))
    material.about = needed(run_dir / "best" / SIDECAR, ("problem_type", "text_columns"))
    material.manifest = part("manifest.json", "versions and machine", json_of, {})
    lines = part("metrics.jsonl", "curves", lines_of, [])
    material.training = [line for line in lines if line.get("split") == "train"]
    material.evaluations = [line for line in lines if line.get("split") == "validation"]
    if not material.config.streaming:  # which has no audit
        material.audit = part("audit.json", "what is wrong with the data", audit_of, {})
    material.found = part(".", "intervals, mistakes, confusions and calibration", best_answers, None)
    material.calibration = material.best.get("calibration") or {}
    return material


def json_of(path: Path) -> dict[str, Any]:
    """The content of a JSON file that holds an object. Raises ValueError if it doesn't."""
    return dict(json.loads(path.read_text(encoding="utf-8")))


def needed(path: Path, names: Sequence[str]) -> dict[str, Any]:
    """The content of a JSON file that no report can do without. Raises UserError if it lacks one of the names."""
    try:
        content = json_of(path)
        if all(content[name] for name in names):
            return content
    except (*DAMAGED, FileNotFoundError):
        pass
    raise UserError(f"{path} is missing or damaged: a report needs it")


def audit_of(path: Path) -> dict[str, Any]:
    """The content of audit.json, with its findings as Finding."""
    content = json_of(path)
    return {**content, "findings": [from_json(one) for one in content["findings"]]}


def lines_of(path: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl that have a step; damaged ones are left out. Raises ValueError if all are."""
    texts = path.read_text(encoding="utf-8", errors="replace").splitlines()
    lines = [line for line in map(parsed, texts) if isinstance(line.get("step"), int)]
    if texts and not lines:
        raise ValueError(path)
    return lines


def best_answers(run_dir: Path) -> Evaluated:
    """The best model's answers to the validation split. Raises UserError if a file of them is missing or damaged."""
    found = evaluations.read(run_dir, "best")
    found.texts_of(numpy.zeros(0, numpy.int64))  # reads past all sentences, whose pages may be damaged
    return found
