"""Prediction beside pipeline("text-classification", batch_size=8) and, if sentence-transformers is installed,
CrossEncoder.predict: rows a second, the largest difference of the probabilities, and the time that --text takes.

    python benchmarks/predict_speed.py --data MRPC/test-00000-of-00001.parquet

All sides are loaded first and warmed up, so that start-up is left out. Then they take turns, and the median of the
rounds counts. Without --model it is the builtin encoder with a head that is drawn: the speed doesn't depend on it.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from measure import machine  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "predict-speed.json"
WARM_UP_ROWS = 16


def drawn_classifier(folder: Path) -> None:
    """The builtin encoder with a head for two classes."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from pairft.data.builtin import model_folder

    torch.manual_seed(0)
    names = {0: "different", 1: "same"}
    model = AutoModelForSequenceClassification.from_pretrained(model_folder(), id2label=names)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(model_folder()).save_pretrained(folder)


def sides(model: str, device: str) -> dict[str, Callable[[list[tuple[str, str]]], Any]]:
    """A function for each, which returns the probabilities of pairs, [pairs, classes]."""
    import numpy
    from transformers import pipeline

    import pairft

    ours = pairft.load(model, device=device)
    theirs = pipeline("text-classification", model=model, device=device, batch_size=8, top_k=None)

    def by_pipeline(pairs: list[tuple[str, str]]) -> Any:
        found = theirs([{"text": first, "text_pair": second} for first, second in pairs], truncation=True)
        scores = [{item["label"]: item["score"] for item in answer} for answer in found]
        return numpy.array([[score[name] for name in ours.label_names] for score in scores])

    found = {"pairft": lambda pairs: ours.predict(pairs).probabilities, "pipeline": by_pipeline}
    if find_spec("sentence_transformers") is not None:
        from sentence_transformers import CrossEncoder

        encoder = CrossEncoder(model, device=device)
        found["CrossEncoder"] = lambda pairs: encoder.predict(pairs, apply_softmax=True)
    return found


def measured(model: str, pairs: list[tuple[str, str]], rounds: int, device: str) -> dict[str, Any]:
    import numpy

    ways = sides(model, device)
    answers = {name: predict(pairs[:WARM_UP_ROWS]) for name, predict in ways.items()}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        names = list(ways) if number % 2 == 0 else list(reversed(ways))
        for name in names:
            began = time.perf_counter()
            answers[name] = ways[name](pairs)
            seconds[name].append(time.perf_counter() - began)
    ours = statistics.median(seconds["pairft"])
    return {
        name: {
            "rows_per_second": len(pairs) / statistics.median(seconds[name]),
            "seconds": seconds[name],
            "times_slower": statistics.median(seconds[name]) / ours,
            "largest_difference": float(numpy.abs(answers[name] - answers["pairft"]).max()),
        }
        for name in ways
    }


def one_pair(model: str, rounds: int) -> list[float]:
    """The seconds that --text takes, as a new process each time."""
    command = [sys.executable, "-m", "pairft.predict", "--model", model, "--text", "How old are you?", "Your age?"]
    found = []
    for _ in range(rounds + 1):  # the first one reads the files of the libraries from the disk
        began = time.perf_counter()
        subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
        found.append(time.perf_counter() - began)
    return found[1:]


def table(content: dict[str, Any]) -> str:
    """The figures as a table in Markdown."""
    lines = ["| | rows/s | pairft's speed to it | largest difference of a probability |", "|---|---|---|---|"]
    for name, side in content["sides"].items():
        ratio = "" if name == "pairft" else f"{side['times_slower']:.2f} ×"
        difference = "" if name == "pairft" else f"{side['largest_difference']:.1e}"
        lines.append(f"| {name} | {side['rows_per_second']:.0f} | {ratio} | {difference} |")
    where = ", ".join(f"{name} {value}" for name, value in content["machine"].items())
    rounds = len(content["sides"]["pairft"]["seconds"])
    return "\n".join(lines) + (
        f"\n\n{content['rows']:,} pairs, {rounds} rounds, {content['date']}: {where}. `--text` answers within "
        f"{statistics.median(content['text']):.1f} s, start-up included.\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="a parquet file with the columns sentence1 and sentence2")
    parser.add_argument("--model", help="folder of a classifier")
    parser.add_argument("--rows", type=int, help="the first ones only")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--save", action="store_true", help=f"write {RESULTS.name}")
    args = parser.parse_args()
    from pyarrow import parquet

    table = parquet.read_table(args.data, columns=["sentence1", "sentence2"]).slice(0, args.rows)
    pairs = list(zip(*(column.to_pylist() for column in table.columns), strict=True))
    with tempfile.TemporaryDirectory() as folder:
        if args.model is None:
            drawn_classifier(Path(folder))
        model = args.model or folder
        found = measured(model, pairs, args.rounds, args.device)
        text = one_pair(model, args.rounds)
    for name, about in found.items():
        print(
            f"{name:13} {about['rows_per_second']:8.1f} rows/s  {about['times_slower']:.2f} × pairft's time  "
            f"largest difference {about['largest_difference']:.1e}"
        )
    print(f"--text: {statistics.median(text):.2f} s ({min(text):.2f} to {max(text):.2f})")
    if args.save:
        results = {"date": str(date.today()), "machine": machine(), "rows": len(pairs), "sides": found, "text": text}
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
