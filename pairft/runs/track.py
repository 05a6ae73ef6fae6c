"""--track: the settings and the curves of a run go to Weights & Biases, MLflow or trackio, too.

Each tracker is one function below, which starts or resumes a run there. tracking.json in the run directory holds the
run's id there, and the latest point that was sent: a resumed run computes points again, which are not sent twice.
"""

import contextlib
import json
import os
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pairft import disk
from pairft.errors import UserError
from pairft.output import say
from pairft.runs.directory import read_json
from pairft.runs.random_states import random_states, restore_random_states

PROJECT = "pairft"
FILE = "tracking.json"


@dataclass(frozen=True)
class Session:
    """A run of a tracker, in this process."""

    run_id: str
    log: Callable[[Mapping[str, float], int], None]  # scalars by name, at a step
    end: Callable[[bool], None]  # whether the run has finished


def wandb(name: str, run_id: str | None, settings: Mapping[str, Any], folder: Path) -> Session:
    """Weights & Biases; its files go to `folder`. WANDB_PROJECT, WANDB_MODE and its other variables hold."""
    import wandb as client

    run = client.init(
        project=os.environ.get("WANDB_PROJECT", PROJECT),
        name=name,
        id=run_id or uuid.uuid4().hex[:12],
        resume="allow",
        config=dict(settings),
        allow_val_change=True,  # a resume may change settings
        dir=folder,
        settings=client.Settings(console="off", silent=True),
    )
    return Session(
        run.id, lambda scalars, step: run.log(dict(scalars), step=step), lambda done: run.finish(0 if done else 1)
    )


def mlflow(name: str, run_id: str | None, settings: Mapping[str, Any], folder: Path) -> Session:
    """MLflow, at MLFLOW_TRACKING_URI or, as its default, in the file mlflow.db of the working directory. `folder` is
    not used."""
    # By default, a server that doesn't answer would be asked for minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

    client = MlflowClient()
    if run_id is None:
        project = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        found = client.get_experiment_by_name(project)
        experiment = client.create_experiment(project) if found is None else found.experiment_id
        run_id = client.create_run(experiment, run_name=name).info.run_id
        client.log_batch(run_id, params=[Param(key, str(value)) for key, value in settings.items()])
    else:
        client.update_run(run_id, status="RUNNING")

    def log(scalars: Mapping[str, float], step: int) -> None:
        now = int(time.time() * 1000)
        client.log_batch(run_id, metrics=[Metric(key, value, now, step) for key, value in scalars.items()])

    return Session(run_id, log, lambda done: client.set_terminated(run_id, "FINISHED" if done else "KILLED"))


def trackio(name: str, run_id: str | None, settings: Mapping[str, Any], folder: Path) -> Session:
    """trackio, in its local database (TRACKIO_DIR), unless TRACKIO_SPACE_ID or TRACKIO_SERVER_URL name another place.
    It knows runs by name, so the name is made unique. `folder` is not used."""
    import trackio as client

    run_id = run_id or f"{name}-{uuid.uuid4().hex[:6]}"
    project = os.environ.get("TRACKIO_PROJECT", PROJECT)
    quiet = {"embed": False, "auto_log_gpu": False, "auto_log_cpu": False}
    run = client.init(project, name=run_id, resume="allow", config=dict(settings), **quiet)
    return Session(run_id, lambda scalars, step: run.log(dict(scalars), step=step), lambda _: client.finish())


TRACKERS = {"wandb": wandb, "mlflow": mlflow, "trackio": trackio}


@dataclass
class Tracker:
    """A session, and the latest point that it was sent. If it fails later, training continues without it."""

    kind: str
    file: Path
    session: Session
    sent: tuple[int, str]  # step and split; "train" comes before "validation", in sorting as in time
    failed: bool = False  # or ended: nothing more is sent

    def send(self, scalars: Mapping[str, float], step: int, split: str) -> None:
        """Send the points of a line of metrics.jsonl, unless that was done before the run was resumed."""
        if self.failed or (step, split) <= self.sent:
            return
        with self.attempt():
            self.session.log(scalars, step)
            self.sent = (step, split)
            write(self.file, self.kind, self.session.run_id, self.sent)

    def end(self, finished: bool) -> None:
        """Close the session. Does nothing if it is closed already, or if the tracker has failed."""
        if not self.failed:
            with self.attempt():
                self.session.end(finished)
        self.failed = True

    @contextlib.contextmanager
    def attempt(self) -> Iterator[None]:
        """Within the context, an error ends tracking, with a warning, and nothing else."""
        try:
            with contextlib.redirect_stdout(sys.stderr):
                yield
        except Exception as error:
            self.failed = True
            say(f"warning: --track {self.kind} has failed ({reason_of(error)}); training continues without it")


def start(kind: str, run_dir: Path, settings: Mapping[str, Any], in_group: bool, resumed: bool) -> Tracker:
    """Start to track a run, or resume that. Raises UserError if the tracker refuses; then the directory of a new run is
    removed. `in_group`: the run belongs to --seeds or --folds. `resumed`: it was started before."""
    file = run_dir / FILE
    known = read_json(file) if file.exists() else {}
    if known.get("tracker") != kind:
        known = {"id": None, "step": -1, "split": ""}
    before = random_states()  # trackers may draw random names
    kinds = (bool, int, float, str)
    plain = {key: value if isinstance(value, kinds) else str(value) for key, value in settings.items()}
    try:
        with contextlib.redirect_stdout(sys.stderr):
            name = f"{run_dir.parent.name}-{run_dir.name}" if in_group else run_dir.name
            session = TRACKERS[kind](name, known["id"], plain, run_dir)
    except Exception as error:
        if not resumed:
            disk.remove(run_dir)
        raise UserError(f"--track {kind} can't start: {reason_of(error)}; fix that, or leave out --track") from error
    finally:
        restore_random_states(before)
    tracker = Tracker(kind, file, session, (known["step"], known["split"]))
    write(file, kind, session.run_id, tracker.sent)
    return tracker


def write(file: Path, kind: str, run_id: str, sent: tuple[int, str]) -> None:
    content = {"tracker": kind, "id": run_id, "step": sent[0], "split": sent[1]}
    disk.write_text(file, json.dumps(content) + "\n")


def reason_of(error: Exception) -> str:
    """The first line of an error's text, with its type."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].rstrip('.')}" if lines else type(error).__name__
