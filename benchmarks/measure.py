"""One process, measured from outside; and what machine it ran on."""

import json
import os
import platform
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


def measure(command: list[str], output: Path, log: Path) -> dict[str, Any]:
    """Run one side; what it wrote to `output`, with its whole time, start-up and its own peak memory."""
    began = time.time()
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
    whole = time.time() - began
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{log.read_text()[-2000:]}")
    measured: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
    if "first_step_ended" in measured:
        measured["start_up"] = measured["first_step_ended"] - began
    return {**measured, "whole": whole, "peak_mib": usage.ru_maxrss / 1024}


def machine() -> dict[str, Any]:
    found: dict[str, Any] = {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }
    for name in ("torch", "transformers", "datasets", "accelerate"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # the jobs for a GPU need no datasets
            found[name] = "none"
    return found
