"""Trainings killed at random moments and gone on with, held against the one that never was killed.

    python benchmarks/kill.py [--runs 30] [--seed 0]

Each is killed with SIGKILL up to three times: at a random moment, as soon as its folder is there, or while a checkpoint
is being written. Then it goes on to its end. Weights, best model, metrics.jsonl and results.json should be the same
but for times. The last line says how many are.
"""

import argparse
import collections
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

# Intervals that don't divide each other, so that a kill falls between an evaluation and its save, or within a window
# of the log; half of each step's time is saving.
FLAGS = (
    "--data builtin --max-steps 90 --batch-size 4 --accumulate 2 --lr 1e-3 --log-every 4 --eval-every 7 --save-every 2"
)
TIMES = ("seconds", "examples_per_second", "saving")


def write_model(folder: Path) -> None:
    """A BERT of two layers and width 32, with the packaged encoder's tokenizer."""
    import torch
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    from pairft import builtin

    source = builtin.model_folder()
    torch.manual_seed(0)
    config = AutoConfig.from_pretrained(
        source, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
    )
    AutoModel.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)


def start(runs: Path, name: str, model: Path, resume: bool) -> subprocess.Popen[str]:
    command = [sys.executable, str(HERE.parent / "train.py"), "--runs-dir", str(runs), "--run-name", name]
    command += ["--resume"] if resume else ["--model", str(model), *FLAGS.split()]
    with (runs / f"{name}.log").open("a") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, text=True)


def kill_somewhere(process: subprocess.Popen[str], run: Path, draw: random.Random, seconds: float) -> str | None:
    """Kill it; in which moment. None where it came to its end before."""
    checkpoints = run / "checkpoints"
    kind = draw.random()
    if kind < 0.4:  # while the n-th save from now on is being written
        left, was = draw.randint(1, 25), False
        while left and process.poll() is None:
            now = any(checkpoints.glob(".step-*.part"))
            left -= now and not was
            was = now
    elif kind < 0.5:
        while not run.exists() and process.poll() is None:
            time.sleep(0.001)
    else:
        until = time.perf_counter() + draw.uniform(0, seconds)
        while time.perf_counter() < until and process.poll() is None:
            time.sleep(0.002)
    if process.poll() is not None:
        return None
    process.send_signal(signal.SIGKILL)
    process.wait()
    if (run / "results.json").exists():
        return None
    if any(checkpoints.glob(".step-*.part")):
        return "while a save was being written"
    if not run.exists():
        return "before the run's folder"
    return "at another moment" if any(checkpoints.glob("step-*")) else "before the first checkpoint"


def outcome(run: Path) -> dict[str, Any]:
    """All that should be the same."""

    def timeless(content: dict[str, Any]) -> dict[str, Any]:
        return {
            key: timeless(value) if isinstance(value, dict) else value
            for key, value in content.items()
            if key not in TIMES
        }

    models = {
        f"{name}/{file}": (run / name / file).read_bytes()
        for name in ("best", "last")
        for file in ("model.safetensors", "config.json", "pairft.json")
    }
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    return {**models, "metrics": [timeless(json.loads(line)) for line in lines], "results": timeless(results)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    args = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    draw = random.Random(args.seed)
    moments: collections.Counter[str] = collections.Counter()
    identical = 0
    with tempfile.TemporaryDirectory(prefix="pairft-kill-") as place:
        runs, model = Path(place), Path(place) / "model"
        write_model(model)
        for name in ("cache", "whole"):  # the first fills the cache of tokenised rows
            began = time.perf_counter()
            assert start(runs, name, model, resume=False).wait() == 0, (runs / f"{name}.log").read_text()
        seconds = time.perf_counter() - began
        wanted = outcome(runs / "whole")
        number = attempts = 0
        while number < args.runs:
            attempts += 1
            name, found = f"killed-{attempts}", []
            for _ in range(draw.randint(1, 3)):
                process = start(runs, name, model, resume=(runs / name).exists())
                moment = kill_somewhere(process, runs / name, draw, seconds)
                if moment is None:
                    break
                found.append(moment)
            if not (runs / name / "results.json").exists():
                code = start(runs, name, model, resume=(runs / name).exists()).wait()
                assert code == 0, (runs / f"{name}.log").read_text()
            if not found:  # it was faster than the moment drawn for it
                continue
            number += 1
            got = outcome(runs / name)
            different = [key for key in wanted if got[key] != wanted[key]]
            identical += not different
            moments.update(found)
            said = f"different: {', '.join(different)}" if different else "identical"
            print(f"run {number}: killed {', '.join(found)}: {said}", flush=True)
    for moment, count in moments.most_common():
        print(f"{count} times killed {moment}")
    print(f"{identical}/{args.runs} identical")
    return 0 if identical == args.runs else 1


if __name__ == "__main__":
    sys.exit(main())
