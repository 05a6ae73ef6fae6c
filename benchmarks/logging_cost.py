"""What TensorBoard's board costs: training with and without it, in alternation.

    python benchmarks/logging_cost.py [--data FOLDER] [--runs 3] [--epochs 1] [--log-every 10] [--json FILE]

Trains the packaged encoder with `train.py` in a process of its own for each run, on the builtin pairs or a folder with
MRPC's files, evaluated after each epoch. "Without" replaces what is measured at log lines (`Measures.scalars`) and what
is drawn after evaluations (`RunLog.log_answers`) by nothing, so that the curves of metrics.jsonl are all that is left.
Prints the wall-clock seconds of the whole `fit`, logging, evaluation and saving included, and the CPU seconds that the
two functions take for each call.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent


def one_run(way: str, output: str, flags: list[str]) -> None:
    """Train in this process, with the clocks around `fit` and around the two functions."""
    sys.path.insert(0, str(HERE.parent))
    import train
    from pairft.runs import log, measures
    from pairft.training import loop

    spent: dict[str, list[float]] = {"log line": [], "evaluation": []}
    fit_seconds: list[float] = []

    def clocked(function: Any, what: str) -> Any:
        def call(*args: Any) -> Any:
            began = time.process_time()
            result = function(*args)
            spent[what].append(time.process_time() - began)
            return result

        return call

    def clocked_fit(*args: Any, **kwargs: Any) -> None:
        began = time.perf_counter()
        plain_fit(*args, **kwargs)
        fit_seconds.append(time.perf_counter() - began)

    plain_fit, loop.fit = loop.fit, clocked_fit
    measured, answered = measures.Measures.scalars, log.RunLog.log_answers
    if way == "without":
        measured, answered = (lambda *_: {}), (lambda *_: None)  # type: ignore[assignment,misc]
    measures.Measures.scalars = clocked(measured, "log line")  # type: ignore[method-assign]
    log.RunLog.log_answers = clocked(answered, "evaluation")  # type: ignore[method-assign]
    assert train.main(flags) == 0
    Path(output).write_text(json.dumps({"fit": fit_seconds[0], **spent}), encoding="utf-8")


def measure(way: str, flags: list[str]) -> dict[str, Any]:
    """One run of a way, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        output = f"{folder}/measured.json"
        command = [sys.executable, __file__, "--one", way, output, *flags, "--runs-dir", folder]
        environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
        subprocess.run(command, stderr=subprocess.DEVNULL, env=environment, check=True)
        found: dict[str, Any] = json.loads(Path(output).read_text(encoding="utf-8"))
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="builtin", help="'builtin', or a folder with MRPC's files")
    parser.add_argument("--runs", type=int, default=3, help="of each way")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--log-every", type=int, default=10)
    parser.add_argument("--json", help="file for the results")
    args = parser.parse_args()
    flags = ["--model", "builtin", "--data", args.data, "--run-name", "a", "--device", "cpu"]
    flags += ["--epochs", str(args.epochs), "--log-every", str(args.log_every)]
    found: dict[str, list[dict[str, Any]]] = {"with": [], "without": []}
    for number in range(args.runs):
        for way in sorted(found, reverse=number % 2 == 1):
            found[way].append(measure(way, flags))
            print(f"{way}: {found[way][-1]['fit']:.1f} s", flush=True)
    medians = {way: statistics.median(run["fit"] for run in runs) for way, runs in found.items()}
    print(f"\n{'':10} {'median':>8} {'range':>15}")
    for way, runs in found.items():
        seconds = [run["fit"] for run in runs]
        print(f"{way:10} {medians[way]:7.1f}s {min(seconds):6.1f} to {max(seconds):5.1f}")
    print(f"difference: {100 * (medians['with'] / medians['without'] - 1):+.2f} % of the seconds without")
    for what in ("log line", "evaluation"):
        calls = [run[what] for run in found["with"]]
        share = statistics.median(sum(some) / run["fit"] for some, run in zip(calls, found["with"], strict=True))
        each = statistics.median(seconds for some in calls for seconds in some)
        first = statistics.median(some[0] for some in calls)
        print(f"CPU for each {what}: {1000 * each:.1f} ms, the first {1000 * first:.0f} ms; {100 * share:.2f} % in all")
    if args.json:
        Path(args.json).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        one_run(sys.argv[2], sys.argv[3], sys.argv[4:])
    else:
        main()
