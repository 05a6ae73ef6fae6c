"""Optuna's part of a search: it stores the trials in a SQLite file, draws their settings, and prunes."""

import contextlib
import functools
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairft.errors import DiskError
from pairft.runs import directory
from pairft.searching.space import Range, Values
from pairft.tasks import TASKS, metrics_of

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.samplers import TPESampler

# Trials that have to finish before the first one is pruned. Optuna's default, 5, leaves a short search unpruned.
UNPRUNED = 3
FILE = "optuna.db"
PRUNED = "pruned"  # how a pruned run's reason for its early end begins


def open_study(folder: Path) -> "Study":
    """The study of a search in its folder: a new one, or that of the search to resume."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    connect = functools.partial(sqlite3.connect, folder / FILE, check_same_thread=False)
    return optuna.create_study(
        # Not by its address, in which ?, % or { of a folder's name would have a meaning.
        storage=optuna.storages.RDBStorage("sqlite:///optuna.db", {"creator": connect}),
        study_name="sweep",
        direction="maximize",  # as every main metric
        pruner=optuna.pruners.MedianPruner(n_startup_trials=UNPRUNED),
        load_if_exists=True,
    )


@contextlib.contextmanager
def storage_errors(folder: Path) -> Iterator[None]:
    """Within the context, DiskError is raised where the study's file can't be read or written."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (StorageInternalError, SQLAlchemyError, sqlite3.Error) as error:
        reason = getattr(error.__cause__ or error, "orig", None) or error.__cause__ or error
        raise DiskError(f"{folder / FILE}: {reason}; make room or restore the file, then add --resume") from error


def draw(trial: "Trial", space: Mapping[str, Values], seed: int) -> dict[str, Any]:
    """The parameters of a trial, by Optuna's TPE sampler: the first ten trials are random. Every trial, and each
    parameter of a random one, has a random generator of its own, so that a resumed search draws what one that never
    stopped would have drawn. Parameters that the storage has already are not drawn again."""
    trial.study.sampler = sampler(seed, trial.number)
    together = trial.relative_params  # {} in a random trial
    parameters: dict[str, Any] = {}
    for position, (name, values) in enumerate(space.items()):
        if name not in together:
            trial.study.sampler = sampler(seed, position, trial.number)
        if not isinstance(values, Range):
            parameters[name] = trial.suggest_categorical(name, values)
        elif values.whole:
            parameters[name] = trial.suggest_int(name, int(values.low), int(values.high), log=values.log)
        else:
            parameters[name] = trial.suggest_float(name, values.low, values.high, log=values.log)
    return parameters


def sampler(*numbers: int) -> "TPESampler":
    """Optuna's default sampler, seeded with some numbers."""
    import numpy
    from optuna.samplers import TPESampler

    return TPESampler(seed=int(numpy.random.SeedSequence(numbers).generate_state(1)[0]))


def judged(trial: "Trial", place: Path, step: int, score: float) -> str | None:
    """Why the median pruner ends a run after an evaluation, or None. Evaluations are compared by their number, since
    the batch size changes that of the steps. (pairft.runs.early_stopping.Judge)"""
    number = sum(line["step"] <= step for line in evaluations(place))
    known = trial.study.trials[trial.number].intermediate_values
    if any(later > number for later in known):  # before it was killed, the run went on after this evaluation
        return None
    if number not in known:
        trial.report(score, number)
    if not trial.should_prune():
        return None
    best = max([score, *known.values()])
    return f"{PRUNED}: its best score so far, {best:.4f}, is below the median of the trials at evaluation {number}"


def told(trial: "Trial", place: Path) -> int:
    """Tell Optuna the scores of a finished run. Its score is that of its best model."""
    from optuna.trial import TrialState

    results = directory.read_json(place / "results.json")
    metric = main_metric(place, results["task"])
    known = trial.study.trials[trial.number].intermediate_values
    for number, line in enumerate(evaluations(place), start=1):
        if number not in known:  # the last one, or those of a run that train.py has resumed
            trial.report(line[metric], number)
    early = (results.get("stopped_early") or {}).get("reason", "")
    if early:
        trial.set_user_attr("reason", early)
    trial.set_user_attr("run", place.name)
    trial.set_user_attr("metric", metric)
    trial.set_user_attr("seconds", results["train"]["seconds"])
    if early.startswith(PRUNED):
        trial.study.tell(trial, state=TrialState.PRUNED)
    else:
        trial.study.tell(trial, results["best"]["validation"][metric])
    return 0


def told_failure(trial: "Trial", how: str, reason: str) -> int:
    from optuna.trial import TrialState

    trial.set_user_attr("how", how)
    trial.set_user_attr("reason", reason)
    trial.study.tell(trial, state=TrialState.FAIL)
    return 0


def evaluations(place: Path) -> list[dict[str, Any]]:
    """The evaluations on the validation split that a run has logged."""
    from pairft.runs.log import parsed

    lines = map(parsed, (place / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line.get("split") == "validation"]


def main_metric(place: Path, task: str) -> str:
    """The name of the metric that picks the best model of a finished run."""
    about = directory.read_json(place / "last" / "pairft.json")
    return metrics_of(TASKS[task], about["problem_type"])[1]
