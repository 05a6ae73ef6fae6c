"""Examples a second of 1 and 2 processes with the same global batch, and what a step of 2 processes sends:

    python benchmarks/scaling.py [--repeats 3] [--max-steps 60] [--output FILE]

The builtin encoder on the builtin pairs, 16 examples a step, on 2 cores; sides alternate, each run in new processes.
Then the all-reduce alone, of a buffer as large as the gradients, and how evenly the tokens of a step are dealt to the
processes, by pairft and in the order of the epoch. For figures that count, leave the machine idle.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from compare_trainer import ratio  # noqa: E402
from measure import machine, measure  # noqa: E402
from scale_arithmetic import all_reduce_bytes  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "scaling.json"
BATCH_SIZE, PROCESSES = 8, 2
DEALT_TO = (2, 4, 8, 64)  # processes
REDUCTIONS, WARM_UP = 30, 5
JOB = ("--model", "builtin", "--data", "builtin", "--device", "cpu", "--batch-size", str(BATCH_SIZE))


class Side(NamedTuple):
    processes: int
    threads: int  # of each process

    def __str__(self) -> str:
        return " with ".join(
            f"{count} {one if count == 1 else many}"
            for count, one, many in ((self.processes, "process", "processes"), (self.threads, "thread", "threads"))
        ) + (" each" if self.processes > 1 else "")


SIDES = (Side(1, 1), Side(PROCESSES, 1), Side(1, 2))


def command(side: Side, script: Path, *arguments: object) -> list[str]:
    """The script as one process, or under torchrun, with a rendezvous of its own."""
    start = ["env", f"OMP_NUM_THREADS={side.threads}", "HF_HUB_OFFLINE=1", sys.executable]
    if side.processes > 1:
        start += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(side.processes)]
    return [*start, str(script), *map(str, arguments)]


def train(work: Path, side: Side, number: int, steps: int) -> float:
    """One run. Returns its examples a second, without evaluation and saving."""
    name = f"{side.processes}-{side.threads}-{number}"
    flags = ["--accumulate", PROCESSES // side.processes, "--max-steps", steps, "--log-every", steps]
    flags += ["--eval-every", "never", "--save-every", "never", "--runs-dir", work, "--run-name", name]
    made = measure(command(side, ROOT / "train.py", *JOB, *flags), work / name / "results.json", work / f"{name}.log")
    rate: float = made["train"]["examples_per_second"]
    return rate


def all_reduce(size: int, output: Path) -> None:
    """In each process that torchrun starts: the median time of an all-reduce of `size` bytes of float32."""
    import torch
    from torch import distributed

    distributed.init_process_group("gloo")
    buffer, seconds = torch.zeros(size // 4), []
    for _ in range(WARM_UP + REDUCTIONS):
        distributed.barrier()
        began = time.perf_counter()
        distributed.all_reduce(buffer)
        seconds.append(time.perf_counter() - began)
    if distributed.get_rank() == 0:
        found = {"median_ms": statistics.median(seconds[WARM_UP:]) * 1e3}
        output.write_text(json.dumps(found), encoding="utf-8")
    distributed.destroy_process_group()


def prepared() -> tuple[int, Any]:
    """How many parameters the job trains, and the number of tokens of each training example, int32 [examples]."""
    from pairft import checks
    from pairft.data import lengths, tokens
    from pairft.data.batches import lengths_of
    from pairft.data.hub import resolve_sources
    from pairft.data.pairs import load_pairs
    from pairft.model import classifier
    from pairft.speed.embedding import train_used_rows

    given = {"model": "builtin", "data": "builtin", "device": "cpu"}
    config = resolve_sources(checks.resolve(given), given)
    pairs = load_pairs(config)
    tokenizer, model_config = classifier.load_tokenizer(config.model)
    max_length = lengths.checked_length(config.max_length, tokenizer, model_config, len(pairs.text_columns))
    split = tokens.tokenise(pairs, tokenizer, max_length, config.truncation)["train"]
    model, *_ = classifier.load_model(config.model, pairs.label_names, "by name", pairs.problem_type)
    train_used_rows(model, split, tokenizer.pad_token_id)
    return sum(parameter.numel() for parameter in model.parameters()), lengths_of(split)


def fullest(loads: list[list[int]]) -> float:
    """The tokens of a step's fullest process relative to the mean of the processes, averaged over steps. `loads`: the
    tokens of each process in each step."""
    return statistics.mean(max(load) / statistics.mean(load) for load in loads)


def deals(lengths: Any) -> dict[str, dict[str, float]]:
    """`fullest` over the first epoch for several numbers of processes, as training deals the examples of a step, and
    for blocks of BATCH_SIZE in order. `lengths`: int32 [examples]."""
    import numpy

    from pairft.data.order import Share, dealt, epoch_order

    found = {}
    for processes in DEALT_TO:
        number = len(lengths) // (BATCH_SIZE * processes) * BATCH_SIZE * processes  # without a last, smaller step
        steps = epoch_order(len(lengths), 42, 0)[:number].numpy().reshape(-1, processes, BATCH_SIZE)
        balanced = [
            [
                sum(int(step[places].sum()) for places in dealt(step, Share(rank, processes), accumulate=1))
                for rank in range(processes)
            ]
            for step in lengths[steps].reshape(len(steps), -1)
        ]
        in_order = lengths[steps].sum(axis=2, dtype=numpy.int64).tolist()
        found[str(processes)] = {"balanced": fullest(balanced), "in order": fullest(in_order)}
    return found


def table(content: dict[str, Any]) -> str:
    """The figures as Markdown."""
    first = content["sides"][str(SIDES[0])]
    lines = ["| | examples/s | for each process | times the first |", "|---|---|---|---|"]
    for side in SIDES:
        rates = content["sides"][str(side)]
        rate = statistics.median(rates)
        lines.append(f"| {side} | {rate:.1f} | {rate / side.processes:.1f} | {ratio(first, rates)} |")
    reduction = content["reduction"]
    where = ", ".join(f"{name} {value}" for name, value in content["machine"].items())
    lines += [
        "",
        f"{content['steps']} steps of {BATCH_SIZE * PROCESSES} examples, each side {content['repeats']} times, "
        f"alternating, {content['date']}: {where}.",
        "",
        f"{content['parameters'] / 1e6:.1f} M parameters are trained: each of {PROCESSES} processes sums "
        f"{reduction['bytes_sent'] / 1e6:.0f} MB a step, in shared memory. A step takes "
        f"{BATCH_SIZE * PROCESSES / statistics.median(content['sides'][str(SIDES[1])]) * 1e3:.0f} ms; gloo's "
        f"all-reduce of as much, which is what several machines use, takes {reduction['median_ms']:.0f} ms here.",
        "",
        "| processes | fullest process's tokens to the mean, as dealt | in order |",
        "|---|---|---|",
    ]
    for processes, found in content["dealt"].items():
        lines.append(f"| {processes} | {found['balanced']:.3f} | {found['in order']:.3f} |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--max-steps", type=int, default=60)
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--all-reduce", type=int, metavar="BYTES", help="only this; used under torchrun")
    args = parser.parse_args()
    if args.all_reduce:
        all_reduce(args.all_reduce, args.output)
        return
    parameters, lengths = prepared()
    sides: dict[str, list[float]] = {str(side): [] for side in SIDES}
    with tempfile.TemporaryDirectory(prefix="scaling-") as folder:
        work = Path(folder)
        for number in range(args.repeats):
            for side in SIDES:
                sides[str(side)].append(train(work, side, number, args.max_steps))
                print(f"{side}: {sides[str(side)][-1]:.1f} examples/s", flush=True)
        alone = command(SIDES[1], Path(__file__), "--all-reduce", 4 * parameters, "--output", work / "found.json")
        reduction = measure(alone, work / "found.json", work / "all-reduce.log")
    content = {
        "date": date.today().isoformat(),
        "machine": machine(),
        "steps": args.max_steps,
        "repeats": args.repeats,
        "sides": sides,
        "parameters": parameters,
        "reduction": {
            "bytes_sent": all_reduce_bytes(parameters, PROCESSES),
            "median_ms": reduction["median_ms"],
        },
        "dealt": deals(lengths),
    }
    args.output.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(table(content))


if __name__ == "__main__":
    main()
