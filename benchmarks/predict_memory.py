"""Memory of predict with few and with many rows, from csv to parquet:

    python benchmarks/predict_memory.py --rows 200000 1000000

A file of short pairs, a tiny classifier with random weights, a process for each number of rows. RssAnon is read twenty
times a second, and the highest value counts.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from large_data import WORDS, anonymous_mib, write_model  # noqa: E402
from measure import machine  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "predict-memory.json"


def write_classifier(folder: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    write_model(folder / "encoder")
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(folder / "encoder")
    model.save_pretrained(folder / "model")
    AutoTokenizer.from_pretrained(folder / "encoder").save_pretrained(folder / "model")


def write_rows(path: Path, rows: int, labelled: bool) -> None:
    """Pairs of sentences of 2 to 4 words."""
    import numpy

    numbers = numpy.random.default_rng(1)
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "a", "b", *(["label"] if labelled else [])])
        for start in range(0, rows, 10_000):
            words = numbers.integers(0, len(WORDS), (10_000, 8)).tolist()
            lengths = numbers.integers(2, 5, (10_000, 2)).tolist()
            for number in range(min(10_000, rows - start)):
                first, second = lengths[number]
                texts = [
                    " ".join(WORDS[word] for word in some)
                    for some in (words[number][:first], words[number][4:][:second])
                ]
                table.writerow([start + number, *texts, *([number % 2] if labelled else [])])


def measured(model: Path, data: Path, output: Path) -> dict[str, Any]:
    command = [
        sys.executable, "-m", "pairft.predict", "--model", str(model), "--text-columns", "a,b", "--device", "cpu",
        "--data", str(data), "--output", str(output),
    ]  # fmt: skip
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    began, found = time.perf_counter(), []
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, text=True) as process:
        while process.poll() is None:
            try:
                found.append(anonymous_mib(process))
            except (OSError, StopIteration):  # it has just ended
                break
            time.sleep(0.05)
    if process.wait() != 0:
        raise SystemExit("predict failed")
    return {"mib": max(found), "seconds": time.perf_counter() - began}


def table(content: dict[str, Any]) -> str:
    """The figures as a table in Markdown."""
    lines = ["| rows | at most, MiB | seconds |", "|---|---|---|"]
    lines += [f"| {run['rows']:,} | {run['mib']:.0f} | {run['seconds']:.0f} |" for run in content["runs"]]
    return "\n".join(lines) + f"\n\nOnce each, {content['date']}, on the same machine.\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[200_000, 1_000_000])
    parser.add_argument("--labelled", action="store_true", help="with labels, which are scored")
    parser.add_argument("--save", action="store_true", help=f"write {RESULTS.name}")
    args = parser.parse_args()
    runs = []
    with tempfile.TemporaryDirectory(prefix="predict-memory-") as folder:
        work = Path(folder)
        write_classifier(work)
        for rows in args.rows:
            write_rows(work / "rows.csv", rows, args.labelled)
            runs.append({"rows": rows, **measured(work / "model", work / "rows.csv", work / "out.parquet")})
            size = (work / "out.parquet").stat().st_size / 2**20
            print(
                f"{rows:9,} rows: at most {runs[-1]['mib']:.0f} MiB, {runs[-1]['seconds']:.0f} s, output {size:.0f} MiB"
            )
    if args.save:
        results = {"date": str(date.today()), "machine": machine(), "labelled": args.labelled, "runs": runs}
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
