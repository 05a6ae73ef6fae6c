"""Train one run per seed, or one per fold of a cross-validation, and summarise their results."""

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
from pairft.runs.early_stopping import Judge
from pairft.runs.manifest import manifest
from pairft.runs.resume import resume_command
from pairft.runs.signals import StopRequest
from pairft.tasks import f1_of, scored_splits

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Group:
    """What a run knows about the group it belongs to: one run per seed, one per fold, or those of a search."""

    directory: Path
    earlier: Path | None  # an earlier run of the group, which has the same source and base model
    left: int  # runs still to train, including this one
    stop: StopRequest
    judge: Judge | None = None  # of a search over settings: may end the run after an evaluation


def train_all(
    config: Config,
    run_dir: Path | None,
    argv: Sequence[str],
    train: Callable[..., int],
    report: Callable[[int, Config, Path], int],
) -> int:
    """Train the runs of a group with `train` (train.py), one after the other, and write summary.json, then the group's
    report with `report`. In an existing `run_dir`, runs that have finished are not repeated. Returns the exit code."""
    resumed, runs = run_dir is not None, runs_of(config)
    diverged = []
    with contextlib.ExitStack() as stack:
        if run_dir is None:
            run_dir = directory.create(config, manifest(argv, {}), disk.expanded(config.runs_dir))
            stack.callback(disk.lock(run_dir).release)
        places = {number: run_dir / str(run.run_name) for number, run in runs.items()}
        left = [number for number in runs if not directory.is_finished(places[number])]
        stop = stack.enter_context(StopRequest())  # one for all runs: a signal may arrive between two
        for count, number in enumerate(left):
            earlier = next((place for place in places.values() if place.exists()), None)
            group = Group(run_dir, earlier, len(left) - count, stop)
            place = places[number] if places[number].exists() else None
            try:
                with directory.locked(place):
                    asked = stop.signal
                    code = EXIT_SIGNAL + asked if asked else train(runs[number], place, argv, group)
            except (UserError, OSError):
                if not resumed and not any(place.exists() for place in places.values()):  # nothing has been trained yet
                    shutil.rmtree(run_dir)
                raise
            if count == 0:  # modules that torch imports late keep the first run's frame, and so its model, in a cycle
                gc.unfreeze()
                gc.collect()
            # Now the data and the model have been checked to be the same. Their paths may have changed.
            disk.write_text(run_dir / "config.yaml", to_yaml(config))
            if code == EXIT_DIVERGED:
                diverged.append(number)
            elif code:
                say(f"resume all {kind_of(config)}s with: {resume_command(run_dir)}")
                return code
        finished = [number for number in runs if number not in diverged]
        if finished:
            summary = summarise(run_dir, finished, diverged, kind_of(config))
            if config.folds is not None:
                summary |= with_predictions(run_dir, config, finished)
            complete_cards([places[number] for number in finished], summary)
            directory.write_json(run_dir / "summary.json", summary)
            print(table(summary))
            report(0, config, run_dir)
    return EXIT_DIVERGED if diverged else 0


def kind_of(config: Config) -> str:
    """What tells the runs of a group apart."""
    return "seed" if config.seeds is not None else "fold"


def runs_of(config: Config) -> dict[int, Config]:
    """The config of each run of the group, by its seed or its fold."""
    if config.seeds is not None:
        return {seed: one_seed(config, seed) for seed in config.seeds}
    assert config.folds is not None
    return {fold: one_fold(config, fold) for fold in range(1, config.folds + 1)}


def one_seed(config: Config, seed: int) -> Config:
    """The config of one run of the group. A separate run with it gives the same numbers."""
    return replace(config, seed=seed, seeds=None, run_name=f"seed-{seed}")


def one_fold(config: Config, fold: int) -> Config:
    """The config of one run of a cross-validation. A separate run with it gives the same numbers."""
    return replace(config, fold=fold, run_name=f"fold-{fold}")


def spread(values: Sequence[float], independent: bool = True) -> dict[str, Any]:
    """Mean, sample standard deviation, minimum, maximum and the 95 % confidence interval of the mean (Student's t). The
    standard deviation and the interval are None for a single value. So is the interval of values that are not
    independent, as the scores of folds, whose training splits share rows: it would be too narrow by an unknown factor.
    """
    import numpy
    from scipy.stats import t

    found: dict[str, Any] = {"mean": float(numpy.mean(values)), "sd": None, "min": min(values), "max": max(values)}
    found["interval"] = None
    if len(values) > 1:
        found["sd"] = float(numpy.std(values, ddof=1))
    if len(values) > 1 and independent:
        half = float(t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * found["sd"] / len(values) ** 0.5
        found["interval"] = [found["mean"] - half, found["mean"] + half]
    return found


def summarise(group: Path, finished: Sequence[int], diverged: Sequence[int] = (), kind: str = "seed") -> dict[str, Any]:
    """The content of summary.json, from the results.json of each run: the spread of each metric of `all_scores` for the
    last and the best models, and the runs whose last model predicts one class for every example. `finished`: the seeds,
    or the folds, of these runs. `diverged`: of those whose training diverged and left no results."""
    runs = {
        number: json.loads((group / f"{kind}-{number}" / "results.json").read_text(encoding="utf-8"))
        for number in finished
    }
    scores = {which: [all_scores(run[which]) for run in runs.values()] for which in ("last", "best")}
    return {
        f"{kind}s": list(finished),
        **{
            which: {name: spread([found[name] for found in each], kind == "seed") for name in each[0]}
            for which, each in scores.items()
        },
        "positive_class": runs[finished[0]].get("positive_class"),
        "collapsed": [number for number, run in runs.items() if run["last"]["collapsed"]],
        "diverged": list(diverged),
        "runs": {
            str(number): {key: run.get(key) for key in ("last", "best", "stopped_early")}
            for number, run in runs.items()
        },
    }


def with_predictions(group: Path, config: Config, folds: Sequence[int]) -> dict[str, Any]:
    """Write out_of_fold.csv and label_errors.csv. Returns what summary.json says of them."""
    from pairft.runs import label_errors, out_of_fold

    found = out_of_fold.read(group, folds)
    out_of_fold.write(group / "out_of_fold.csv", found)
    number = label_errors.write(group / "label_errors.csv", found)
    scores = out_of_fold.pooled_scores(found, config)
    return {"out_of_fold": {"rows": len(found.rows), **scores}, "label_errors": number}


def complete_cards(runs: Sequence[Path], summary: Mapping[str, Any]) -> None:
    """Add the scores of all runs of the group to the model card of each, unless it has been removed or is no text."""
    for run in runs:
        for which in ("best", "last"):
            card = run / which / "README.md"
            with contextlib.suppress(FileNotFoundError, UnicodeDecodeError):  # someone has edited it
                disk.write_text(card, with_spread(card.read_text(encoding="utf-8"), which, summary))


def all_scores(evaluation: Mapping[str, Any]) -> dict[str, float]:
    """The scores of an evaluation of results.json: those on the validation split by their own names, those on a further
    one such as validation_mismatched as accuracy_mismatched."""
    splits = scored_splits(name for name in evaluation if name.startswith("validation"))
    return {
        name + split.removeprefix("validation"): value for split in splits for name, value in evaluation[split].items()
    }


def table(summary: Mapping[str, Any]) -> str:
    """The summary as a table for the terminal: a line for each metric of the last and the best models."""
    kind = "folds" if "folds" in summary else "seeds"
    width = max(10, *map(len, summary["last"]))
    head = f"{'model':<6} {'metric':<{width}} {'mean':>8} {'sd':>8} {'min':>8} {'max':>8}"
    lines = [head + "   95 % interval of the mean" * (kind == "seeds")]
    for which in ("last", "best"):
        for name, found in summary[which].items():
            sd, interval = ("-", "-" * (kind == "seeds"))
            if found["sd"] is not None:
                sd = f"{found['sd']:.4f}"
            if found["interval"] is not None:
                interval = "{:.4f} to {:.4f}".format(*found["interval"])
            low, high = found["min"], found["max"]
            line = f"{which:<6} {name:<{width}} {found['mean']:8.4f} {sd:>8} {low:8.4f} {high:8.4f}   {interval}"
            lines.append(line.rstrip())
    if "f1" in summary["last"]:
        lines.append(f1_of(summary["positive_class"]))
    numbers = ", ".join(map(str, summary[kind]))
    lines.append(f"{kind}: {numbers}; their last model predicts one class: {summary['collapsed'] or 'none'}")
    if summary["diverged"]:
        lines.append(f"diverged, and not counted: {', '.join(map(str, summary['diverged']))}")
    return "\n".join([*lines, *(about_folds(summary) if kind == "folds" else [])])


def about_folds(summary: Mapping[str, Any]) -> list[str]:
    """The lines of the table that only a cross-validation has."""
    pooled = dict(summary["out_of_fold"])
    number = pooled.pop("rows")
    return [
        "no interval of the mean: folds share training rows, so their scores are not independent; best was chosen on "
        "the rows that it is scored on",
        f"out_of_fold.csv: {number} rows, together "
        + "  ".join(f"{name} {value:.4f}" for name, value in pooled.items()),
        f"label_errors.csv: {summary['label_errors']} rows whose label the folds contradict",
    ]
