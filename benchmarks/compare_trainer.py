"""HF Trainer and pairft on the same job, each in its own process, in turn; medians, and the ratio pair by pair.

    python benchmarks/compare_trainer.py                               # 60 steps on builtin pairs, 3 times
    python benchmarks/compare_trainer.py --data FOLDER --epochs 3 --repeats 1

FOLDER holds train-00000-of-00001.parquet and validation-00000-of-00001.parquet with sentence1, sentence2 and label.
Without it, the builtin pairs are written to such files first. The machine should be idle.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from pairft import builtin  # noqa: E402

ROWS = (
    ("whole", "whole time, s", "{:.1f}"),
    ("start_up", "command to the end of the first step, s", "{:.2f}"),
    ("train_examples_per_second", "training, examples/s", "{:.2f}"),
    ("eval_examples_per_second", "evaluation, examples/s", "{:.1f}"),
    ("peak_mib", "peak memory, MiB", "{:.0f}"),
    ("accuracy", "validation accuracy at the end", "{:.4f}"),
    ("f1", "validation F1 at the end", "{:.4f}"),
)


def measure(command: list[str], output: Path, log: Path) -> dict[str, Any]:
    """Run one side; what it wrote to `output`, with its whole time, start-up and its own peak memory."""
    began = time.time()
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
    whole = time.time() - began
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{log.read_text()[-2000:]}")
    measured = json.loads(output.read_text(encoding="utf-8"))
    measured |= {"whole": whole, "start_up": measured["first_step_ended"] - began, "peak_mib": usage.ru_maxrss / 1024}
    return dict(measured)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of parquet files; default: the builtin pairs")
    parser.add_argument("--epochs", type=int, help="whole epochs instead of --max-steps")
    parser.add_argument("--max-steps", type=int, default=60)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="where the figures go, too")
    args = parser.parse_args()

    model = str(builtin.model_folder())
    sides: dict[str, list[dict[str, Any]]] = {"Trainer": [], "pairft": []}
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        data = args.data
        if data is None:
            data = scratch / "data"
            data.mkdir()
            for split in ("train", "validation"):
                builtin.pairs(split).to_parquet(data / f"{split}-00000-of-00001.parquet")
        amount = ["--epochs", str(args.epochs)] if args.epochs else ["--max-steps", str(args.max_steps)]
        common = ["--model", model, "--data", str(data), "--batch-size", str(args.batch_size), *amount]
        # The first round fills the caches of the tokenised data and of the disk; it is not counted.
        for number in range(-1, args.repeats):
            for side, measured in sides.items():
                output, runs = scratch / f"{side}-{number}.json", scratch / f"{side}-{number}"
                job = common if number >= 0 else [*common[:-2], "--max-steps", "2"]
                if side == "Trainer":
                    command = [str(HERE / "trainer_side.py"), *job, "--folder", str(runs), "--output", str(output)]
                else:
                    command = [str(HERE / "pairft_side.py"), str(output), *job]
                    command += ["--runs-dir", str(runs), "--run-name", "run", "--device", "cpu"]
                found = measure([sys.executable, *command], output, scratch / f"{side}-{number}.log")
                if number >= 0:
                    measured.append(found)
                    print(f"{side} {number + 1}/{args.repeats}: {found['whole']:.1f} s", file=sys.stderr, flush=True)
    machine = {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "transformers", "datasets", "accelerate")},
    }
    described = {
        "data": args.data.name if args.data else "builtin",
        "batch_size": args.batch_size,
        "epochs": args.epochs,
        "max_steps": None if args.epochs else args.max_steps,
        "repeats": args.repeats,
    }
    content = {"date": time.strftime("%Y-%m-%d"), "machine": machine, "job": described, "sides": sides}
    print(table(content))
    if args.json:
        args.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def table(content: dict[str, Any]) -> str:
    """The figures for people, as Markdown: medians, and the median of the ratios of runs made in turn."""
    job, sides = content["job"], content["sides"]
    title = f"{job['data']}, batch {job['batch_size']}, {sides['pairft'][0]['steps']} steps"
    lines = [f"| {title} | Trainer | pairft | ratio |", "|---|---|---|---|"]
    for key, name, shape in ROWS:
        theirs, ours = ([found[key] for found in sides[side]] for side in ("Trainer", "pairft"))
        ratio = statistics.median(b / a for a, b in zip(theirs, ours, strict=True))
        values = (shape.format(statistics.median(side)) for side in (theirs, ours))
        lines.append(f"| {name} | {' | '.join(values)} | {ratio:.2f} |")
    machine = ", ".join(f"{name} {value}" for name, value in content["machine"].items())
    times = "once" if job["repeats"] == 1 else f"{job['repeats']} times in turn"
    return "\n".join([*lines, "", f"Each side {times}, {content['date']}: {machine}.", ""])


if __name__ == "__main__":
    main()
