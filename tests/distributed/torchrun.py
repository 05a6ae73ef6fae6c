"""Start train.py with torchrun, on a tiny model without dropout, so that any number of processes computes the same."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conftest import ROOT, wait_for

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
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", processes, *torchrun]
        command = command if processes > 1 or torchrun else [sys.executable]
        command += [script, "--model", self.model, "--data", self.data, "--device", "cpu"]
        command += ["--runs-dir", self.folder / "runs", *self.settings, *flags]
        environment = {**os.environ, "ROOT": str(ROOT)}
        pipe, words = subprocess.PIPE, [str(word) for word in command]
        return subprocess.Popen(words, stdout=pipe, stderr=pipe, text=True, cwd=self.folder, env=environment)

    def run(self, *arguments: Any, **named: Any) -> tuple[int, str]:
        """Train to the end. Returns the exit code (torchrun's, if there are several processes), and what was printed on
        standard error."""
        process = self.start(*arguments, **named)
        _, errors = process.communicate(timeout=120)
        return process.returncode, errors


def after_step(process: subprocess.Popen[str], run: Path, step: int) -> None:
    """Wait until the run has logged a step."""
    wait_for(
        lambda: (run / "metrics.jsonl").exists() and f'"step": {step},' in (run / "metrics.jsonl").read_text(), process
    )
