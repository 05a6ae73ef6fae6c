"""Start train.py with torchrun, on a tiny model without dropout, so that any number of processes computes the same."""

import contextlib
import io
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conftest import ROOT, wait_for

import train

sys.path.insert(0, str(ROOT / "benchmarks"))
from kill_workers import workers  # noqa: F401

# A step has 16 examples: (processes, micro-batches in each). An epoch of 49 ends with a step of a single example.
SPLITS = [(1, 4), (2, 2), (4, 1)]
SETTINGS = ("--batch-size", 4, "--limit", 49, "--epochs", 2, "--lr", "1e-3", "--log-every", 1)


@dataclass(frozen=True)
class Torchrun:
    """Starts train.py in several processes, in `folder`, with runs in `folder`/runs."""

    folder: Path
    model: Path
    data: Path
    settings: tuple[Any, ...] = SETTINGS

    def start(
        self, processes: int, *flags: Any, torchrun: tuple[Any, ...] = (), script: Path = ROOT / "train.py"
    ) -> subprocess.Popen[str]:
        """`torchrun`: flags of torchrun."""
        command = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--nproc-per-node",
            str(processes),
            *map(str, torchrun),
        ]
        command += [script, *self.flags(flags)]
        environment, pipe = {**os.environ, "ROOT": str(ROOT)}, subprocess.PIPE
        return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=self.folder, env=environment)

    def flags(self, flags: tuple[Any, ...]) -> list[str]:
        places = ["--model", self.model, "--data", self.data, "--runs-dir", self.folder / "runs"]
        return [str(word) for word in (*places, "--device", "cpu", "--no-report", *self.settings, *flags)]

    def run(self, processes: int, *flags: Any, **named: Any) -> tuple[int, str]:
        """Train to the end; one process is this one. Returns the exit code (torchrun's, if there are several), and what
        was printed on standard error."""
        if processes == 1:
            errors = io.StringIO()
            with contextlib.redirect_stderr(errors):
                return train.main(self.flags(flags)), errors.getvalue()
        process = self.start(processes, *flags, **named)
        _, errors = process.communicate(timeout=120)
        return process.returncode, errors


def after_step(process: subprocess.Popen[str], run: Path, step: int) -> None:
    """Wait until the run has logged a step."""
    wait_for(
        lambda: (run / "metrics.jsonl").exists() and f'"step": {step},' in (run / "metrics.jsonl").read_text(), process
    )
