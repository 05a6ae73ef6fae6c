"""A run's folder: found, made whole, and what is written down of how it came about."""

import errno
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pairft import folders
from pairft.config import FIELDS, MAY_CHANGE, Config, flag_of, run_name_problems, to_yaml
from pairft.errors import Diverged, UserError


def check_new(config: Config) -> None:
    """Raise UserError where the run's folder can't be made. Done first: nothing should be computed in vain."""
    runs = Path(config.runs_dir).expanduser()
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
    model = config.model.rstrip("/").rsplit("/", 1)[-1]
    stem = config.run_name or f"{model}-{config.task}-{time.strftime('%Y%m%d-%H%M%S')}"
    part = runs / f".{stem}-{os.getpid()}.part"
    with folders.gone_on_error(part):
        part.mkdir()
        (part / "config.yaml").write_text(to_yaml(config), encoding="utf-8")
        (part / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        for number in range(1, 1000):
            folder = runs / (stem if number == 1 else f"{stem}-{number}")
            if config.run_name and folder.exists():
                break
            try:
                os.rename(part, folder)  # fails where a folder that holds something has the name
                return folder
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
                if config.run_name:
                    break
        raise UserError(f"the run {runs / stem} exists: choose another --run-name, or go on with --resume")


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


def say(text: str) -> None:
    """A line for the person, where there is no bar to write it above."""
    sys.stderr.write(text + "\n")


def divergence(error: Diverged, rows: Sequence[int], checkpoints: Sequence[Path]) -> str:
    """What a person wants to know of a training that diverged."""
    shown = ", ".join(map(str, rows[:32])) + (f" and {len(rows) - 32} more" if len(rows) > 32 else "")
    good = f"the last good checkpoint is {checkpoints[-1]}" if checkpoints else "there was no checkpoint yet"
    return (
        f"error: the training diverged: {error}, which was to learn from the rows {shown} of the training part "
        f"(counted from 0); {good}. Begin anew with a smaller --lr, a longer --warmup-ratio or --precision fp32"
    )


def resume_command(folder: Path) -> str:
    place = f" --runs-dir {folder.parent}" if str(folder.parent) != "runs" else ""
    return f"python train.py --resume --run-name {folder.name}{place}"


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


def check_same(folder: Path, prints: dict[str, str], threads: int) -> str:
    """What has changed since the run was begun and may change its last bits, as a line; "" if nothing. Raises UserError
    where the data has changed: the checkpoint's position means nothing in it."""
    begun = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    for part, digest in begun["data_fingerprint"].items():
        if prints.get(part) != digest:
            raise UserError(
                f"the {part} part of the data has changed since {folder} was begun: restore it, or begin anew"
            )
    now = {**versions(), "threads": threads}
    was = {**begun["versions"], "threads": begun["machine"]["threads"]}
    changed = [f"{name} {was[name]} -> {now[name]}" for name in was if was[name] != now.get(name)]
    return f"careful: not as the run began, so the last bits may differ: {', '.join(changed)}" if changed else ""


def versions() -> dict[str, str]:
    from importlib.metadata import version

    packages = ("torch", "transformers", "datasets", "evaluate", "tokenizers", "numpy")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}


def manifest(argv: Sequence[str], data_fingerprint: dict[str, str], threads: int | None = None) -> dict[str, Any]:
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
        "machine": {
            "system": platform.platform(),
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            "threads": threads,
        },
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Whole or not at all."""
    folders.write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
