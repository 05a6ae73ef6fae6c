"""Train one run per seed, and summarise their results."""

import contextlib
import gc
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pairft import disk
from pairft.config import Config, to_yaml
from pairft.errors import EXIT_DIVERGED, EXIT_SIGNAL, UserError
from pairft.model.card_text import with_spread
from pairft.output import say
from pairft.runs import directory
from pairft.runs.manifest import manifest
from pairft.runs.resume import resume_command
from pairft.runs.signals import StopRequest
from pairft.tasks import f1_of, scored_splits

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Group:
    """What a run knows about the group it belongs to: the runs of several seeds."""

    directory: Path
    earlier: Path | None  # an earlier run of the group, which has the same data and base model
    left: int  # runs still to train, including this one
    stop: StopRequest


def train_all(config: Config, run_dir: Path | None, argv: Sequence[str], train: Callable[..., int]) -> int:
    """Train one run per seed with `train` (train.py), one after the other, and write summary.json. In an existing
    `run_dir`, runs that have finished are not repeated. Returns the exit code."""
    assert config.seeds is not None
    resumed = run_dir is not None
    diverged = []
    with contextlib.ExitStack() as stack:
        if run_dir is None:
            run_dir = directory.create(config, manifest(argv, {}), disk.expanded(config.runs_dir))
            stack.callback(disk.lock(run_dir).release)
        places = {seed: run_dir / f"seed-{seed}" for seed in config.seeds}
        left = [seed for seed in config.seeds if not directory.is_finished(places[seed])]
        stop = stack.enter_context(StopRequest())  # one for all runs: a signal may arrive between two
        for number, seed in enumerate(left):
            earlier = next(iter(sorted(run_dir.glob("seed-*"))), None)
            group = Group(run_dir, earlier, len(left) - number, stop)
            place = places[seed] if places[seed].exists() else None
            try:
                with directory.locked(place):
                    asked = stop.signal
                    code = EXIT_SIGNAL + asked if asked else train(one_seed(config, seed), place, argv, group)
            except (UserError, OSError):
                if not resumed and not any(run_dir.glob("seed-*")):  # nothing has been trained yet
                    shutil.rmtree(run_dir)
                raise
            if number == 0:  # modules that torch imports late keep the first run's frame, and so its model, in a cycle
                gc.unfreeze()
                gc.collect()
            # Now the data and the model have been checked to be the same. Their paths may have changed.
            disk.write_text(run_dir / "config.yaml", to_yaml(config))
            if code == EXIT_DIVERGED:
                diverged.append(seed)
            elif code:
                say(f"resume all seeds with: {resume_command(run_dir)}")
                return code
        finished = [seed for seed in config.seeds if seed not in diverged]
        if finished:
            summary = summarise(run_dir, finished, diverged)
            complete_cards(run_dir, summary)
            directory.write_json(run_dir / "summary.json", summary)
            print(table(summary))
    return EXIT_DIVERGED if diverged else 0


def one_seed(config: Config, seed: int) -> Config:
    """The config of one run of the group. A separate run with it gives the same numbers."""
    return replace(config, seed=seed, seeds=None, run_name=f"seed-{seed}")


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean, sample standard deviation, minimum, maximum and the 95 % confidence interval of the mean (Student's t). The
    standard deviation and the interval are None for a single value."""
    import numpy
    from scipy.stats import t

    found: dict[str, Any] = {"mean": float(numpy.mean(values)), "sd": None, "min": min(values), "max": max(values)}
    found["interval"] = None
    if len(values) > 1:
        found["sd"] = float(numpy.std(values, ddof=1))
        half = float(t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * found["sd"] / len(values) ** 0.5
        found["interval"] = [found["mean"] - half, found["mean"] + half]
    return found


def summarise(group: Path, seeds: Sequence[int], diverged: Sequence[int] = ()) -> dict[str, Any]:
    """The content of summary.json, from the results.json of each run: the spread of each metric of `all_scores` for the
    last and the best models, and the seeds whose last model predicts one class for every example. `diverged`: the seeds
    whose training diverged and left no results."""
    runs = {seed: json.loads((group / f"seed-{seed}" / "results.json").read_text(encoding="utf-8")) for seed in seeds}
    scores = {which: [all_scores(run[which]) for run in runs.values()] for which in ("last", "best")}
    return {
        "seeds": list(seeds),
        **{
            which: {name: spread([found[name] for found in each]) for name in each[0]} for which, each in scores.items()
        },
        "positive_class": runs[seeds[0]].get("positive_class"),
        "collapsed": [seed for seed, run in runs.items() if run["last"]["collapsed"]],
        "diverged": list(diverged),
        "runs": {str(seed): {which: run[which] for which in ("last", "best")} for seed, run in runs.items()},
    }


def complete_cards(group: Path, summary: Mapping[str, Any]) -> None:
    """Add the scores of all seeds to the model card of each, unless it has been removed."""
    for seed in summary["seeds"]:
        for which in ("best", "last"):
            card = group / f"seed-{seed}" / which / "README.md"
            if card.is_file():
                disk.write_text(card, with_spread(card.read_text(encoding="utf-8"), which, summary))


def all_scores(evaluation: Mapping[str, Any]) -> dict[str, float]:
    """The scores of an evaluation of results.json: those on the validation split by their own names, those on a further
    one such as validation_mismatched as accuracy_mismatched."""
    splits = scored_splits(name for name, found in evaluation.items() if isinstance(found, dict))
    return {
        name + split.removeprefix("validation"): value for split in splits for name, value in evaluation[split].items()
    }


def table(summary: Mapping[str, Any]) -> str:
    """The summary as a table for the terminal: a line for each metric of the last and the best models."""
    width = max(10, *map(len, summary["last"]))
    lines = [
        f"{'model':<6} {'metric':<{width}} {'mean':>8} {'sd':>8} {'min':>8} {'max':>8}   95 % interval of the mean"
    ]
    for which in ("last", "best"):
        for name, found in summary[which].items():
            sd, interval = ("-", "-")
            if found["sd"] is not None:
                sd, interval = f"{found['sd']:.4f}", "{:.4f} to {:.4f}".format(*found["interval"])
            low, high = found["min"], found["max"]
            lines.append(f"{which:<6} {name:<{width}} {found['mean']:8.4f} {sd:>8} {low:8.4f} {high:8.4f}   {interval}")
    if "f1" in summary["last"]:
        lines.append(f1_of(summary["positive_class"]))
    seeds = ", ".join(map(str, summary["seeds"]))
    lines.append(f"seeds: {seeds}; their last model predicts one class: {summary['collapsed'] or 'none'}")
    if summary["diverged"]:
        lines.append(f"diverged, and not counted: {', '.join(map(str, summary['diverged']))}")
    return "\n".join(lines)
