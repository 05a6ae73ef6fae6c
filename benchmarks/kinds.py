"""Trainer and pairft, both with their defaults, on a regression and on single sentences: the same scores?

    python benchmarks/kinds.py --json FILE [--seeds 1,2,3] [--work FOLDER]

Both tasks are generated from the builtin grammar: `stsb` scores a pair by how much of the event differs; `sst2` asks of
one sentence which of two opposites happened, in words that are not in train. Each side trains the packaged encoder for
three epochs, once per seed, two runs at a time with one thread each. Runs that are finished in FOLDER are not trained
again.
"""

import argparse
import concurrent.futures
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

SIZES = {"train": 1000, "validation": 500}
METRICS = {"stsb": ("pearson", "spearman", "loss"), "sst2": ("accuracy", "loss")}
SIDES = ("trainer", "pairft")


def scored_pair(rng: random.Random, split: str) -> dict[str, Any]:
    """A third of the pairs say the same, 5.0; a third differ in one to three aspects, 1.0 less for each; a third tell
    two events, 0.5. Scores vary by up to half a point, as raters do."""
    from pairft.data import grammar

    kind = rng.randrange(3)
    pair = grammar.draw_pair(rng, int(kind == 2))
    other = grammar.draw_pair(rng, 1).sentence2 if kind == 0 else pair.sentence2
    score = (0.5, 5.0 - len(pair.foci), 5.0)[kind] + rng.choice((-0.5, -0.25, 0, 0.25, 0.5))
    return {"sentence1": pair.sentence1, "sentence2": other, "label": min(5.0, score)}


def sentence(rng: random.Random, split: str) -> dict[str, Any]:
    """A sentence, and which of two opposites happened. The verbs of validation are not in train, but mean the same."""
    from pairft.data import grammar

    event = grammar.draw_event(rng)
    verb = 0 if split == "train" else rng.randrange(1, 3)
    wording = grammar.Wording(verb, passive=rng.random() < 0.3, sideline=rng.randrange(2))
    aspects = frozenset(name for name in ("amount", "place", "day", "sideline") if rng.random() < 0.3)
    return {"sentence": grammar.tell(event, wording, aspects), "label": event.side}


def write_data(folder: Path) -> None:
    """A folder for each task, with splits that share no row."""
    rng = random.Random(20261126)
    for task, draw in (("stsb", scored_pair), ("sst2", sentence)):
        seen: set[str] = set()
        for split, size in SIZES.items():
            rows: list[dict[str, Any]] = []
            while len(rows) < size:
                row = draw(rng, split)
                text = json.dumps({name: value for name, value in row.items() if name != "label"})
                if text not in seen:
                    seen.add(text)
                    rows.append(row)
            file = folder / task / f"{split}.jsonl"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def train(folder: Path, task: str, side: str, seed: int) -> None:
    from pairft.data.builtin import model_folder

    run, data = folder / f"{task}-{side}-{seed}", folder / task
    if (run / "results.json").exists() or (run / "numbers.json").exists():
        return
    common = ["--data", str(data), "--task", task, "--seed", str(seed)]
    if side == "trainer":
        run.mkdir(exist_ok=True)
        command = [str(HERE / "trainer_reference.py"), "--model", str(model_folder()), "--output", str(run)]
    else:
        command = [str(HERE.parent / "train.py"), "--model", "builtin", "--runs-dir", str(folder)]
        command += ["--run-name", run.name, "--save-every", "never"]
    with (folder / f"{run.name}.log").open("w") as log:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        subprocess.run([sys.executable, *command, *common], stdout=log, stderr=log, env=environment, check=True)


def last_scores(folder: Path, task: str, side: str, seed: int) -> dict[str, float]:
    """The scores on the validation split after the last step."""
    run = folder / f"{task}-{side}-{seed}"
    name, key = ("numbers.json", "final") if side == "trainer" else ("results.json", "last")
    found = json.loads((run / name).read_text(encoding="utf-8"))[key]
    found = found if side == "trainer" else found["validation"]
    return {metric: found[metric] for metric in METRICS[task]}


def compare(scores: dict[str, list[float]]) -> dict[str, Any]:
    """The means of both sides, the difference, and the standard error of it."""
    means = {side: statistics.mean(values) for side, values in scores.items()}
    error = sum(statistics.variance(values) / len(values) for values in scores.values()) ** 0.5
    return {"scores": scores, "mean": means, "difference": means["pairft"] - means["trainer"], "standard_error": error}


def table(content: dict[str, Any]) -> str:
    """As Markdown: a row for each metric."""
    lines = ["| task | validation | Trainer | pairft | difference | standard error |", "|---|---|---|---|---|---|"]
    for task, metrics in content["tasks"].items():
        for metric, found in metrics.items():
            cells = [
                f"{found['mean'][side]:.4f} ({', '.join(f'{value:.4f}' for value in found['scores'][side])})"
                for side in SIDES
            ]
            lines.append(
                f"| {task} | {metric} | {' | '.join(cells)} | {found['difference']:+.4f} | "
                f"{found['standard_error']:.4f} |"
            )
    return "\n".join([*lines, "", f"Means (and each run) over the seeds {content['seeds']}, {content['date']}.", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", required=True, type=Path)
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--work", type=Path, help="folder for data and runs; default: a temporary one")
    args = parser.parse_args()
    seeds = [int(seed) for seed in args.seeds.split(",")]
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.work or Path(temporary)
        write_data(folder)
        jobs = [(folder, task, side, seed) for seed in seeds for task in METRICS for side in SIDES]
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            for future in [pool.submit(train, *job) for job in jobs]:
                future.result()
        tasks: dict[str, Any] = {}
        for task, metrics in METRICS.items():
            runs = {side: [last_scores(folder, task, side, seed) for seed in seeds] for side in SIDES}
            tasks[task] = {
                metric: compare({side: [run[metric] for run in runs[side]] for side in SIDES}) for metric in metrics
            }
    content = {"date": time.strftime("%Y-%m-%d"), "seeds": args.seeds, "tasks": tasks}
    args.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(table(content))


if __name__ == "__main__":
    main()
