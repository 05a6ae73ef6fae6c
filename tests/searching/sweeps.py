"""What the tests of sweeps share: pairs that the tiny model learns in a few steps, and a sweep over them."""

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

from conftest import ROOT, write_rows

from pairft import sweep

SPACE = "lr: {low: 1e-5, high: 1e-2, log: true}\nbatch_size: [4, 8, 16]\nwarmup_ratio: {low: 0, high: 0.5}\n"
STEPS = ("--max-steps", 12, "--eval-every", 4, "--save-every", 4)


def write_letters(folder: Path) -> Path:
    """Pairs whose score is told by a letter."""
    draw = random.Random(0)
    for split, number in (("train", 64), ("validation", 40)):
        rows = [
            {
                "sentence1": " ".join("abcd"[k % 4] * 3) + " " + draw.choice("wxyz"),
                "sentence2": draw.choice("lmno"),
                "label": k % 4 + draw.choice([0, 0.25, 0.5]),
            }
            for k in range(number)
        ]
        write_rows(folder / f"{split}.jsonl", rows)
    return folder


class Sweeps:
    """Sweeps of a model over the same pairs. Their folders lie in `runs`."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder, self.runs = folder, folder / "runs"
        self.fixed = ["--model", model, "--data", write_letters(folder / "letters"), "--task", "sts"]
        self.fixed += [
            "--text-columns",
            "sentence1,sentence2",
            "--runs-dir",
            self.runs,
            "--device",
            "cpu",
            "--no-report",
        ]

    def flags(self, name: str, *more: Any, space: str = SPACE, trials: int = 5, steps: Any = STEPS) -> list[str]:
        file = self.folder / f"{name}.yaml"
        file.write_text(space, encoding="utf-8")
        words = [file, "--trials", trials, "--name", name, *self.fixed, *steps, *more]
        return [str(word) for word in words]

    def run(self, name: str, *more: Any, **how: Any) -> int:
        return sweep.main(self.flags(name, *more, **how))

    def begin(self, name: str, *more: Any, **how: Any) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "pairft.sweep", *self.flags(name, *more, **how)]
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT)

    def record(self, name: str) -> dict[str, Any]:
        return json.loads((self.runs / name / "sweep.json").read_text(encoding="utf-8"))

    def trials(self, name: str) -> list[dict[str, Any]]:
        """The trials without what depends on the clock."""
        return [{k: v for k, v in one.items() if k != "seconds"} for one in self.record(name)["trials"]]
