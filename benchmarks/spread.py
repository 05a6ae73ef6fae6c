"""Is the spread over seeds the same padded and padding-free?

    python benchmarks/spread.py --data FOLDER --runs-dir DIR --json FILE [--seeds 16] [--jobs 2]

Trains the packaged encoder on every third pair of a folder of parquet files, once per seed and way, one thread a run,
and tests for equal variances and equal means. Runs that are finished in DIR are not trained again.
"""

import argparse
import concurrent.futures
import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
WAYS = {"padding-free": "auto", "padded": "never"}
METRICS = ("accuracy", "f1", "loss")


def write_third(source: Path, target: Path) -> None:
    """Every third row of train, and validation whole."""
    from pyarrow import parquet

    target.mkdir(parents=True, exist_ok=True)
    for split, every in (("train", 3), ("validation", 1)):
        [file] = source.glob(f"{split}*.parquet")
        table = parquet.read_table(file)
        parquet.write_table(table.take(list(range(0, len(table), every))), target / f"{split}.parquet")


def train(data: Path, runs: Path, way: str, seed: int) -> None:
    name = f"{way}-{seed}"
    if (runs / name / "results.json").exists():
        return
    command = [sys.executable, str(HERE.parent / "train.py"), "--model", "builtin", "--data", str(data)]
    command += ["--unpad", WAYS[way], "--seed", str(seed), "--eval-every", "never", "--save-every", "never"]
    command += ["--runs-dir", str(runs), "--run-name", name, "--log-every", "50"]
    with (runs / f"{name}.log").open("w") as log:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        subprocess.run(command, stdout=log, stderr=log, env=environment, check=True)


def compare(scores: dict[str, dict[str, list[float]]]) -> dict[str, Any]:
    """Of each metric: mean and standard deviation of both ways, the p values of equal variances (Brown and Forsythe
    1974: Levene's test about the median) and of equal means (Welch 1947)."""
    import numpy
    from scipy.stats import levene, ttest_ind

    found = {}
    for metric in METRICS:
        samples = [scores[way][metric] for way in WAYS]
        found[metric] = {
            "mean": {way: float(numpy.mean(values)) for way, values in zip(WAYS, samples, strict=True)},
            "sd": {way: float(numpy.std(values, ddof=1)) for way, values in zip(WAYS, samples, strict=True)},
            "p_equal_variances": float(levene(*samples, center="median").pvalue),
            "p_equal_means": float(ttest_ind(*samples, equal_var=False).pvalue),
        }
    return found


def table(content: dict[str, Any]) -> str:
    """As Markdown: mean and standard deviation of each metric both ways, the tests, and each run's F1 in order."""
    lines = [
        f"| last model, {content['seeds']} seeds each | {' | '.join(WAYS)} | p: equal means | p: equal variances |"
    ]
    lines.append("|---|---|---|---|---|")
    for metric, found in content["tests"].items():
        cells = [f"{found['mean'][way]:.4f} ± {found['sd'][way]:.4f}" for way in WAYS]
        lines.append(
            f"| {metric} | {' | '.join(cells)} | {found['p_equal_means']:.2f} | {found['p_equal_variances']:.2f} |"
        )
    for way in WAYS:
        values = ", ".join(f"{value:.3f}" for value in sorted(content["scores"][way]["f1"]))
        lines += ["", f"F1, {way}: {values}."]
    return "\n".join([*lines, "", f"{content['date']}.", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with MRPC's parquet files")
    parser.add_argument("--runs-dir", type=Path, required=True)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    args = parser.parse_args()
    third = args.runs_dir / "third"
    write_third(args.data, third)
    pairs = list(itertools.product(range(1, args.seeds + 1), WAYS))
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        list(pool.map(lambda pair: train(third, args.runs_dir, pair[1], pair[0]), pairs))
    scores: dict[str, dict[str, list[float]]] = {way: {metric: [] for metric in METRICS} for way in WAYS}
    for seed, way in pairs:
        results = json.loads((args.runs_dir / f"{way}-{seed}" / "results.json").read_text(encoding="utf-8"))
        for metric in METRICS:
            scores[way][metric].append(results["last"]["validation"][metric])
    content = {"date": time.strftime("%Y-%m-%d"), "seeds": args.seeds, "tests": compare(scores), "scores": scores}
    args.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(table(content))


if __name__ == "__main__":
    main()
