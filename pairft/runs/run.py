"""A run's folder: found, made whole, and what is written down of how it came about."""

import errno
import itertools
import json
import os
import platform
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pairft import disk
from pairft.checks import run_name_problems
from pairft.config import FIELDS, MAY_CHANGE, Config, flag_of, to_yaml
from pairft.errors import Diverged, UserError
from pairft.output import say


def check_new(config: Config) -> None:
    """Raise UserError where the run's folder can't be made. Done first: nothing should be computed in vain."""
    runs = disk.expanded(config.runs_dir)
    if config.run_name and (runs / config.run_name).exists():
        raise UserError(f"the run {runs / config.run_name} exists: choose another --run-name, or go on with --resume")
    try:
        runs.mkdir(parents=True, exist_ok=True)
        probe = runs / f".probe-{os.getpid()}"
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        raise UserError(f"can't write to --runs-dir {runs}: {error.strerror}; choose another") from None


def create(config: Config, manifest: dict[str, Any], runs: Path) -> Path:
    """Make the run's folder in `runs`, with config.yaml and manifest.json in it, all at once."""
    stem = config.run_name or generated_name(config)
    part = runs / f".{stem}-{os.getpid()}.part"
    with disk.gone_on_error(part):
        part.mkdir()
        (part / "config.yaml").write_text(to_yaml(config), encoding="utf-8")
        (part / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        for number in range(1, 1000):
            folder = runs / (stem if number == 1 else f"{stem}-{number}")
            try:
                os.rename(part, folder)  # fails where a folder that holds something has the name
                return folder
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
                if config.run_name:
                    break
        raise UserError(f"the run {runs / stem} exists: choose another --run-name, or go on with --resume")


def generated_name(config: Config) -> str:
    """The name of a run that was given none: model, task and time. One that --run-name takes."""
    folder = disk.expanded(config.model)
    model = folder.resolve().name if folder.exists() else config.model.rstrip("/").rsplit("/", 1)[-1]
    plain = re.sub(r"[^\w.-]+", "-", model).strip("-.").encode()[:100].decode(errors="ignore") or "model"
    name = f"{plain}-{config.task}-{time.strftime('%Y%m%d-%H%M%S')}"
    assert not run_name_problems(name), name
    return name


def find(runs: Path, name: str | None) -> Path:
    """The folder of the run to go on with: the named one, or the newest without results. Raises UserError."""
    if name is not None:
        for problem in run_name_problems(name):
            raise UserError(problem)
        if not (runs / name / "config.yaml").is_file():
            raise UserError(f"there is no run {runs / name} to resume: leave out --resume to begin it")
        return runs / name
    begun = [path for path in runs.glob("*/config.yaml") if not path.parent.name.startswith(".")]
    unfinished = [path for path in begun if not is_finished(path.parent)]
    if not unfinished:
        raise UserError(f"{runs} holds no unfinished run to resume; name one with --run-name, or leave out --resume")
    return max(unfinished, key=lambda path: path.stat().st_mtime).parent


def divergence(error: Diverged, rows: Sequence[int], checkpoints: Sequence[Path]) -> str:
    """What a person wants to know of a training that diverged."""
    shown = ", ".join(map(str, rows[:32])) + (f" and {len(rows) - 32} more" if len(rows) > 32 else "")
    good = f"the last good checkpoint is {checkpoints[-1]}" if checkpoints else "there was no checkpoint yet"
    return (
        f"error: the training diverged: {error}, which was to learn from the rows {shown} of the training part "
        f"(counted from 0); {good}. Begin anew with a smaller --lr, a longer --warmup-ratio or --precision fp32"
    )


def resume_command(folder: Path) -> str:
    """What resumes the run, to be pasted into a shell in the same working directory."""
    script = sys.argv[0] if Path(sys.argv[0]).name == "train.py" else "train.py"
    given = {"--run-name": folder.name, "--runs-dir": str(folder.parent)}
    if given["--runs-dir"] == "runs":
        del given["--runs-dir"]
    # A value that begins with a dash would be read as a flag.
    words = [[f"{flag}={value}"] if value.startswith("-") else [flag, value] for flag, value in given.items()]
    return shlex.join(["python", script, "--resume", *itertools.chain(*words)])


def is_finished(folder: Path) -> bool:
    """Whether a run, or the runs of several seeds, came to their end."""
    return (folder / "results.json").exists() or (folder / "summary.json").exists()


def check_resumed(recorded: dict[str, Any], given: dict[str, Any], where: Path) -> None:
    """Raise UserError where a setting given with --resume differs from the run's own and may not. The runs of several
    seeds keep their length, too: some of them may be finished."""
    may_change = [n for n in MAY_CHANGE if not (recorded.get("seeds") and n in ("epochs", "max_steps"))]
    for name, value in given.items():
        if FIELDS[name].metadata["kept"] and name not in may_change and value != recorded.get(name, value):
            raise UserError(
                f"{flag_of(name)} is {value!r}, but the run in {where} was begun with {recorded[name]!r}: leave it "
                f"out, or begin a new run; what may change is {', '.join(map(flag_of, may_change))}"
            )


def with_new_length(recorded: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """A run's own settings, for what is given with --resume: --epochs replaces a --max-steps, which would win over it.
    Raises UserError where it can't: the runs of several seeds keep their length."""
    if "epochs" not in given or "max_steps" in given or recorded.get("max_steps") is None:
        return recorded
    if recorded.get("seeds"):
        raise UserError(
            f"--epochs {given['epochs']} has no effect: the runs were started with --max-steps "
            f"{recorded['max_steps']}, which their seeds share; leave it out"
        )
    say(f"note: --epochs {given['epochs']} replaces the run's --max-steps {recorded['max_steps']}")
    return {**recorded, "max_steps": None}


def check_finished(folder: Path, recorded: dict[str, Any], given: dict[str, Any]) -> None:
    """Say that a run is finished, and which of the settings given with --resume have no effect. Raises UserError for
    another length: the learning rate has come to zero, so that training on would equal no run."""
    summary = folder / "summary.json"
    results = read_json(summary if summary.exists() else folder / "results.json")
    try:
        seed, one = next(iter(results["runs"].items())) if "runs" in results else (None, results)
        last, model = one["last"], folder / "last" if seed is None else folder / f"seed-{seed}" / "last"
        lengths = {"max_steps": last["step"], "epochs": last["epoch"]}
    except (KeyError, TypeError, AttributeError, StopIteration):
        raise UserError(f"{folder} has results that aren't what was written: remove them to resume the run") from None
    name = "max_steps" if given.get("max_steps") is not None else "epochs"
    if given.get(name) not in (None, lengths[name]):
        raise UserError(
            f"{flag_of(name)} is {given[name]}, but {folder} is finished after {last['step']} steps "
            f"({last['epoch']:g} epochs), at which its learning rate came to zero: leave it out, or start a new run "
            f"from its weights with --model {shlex.quote(str(model))}"
        )
    say(f"{folder} is finished: nothing to do")
    idle = [n for n in MAY_CHANGE if n not in ("runs_dir", "epochs", "max_steps") and given.get(n) is not None]
    idle = [flag_of(name) for name in idle if given[name] != recorded.get(name)]
    if idle:
        say(f"note: without effect: {', '.join(idle)}")


def check_same(folder: Path, prints: dict[str, str], model_prints: dict[str, str], threads: int) -> str:
    """What has changed since the run was started and may change its last bits, as a line; "" if nothing. Raises
    UserError where the data or the base model has changed. The checkpoint's position means nothing in other data, the
    embedding rows that aren't trained come from the base model, and so do the token ids."""
    begun = read_json(folder / "manifest.json")
    for split, digest in begun["data_fingerprint"].items():
        if prints.get(split) != digest:
            raise UserError(
                f"the {split} split of the data is not the one that {folder} was started with: restore it, name its "
                "new place with --data, or start a new run"
            )
    for what, digest in begun.get("model_fingerprint", {}).items():  # older manifests lack it
        if model_prints[what] != digest:
            raise UserError(
                f"the base model's {what} are not those that {folder} was started with: restore the model, name its "
                "new place with --model, or start a new run"
            )
    now = {**versions(), "threads": threads}
    was = {**begun["versions"], "threads": begun["machine"]["threads"]}
    changed = [f"{name} {was[name]} -> {now[name]}" for name in was if was[name] != now.get(name)]
    return f"careful: not as the run began, so the last bits may differ: {', '.join(changed)}" if changed else ""


def versions() -> dict[str, str]:
    from importlib.metadata import version

    packages = ("torch", "transformers", "datasets", "evaluate", "tokenizers", "numpy")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


def manifest(
    argv: Sequence[str],
    data_fingerprint: dict[str, str],
    model_fingerprint: dict[str, str] | None = None,
    threads: int | None = None,
) -> dict[str, Any]:
    """What is needed to tell later how a run came about."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"],
            cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
        revision = found.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        revision = None
    return {
        "command": [Path(sys.argv[0]).name, *argv],
        "versions": versions(),
        "git_revision": revision,
        "data_fingerprint": data_fingerprint,
        "model_fingerprint": model_fingerprint or {},
        "machine": {
            "system": platform.platform(),
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "threads": threads,
        },
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def read_json(path: Path) -> Any:
    """Raises UserError where the file isn't JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise UserError(f"{path} is not JSON: restore it, or start a new run") from None


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Whole or not at all."""
    disk.write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
