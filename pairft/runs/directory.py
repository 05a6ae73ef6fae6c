"""Check, create and find run directories."""

import contextlib
import errno
import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pairft import disk
from pairft.checks import run_name_problems
from pairft.config import Config, to_yaml
from pairft.errors import UserError


def check_new(config: Config) -> None:
    """Raise UserError if the run directory can't be created. Called before anything is computed."""
    runs = disk.expanded(config.runs_dir)
    if config.run_name and (runs / config.run_name).exists():
        raise exists(runs / config.run_name)
    try:
        runs.mkdir(parents=True, exist_ok=True)
        probe = runs / f".probe-{os.getpid()}"
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        raise UserError(f"can't write to --runs-dir {runs}: {error.strerror}; choose another") from None


def create(config: Config, manifest: dict[str, Any], runs: Path) -> Path:
    """Create a run directory in `runs`, with config.yaml and manifest.json, atomically."""
    stem = config.run_name or generated_name(config)
    part = runs / f".{stem}-{os.getpid()}.part"
    with disk.removed_on_error(part):
        part.mkdir()
        (part / "config.yaml").write_text(to_yaml(config), encoding="utf-8")
        (part / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        for number in range(1, 1000):
            run_dir = runs / (stem if number == 1 else f"{stem}-{number}")
            try:
                os.rename(part, run_dir)  # fails if a folder of that name exists and isn't empty
                return run_dir
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
                if config.run_name:
                    break
        raise exists(runs / stem)


def exists(run_dir: Path) -> UserError:
    """The error for a new run whose directory exists."""
    return UserError(f"the run {run_dir} exists: choose another --run-name, or add --resume to resume it")


def generated_name(config: Config) -> str:
    """The name of a run without --run-name: model, task and time. It is a valid --run-name."""
    folder = disk.expanded(config.model)
    model = folder.resolve().name if folder.exists() else config.model.rstrip("/").rsplit("/", 1)[-1]
    plain = re.sub(r"[^\w.-]+", "-", model).strip("-.").encode()[:100].decode(errors="ignore") or "model"
    name = f"{plain}-{config.task}-{time.strftime('%Y%m%d-%H%M%S')}"
    assert not run_name_problems(name), name
    return name


def find(runs: Path, name: str | None) -> Path:
    """The directory of the run to resume: the named one, or the newest unfinished one. Raises UserError if there is
    none."""
    if name is not None:
        for problem in run_name_problems(name):
            raise UserError(problem)
        if not (runs / name / "config.yaml").is_file():
            raise UserError(f"there is no run {runs / name} to resume: leave out --resume to start it")
        return runs / name
    configs = [path for path in runs.glob("*/config.yaml") if not path.parent.name.startswith(".")]
    unfinished = [path for path in configs if not is_finished(path.parent)]
    if not unfinished:
        raise UserError(f"{runs} holds no unfinished run to resume; name one with --run-name, or leave out --resume")
    return max(unfinished, key=lambda path: path.stat().st_mtime).parent


def is_finished(run_dir: Path) -> bool:
    """Whether a run, or a group of runs, one per seed or fold, has finished."""
    return (run_dir / "results.json").exists() or (run_dir / "summary.json").exists()


@contextlib.contextmanager
def locked(run_dir: Path | None) -> Iterator[None]:
    """Within the context, hold the lock of the run to resume. Does nothing for None: a new run has no directory yet.

    Raises UserError if another process holds the lock, or has finished the run since it was looked up.
    """
    if run_dir is None:
        yield
        return
    lock = disk.lock(run_dir)
    try:
        if is_finished(run_dir):
            raise UserError(f"{run_dir} was finished by another process just now: nothing to do")
        yield
    finally:
        lock.release()


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises UserError if it isn't JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise UserError(f"{path} is not JSON: restore it, or start a new run") from None


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file, completely or not at all."""
    disk.write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
