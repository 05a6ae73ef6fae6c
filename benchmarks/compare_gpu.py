"""HF Trainer and pairft on a GPU: every side of gpu.py in turn, each in its own process, and the floor."""

import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from gpu import CAPTURED, SIDES
from made_up import IDS_IN_USE, TRAIN_ROWS, Rows
from measure import measure

HERE = Path(__file__).resolve().parent
BATCH_SIZES = (8, 32, 128)


def compare(repeats: int, job: int | None = None) -> dict[str, Any]:
    """Every side at each batch size, `repeats` times in turn, and MRPC's three epochs by Trainer and pairft; or one of
    these four jobs alone, counted from 1."""
    with tempfile.TemporaryDirectory() as folder:

        def run(side: str, number: int, *flags: object) -> dict[str, Any]:
            output = Path(folder) / "found.json"
            command = [sys.executable, str(HERE / "gpu.py"), side, str(output), *map(str, flags)]
            try:
                found = measure(command, output, Path(folder) / "log")
            except SystemExit as error:  # the others' figures are kept
                found = {"failed": str(error)}
            print(" ".join(map(str, (side, number, *flags, found))), file=sys.stderr, flush=True)
            return found

        ceilings = run("ceilings", 0)
        if "failed" in ceilings:
            raise SystemExit(ceilings["failed"])
        jobs = []
        for batch_size in BATCH_SIZES if job is None else BATCH_SIZES[job - 1 : job]:
            sides: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
            for number in range(repeats):
                for side, found in sides.items():
                    found.append(run(side, number, "--batch-size", batch_size))
            floor = step_floor(batch_size, token_counts(Rows(TRAIN_ROWS, 1)), ceilings)
            jobs.append({"batch_size": batch_size, "sides": sides, "floor": floor})
        whole: dict[str, list[dict[str, Any]]] = {}
        if job in (None, len(BATCH_SIZES) + 1):
            whole = {"Trainer": [], CAPTURED: []}
            for number in range(repeats):
                for side, found in whole.items():
                    found.append(run(side, number, "--epochs", 3))
    return {"ceilings": ceilings, "jobs": jobs, "whole": whole}


def token_counts(rows: Rows) -> dict[str, float]:
    """Means over the rows of their tokens, and of the squares."""
    lengths = rows["length"].astype(float)
    return {"tokens": lengths.mean(), "squared_tokens": (lengths**2).mean()}


def step_floor(batch_size: int, rows: dict[str, float], ceilings: dict[str, float]) -> dict[str, float]:
    """Milliseconds that a step of bert-base's shape needs at the GPU's measured rates, one after the other.

    AdamW reads weight, gradient and two moments and writes all but the gradient, which the backward pass has written:
    32 bytes for each trained number, the token embeddings that occur among them. The matmuls: 6 operations for
    each weight and token that it meets, every layer for all tokens but the last, which only CLS tokens need.
    """
    width, inner, layers, positions, classes = 768, 3072, 12, 512, 2
    linear = 4 * width * width + 2 * width * inner  # weights of a layer
    trained = layers * linear + (IDS_IN_USE + positions) * width + width * width + classes * width
    token = 6 * (layers - 1) * linear
    attention = 12 * width * (layers - 1)  # for each pair of tokens of an example
    last = 6 * (linear + width * width)
    operations = batch_size * (token * rows["tokens"] + attention * rows["squared_tokens"] + last)
    seconds = 32 * trained / ceilings["bytes_per_second"] + operations / ceilings["rate"]
    return {"bytes": 32 * trained, "operations": operations, "ms": 1000 * seconds}


def table(content: dict[str, Any]) -> str:
    """The figures for people, as Markdown: medians; ratios are medians over runs made in turn, against Trainer."""
    lines = ["| batch | side | steps/s | examples/s | to Trainer | over the floor | memory MiB |", "|---" * 7 + "|"]
    for job in content["jobs"]:
        for side, runs in job["sides"].items():
            if any("failed" in found for found in (*runs, *job["sides"]["Trainer"])):
                lines.append(f"| {job['batch_size']} | {side} | failed, or Trainer did | | | | |")
                continue
            rate = statistics.median(found["steps_per_second"] for found in runs)
            pairs = zip(job["sides"]["Trainer"], runs, strict=True)
            ratio = statistics.median(b["steps_per_second"] / a["steps_per_second"] for a, b in pairs)
            peak = statistics.median(found["gpu_mib"] for found in runs)
            lines.append(
                f"| {job['batch_size']} | {side} | {rate:.1f} | {rate * job['batch_size']:.0f} | {ratio:.2f} | "
                f"{1000 / rate / job['floor']['ms']:.2f} | {peak:.0f} |"
            )
    seconds = {
        side: statistics.median(found.get("seconds", float("nan")) for found in runs)
        for side, runs in content["whole"].items()
    }
    ceilings = content["ceilings"]
    whole = ", ".join(f"{side} {found:.1f} s" for side, found in seconds.items())
    floors = ", ".join(f"{job['floor']['ms']:.2f} ms at {job['batch_size']}" for job in content["jobs"])
    # Without captures, or with padding, the figure wouldn't be what "pairft" is to mean here.
    parts = (*(job["sides"] for job in content["jobs"]), content["whole"])
    own = [found for part in parts for found in part.get(CAPTURED, [])]
    fewest = min(found.get("captures", 0) for found in own)
    notes = "; ".join(sorted({note for found in own for note in found.get("notes", [])}))
    return "\n".join(
        [
            *lines,
            "",
            f"Three epochs with an evaluation after each, batch 8: {whole or 'not run'}. "
            f"The floor of a step: {floors or 'not asked'}.",
            f"{CAPTURED} computed {notes}, with {fewest} captures a run or more.",
            f"{ceilings['card']}, driver {ceilings['driver']}: {ceilings['bytes_per_second'] / 1e12:.2f} TB/s, "
            f"{ceilings['rate'] / 1e12:.0f} TFLOP/s in bf16; each side {content['repeats']} times in turn, "
            f"{content['date']}: {', '.join(f'{name} {value}' for name, value in content['machine'].items())}.",
            "",
        ]
    )
