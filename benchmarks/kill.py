"""Trainings that are killed or disturbed at random moments and then resumed, compared with one that never was.

    python benchmarks/kill.py [--runs 30] [--disturbed 20] [--seed 0]

The first are killed with SIGKILL up to three times: at a random moment, as soon as the run directory exists, or while a
checkpoint is being written. The others are ended by SIGHUP or by Ctrl-C behind `tee`, or go on behind a closed pipe, or
run on a disk that fills up; the exit code is checked, too. Then each is resumed to its end. Weights, best model,
metrics.jsonl and results.json should be the same but for times. The last lines say how many are.
"""

import argparse
import collections
import contextlib
import json
import os
import random
import shutil
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
KINDS = {"SIGHUP": 129, "Ctrl-C behind tee": 130, "a closed pipe": 0, "a disk that fills": 2}  # with the exit codes
UNIGNORED = "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
DISK = ["mount", "-t", "tmpfs", "-o", "size=80m", "tmpfs"]
TIMES = ("seconds", "examples_per_second", "saving")


def write_model(folder: Path) -> None:
    """A BERT of two layers and width 32, with the packaged encoder's tokenizer."""
    import torch
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    from pairft.data import builtin

    source = builtin.model_folder()
    torch.manual_seed(0)
    config = AutoConfig.from_pretrained(
        source, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
    )
    AutoModel.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)


def start(runs: Path, name: str, model: Path, resume: bool, piped: bool = False) -> subprocess.Popen[str]:
    """Train; the output goes to a log or, if `piped`, to a pipe. In a process group of its own, like a shell's job."""
    command = [sys.executable, str(HERE.parent / "train.py"), "--runs-dir", str(runs), "--run-name", name]
    command += ["--resume"] if resume else ["--model", str(model), *FLAGS.split()]
    command = [sys.executable, "-c", UNIGNORED, *command]
    with (runs / f"{name}.log").open("a") as log:
        output = subprocess.PIPE if piped else log
        return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, text=True, start_new_session=True)


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
            time.sleep(0.0005)  # without a pause it takes a core, and on two cores a step takes 80 times as long
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


def disturb(kind: str, process: subprocess.Popen[str], runs: Path, wait: float) -> int:
    """Disturb a training after so many seconds; its exit code. The disk of `runs` stays full until it has ended."""
    tee = None
    if kind == "Ctrl-C behind tee":
        with (runs / "tee.log").open("w") as log:
            tee = subprocess.Popen(["tee"], stdin=process.stdout, stdout=log)
    if tee is not None or kind == "a closed pipe":
        assert process.stdout is not None
        if tee is None:
            process.stdout.readline()
        else:
            process.stdout.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(wait)
    filler = runs / "filler"
    if kind == "SIGHUP" and process.poll() is None:
        process.send_signal(signal.SIGHUP)
    elif tee is not None:
        tee.kill()
        tee.wait()
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
    elif kind == "a closed pipe":
        assert process.stdout is not None
        process.stdout.close()
    elif kind == "a disk that fills":
        while process.poll() is None:
            with contextlib.suppress(OSError), filler.open("ab", buffering=0) as file:
                file.write(bytes(1 << 18))
            time.sleep(0.01)
    code = process.wait()
    filler.unlink(missing_ok=True)
    return code


def disturbed_run(kind: str, runs: Path, name: str, model: Path, wait: float) -> dict[str, Any] | None:
    """The outcome of a run that was disturbed and resumed. None where it ended before that."""
    piped = kind in ("Ctrl-C behind tee", "a closed pipe")
    process = start(runs, name, model, resume=False, piped=piped)
    while not (runs / name / "metrics.jsonl").exists() and process.poll() is None:
        time.sleep(0.005)  # before that there is nothing to save, and a signal ends the process as any other
    code = disturb(kind, process, runs, wait)
    finished = (runs / name / "results.json").exists()
    if finished and KINDS[kind]:
        return None
    assert code == KINDS[kind], (kind, code, (runs / f"{name}.log").read_text())
    if not finished:
        code = start(runs, name, model, resume=True).wait()
        assert code == 0, (runs / f"{name}.log").read_text()
    return outcome(runs / name)


def count_disturbed(
    number: int, runs: Path, model: Path, draw: random.Random, wanted: dict[str, Any], seconds: float
) -> int:
    """How many of so many disturbed runs come to the wanted outcome; each kind in turn, but for a disk that fills
    where mounting a small one is not permitted. `seconds`: what a whole run takes."""
    disk = runs / "disk"
    disk.mkdir()
    kinds = list(KINDS)
    if subprocess.run([*DISK, disk], check=False, capture_output=True).returncode:
        print("a disk that fills: not tried, for mounting one takes more rights")
        kinds.remove("a disk that fills")
    identical = done = attempts = 0
    try:
        while done < number:
            kind, attempts = kinds[done % len(kinds)], attempts + 1
            place = disk if kind == "a disk that fills" else runs
            got = disturbed_run(kind, place, f"disturbed-{attempts}", model, draw.uniform(0, seconds / 5))
            if got is None:
                continue
            done += 1
            different = [key for key in wanted if got[key] != wanted[key]]
            identical += not different
            print(f"disturbed run {done}: {kind}: {', '.join(different) or 'identical'}", flush=True)
            if place == disk:
                shutil.rmtree(disk / f"disturbed-{attempts}")
    finally:
        subprocess.run(["umount", "-l", disk], check=False, capture_output=True)
    return identical


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
    parser.add_argument("--disturbed", type=int, default=20)
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
        undisturbed = count_disturbed(args.disturbed, runs, model, draw, wanted, seconds)
    for moment, count in moments.most_common():
        print(f"{count} times killed {moment}")
    print(f"disturbed: {undisturbed}/{args.disturbed} identical")
    print(f"{identical}/{args.runs} identical")
    return 0 if (identical, undisturbed) == (args.runs, args.disturbed) else 1


if __name__ == "__main__":
    sys.exit(main())
