"""manifest.json: command, versions, data and model of a run, and the check that a resume has the same ones."""

import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pairft.errors import UserError
from pairft.runs.directory import read_json

PACKAGES = ("torch", "transformers", "datasets", "evaluate", "tokenizers", "numpy")


def versions() -> dict[str, str]:
    """The versions of Python and of PACKAGES."""
    from importlib.metadata import version

    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


def torchrun_id() -> str | None:
    """What names the torchrun job that has started this process, so that a restart finds its run; None without one.

    It is torchrun's --rdzv-id. Without one torchrun makes it up for each call or, with several machines, calls every
    job "none": then only a restart by the same torchrun process is the same job.
    """
    name = os.environ.get("TORCHELASTIC_RUN_ID")
    return f"{socket.gethostname()}-{os.getppid()}-{os.environ.get('MASTER_PORT')}" if name == "none" else name


def command(argv: Sequence[str]) -> list[str]:
    """The command that started this process. `argv`: its flags."""
    return [Path(sys.argv[0]).name, *argv]


def manifest(
    argv: Sequence[str],
    data_fingerprint: dict[str, str],
    model_fingerprint: dict[str, str] | None = None,
    threads: int | None = None,
) -> dict[str, Any]:
    """The content of manifest.json. `data_fingerprint`: the sha256 of each split. `model_fingerprint`: the sha256 of
    the base model's weights and of the token ids. `threads`: the number that torch uses."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40"],
            cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
        revision = described.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        revision = None
    return {
        "command": command(argv),
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
        "torchrun": torchrun_id(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def check_same(run_dir: Path, data_fingerprint: dict[str, str], model_fingerprint: dict[str, str], threads: int) -> str:
    """A warning if versions or the number of threads have changed since the run was started, which may change the last
    bits; else "".

    Raises UserError if the data or the base model has changed: the checkpoint's position means nothing in other data,
    and the embedding rows that aren't trained come from the base model, as do the token ids. What `model_fingerprint`
    lacks is not compared.
    """
    manifest = read_json(run_dir / "manifest.json")
    for split in data_fingerprint:
        if split not in manifest["data_fingerprint"]:
            raise UserError(
                f"the data has a {split} split, but {run_dir} was started without one: remove it, or start a new run"
            )
    for split, digest in manifest["data_fingerprint"].items():
        if data_fingerprint.get(split) != digest:
            raise UserError(
                f"the {split} split of the data is not the one that {run_dir} was started with: restore it, name "
                "its new path with --data, or start a new run"
            )
    for what, digest in manifest.get("model_fingerprint", {}).items():  # older manifests lack it
        if model_fingerprint.get(what, digest) != digest:
            raise UserError(
                f"the base model's {what} are not those that {run_dir} was started with: restore the model, name its "
                "new path with --model, or start a new run"
            )
    now = {**versions(), "threads": threads}
    before = {**manifest["versions"], "threads": manifest["machine"]["threads"]}
    changed = [f"{name} {before[name]} -> {now[name]}" for name in before if before[name] != now.get(name)]
    listed = ", ".join(changed)
    return f"warning: changed since the run was started, so that the last bits may differ: {listed}" if changed else ""
