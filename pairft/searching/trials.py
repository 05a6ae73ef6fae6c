"""The trials of a search: each is an ordinary run, which Optuna's median pruner may end after an evaluation."""

import functools
import gc
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairft import checks
from pairft.config import Config
from pairft.errors import EXIT_DIVERGED, EXIT_SIGNAL, DiskError, UserError
from pairft.output import say
from pairft.runs import directory
from pairft.runs.seeds import Group
from pairft.runs.signals import StopRequest
from pairft.searching import study
from pairft.searching.records import name_of
from pairft.searching.space import Values, as_flags, settings_of, shown

if TYPE_CHECKING:
    from optuna import Study, Trial


@dataclass(frozen=True)
class Search:
    """What the trials of a search share."""

    directory: Path
    space: Mapping[str, Values]
    base: Mapping[str, Any]  # the fixed settings
    config: Config  # of the baseline: the fixed settings, and the defaults
    train: Callable[..., int]  # of train.py
    study: "Study"

    def place(self, number: int) -> Path:
        return self.directory / name_of(number)


def run_trials(search: Search, number: int, hours: float | None, stop: StopRequest, ended: Callable[[], None]) -> int:
    """Run trials until the search has `number` of them, or no further one after `hours`. An unfinished one of a killed
    search is resumed first. `ended`: called after each trial. Returns 0, or the exit code for a signal."""
    from optuna import Trial
    from optuna.trial import TrialState

    began = time.monotonic()
    unfinished = [one for one in search.study.trials if one.state == TrialState.RUNNING]
    while True:
        if stop.signal is not None:
            return EXIT_SIGNAL + stop.signal
        if unfinished:
            trial = Trial(search.study, unfinished.pop(0)._trial_id)
        elif len(search.study.trials) >= number:
            return 0
        elif hours is not None and time.monotonic() - began >= hours * 3600:
            say(f"no further trial after --hours {hours:g}: {len(search.study.trials)} of {number} have run")
            return 0
        else:
            trial = search.study.ask()
        parameters = study.draw(trial, search.space, search.config.seed)
        drawn = "  ".join(f"{name} {shown(value)}" for name, value in parameters.items())
        say(f"{name_of(trial.number)} of {number} trials: {drawn}")
        code = run_trial(search, trial, parameters, stop)
        gc.unfreeze()  # modules that torch imports late keep the first run's frame, and so its model, in a cycle
        gc.collect()
        if code:
            return code
        ended()


def run_trial(search: Search, trial: "Trial", parameters: Mapping[str, Any], stop: StopRequest) -> int:
    """Train the run of a trial, or go on with it, and tell Optuna how it ended: finished, pruned, diverged or failed.
    Returns 0, or the exit code of a signal, after which the trial is unfinished."""
    place, code = search.place(first_with(parameters, trial)), 0
    settings = {**settings_of(search.base, parameters), "run_name": place.name}
    judge = functools.partial(study.judged, trial, place)
    try:
        config = checks.resolve(settings)
        if not directory.is_finished(place):
            group = Group(search.directory, None, 1, stop, judge)
            run_dir = place if place.exists() else None
            with directory.locked(run_dir):
                code = search.train(config, run_dir, as_flags(settings), group)
    except DiskError:
        raise
    except UserError as error:
        check_base(search)
        say(f"error in {place.name}: {error}")
        return study.told_failure(trial, "failed", str(error))
    if code == EXIT_DIVERGED:
        return study.told_failure(trial, "diverged", "the loss or the gradient was not finite")
    if code:
        return code
    check_data(search, place)
    shutil.rmtree(place / "checkpoints", ignore_errors=True)  # of a finished run, which nothing resumes
    return study.told(trial, place)


def first_with(parameters: Mapping[str, Any], trial: "Trial") -> int:
    """The number of the first trial with these parameters whose run has finished, or of this one. The same recipe would
    give the same scores again."""
    from optuna.trial import TrialState

    ended = (TrialState.COMPLETE, TrialState.PRUNED)
    same = (one for one in trial.study.trials if one.params == parameters)
    return next(one.number for one in same if one.state in ended or one.number == trial.number)


def check_base(search: Search) -> None:
    """Raise UserError if not even the fixed settings alone can be trained: then a trial doesn't fail because of what
    was drawn for it."""
    from pairft.data.pairs import load_pairs
    from pairft.model.classifier import load_tokenizer

    load_pairs(search.config)
    load_tokenizer(search.config.model)


def check_data(search: Search, place: Path) -> None:
    """Raise UserError if a run was trained on other data than the first one: their scores can't be compared."""
    first = min(search.directory.glob("trial-????/manifest.json"))
    one, other = (directory.read_json(path)["data_fingerprint"] for path in (first, place / "manifest.json"))
    if one != other:
        raise UserError(
            f"the data has changed since {first.parent} was trained: restore it, remove {place} and add --resume, or "
            "start a new search"
        )
