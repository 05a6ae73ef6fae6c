"""HF Trainer and pairft on the same jobs, each in its own process, in turn; medians, ratios run by run, and the floor.

Trainer runs with its defaults, and once more with its grouping by length. The jobs: the packaged encoder in batches of
8 and of 32, and an encoder of bert-base's shape with random weights. DATA holds train-00000-of-00001.parquet and
validation-00000-of-00001.parquet with sentence1, sentence2 and label; without it, the builtin pairs are written to such
files. The machine should be idle.

With --gpu instead: bert-base's shape in bf16 at batch 8, 32 and 128 (compare_gpu.py), which needs no data.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import compare_gpu  # noqa: E402
from measure import machine, measure  # noqa: E402

from pairft.data import builtin  # noqa: E402

SIDES = ("Trainer", "Trainer, by length", "pairft")
ROWS = (
    ("whole", "total time, s", "{:.1f}"),
    ("start_up", "from the command to the end of the first step, s", "{:.2f}"),
    ("train_examples_per_second", "training, examples/s", "{:.2f}"),
    ("step_ms", "time per step, ms", "{:.0f}"),
    ("eval_examples_per_second", "evaluation including metrics, examples/s", "{:.1f}"),
    ("late_imports", "imports at the first evaluation, s", "{:.1f}"),
    ("padding", "share of padding in the computed tokens", "{:.3f}"),
    ("peak_mib", "peak memory, MiB", "{:.0f}"),
    ("accuracy", "validation accuracy at the end", "{:.4f}"),
    ("f1", "validation F1 at the end", "{:.4f}"),
)


@dataclass(frozen=True)
class Job:
    """What both sides are to do; `encoder`: minilm, the packaged one, or bert-base, its shape with random weights."""

    encoder: str
    batch_size: int
    max_steps: int  # unless --epochs says otherwise


JOBS = (Job("minilm", 8, 60), Job("minilm", 32, 20), Job("bert-base", 8, 24))


def matrix_rate() -> float:
    """Operations a second of large float32 matmuls, all cores: the best of some."""
    import torch

    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    seconds = []
    for _ in range(8):
        began = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - began)
    return 2 * 2048**3 / min(seconds)


def operations(model: str, data: Path, batch_size: int) -> float:
    """Of the matmuls that a step needs on average, forward and backward (6 for each weight and token that it
    meets): every layer for all tokens but the last, which only CLS tokens need."""
    from pairft.config import Config
    from pairft.data import tokens
    from pairft.data.lengths import length_limit
    from pairft.data.pairs import load_pairs
    from pairft.model.classifier import load_tokenizer

    tokenizer, config = load_tokenizer(model)
    pairs = load_pairs(Config(model=model, data=str(data)))
    rows = tokens.tokenise(pairs, tokenizer, length_limit(tokenizer, config))["train"]
    lengths = rows.with_format("numpy")["length"][:].astype(float)
    width, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    linear = 4 * width * width + 2 * width * inner  # weights of a layer
    heads = config.num_attention_heads
    token = 6 * (layers - 1) * linear
    attention = 12 * width * (layers - 1)  # for each pair of tokens of an example
    last = 6 * (linear + width * width) + 12 * heads * width * lengths.mean()  # attention.attend_from_cls, the head
    return float(batch_size * (token * lengths.mean() + attention * (lengths**2).mean() + last))


def write_encoder(folder: Path) -> Path:
    """bert-base's shape with random weights, and the packaged encoder's tokenizer."""
    from transformers import AutoTokenizer, BertConfig, BertModel

    BertModel(BertConfig()).save_pretrained(folder)
    AutoTokenizer.from_pretrained(builtin.model_folder()).save_pretrained(folder)
    return folder


def run_job(
    job: Job, amount: list[str], names: list[str], model: Path, data: Path, scratch: Path, repeats: int
) -> dict[str, Any]:
    """Every named side `repeats` times, in turn."""
    sides: dict[str, list[dict[str, Any]]] = {side: [] for side in names}
    common = ["--model", str(model), "--data", str(data), "--batch-size", str(job.batch_size)]
    # The first round fills the caches of the tokenised data and of the disk; it is not counted.
    for number in range(-1, repeats):
        for side, measured in sides.items():
            stem = f"{job.encoder}-{job.batch_size}-{side.replace(', ', '-').replace(' ', '-')}-{number}"
            output, runs = scratch / f"{stem}.json", scratch / stem
            flags = [*common, *(amount if number >= 0 else ["--max-steps", "2"])]
            if side == "pairft":
                command = [str(HERE / "pairft_side.py"), str(output), *flags]
                command += ["--runs-dir", str(runs), "--run-name", "run", "--device", "cpu", "--lr", "5e-5"]
            else:
                command = [str(HERE / "trainer_side.py"), *flags, "--folder", str(runs), "--output", str(output)]
                command += ["--group-by-length"] * (side != "Trainer")
            found = measure([sys.executable, *command], output, scratch / f"{stem}.log")
            found["step_ms"] = 1000 * job.batch_size / found["train_examples_per_second"]
            if number >= 0:
                measured.append(found)
                print(f"{stem}: {found['whole']:.1f} s", file=sys.stderr, flush=True)
    floor = {"operations": operations(str(model), data, job.batch_size), "rate": matrix_rate()}
    return {"job": {**asdict(job), "amount": " ".join(amount), "data": data.name}, "floor": floor, "sides": sides}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of parquet files; default: the builtin pairs")
    parser.add_argument("--epochs", type=int, help="of the first job alone, whole epochs instead of some steps")
    parser.add_argument("--job", type=int, help="one job alone, counted from 1; of the GPU's, 4 is the whole training")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES), help="Trainer and pairft among them")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--gpu", action="store_true", help="the jobs for a GPU instead")
    parser.add_argument("--json", type=Path, help="where the figures go, too")
    args = parser.parse_args()

    if args.gpu:
        finish(compare_gpu.compare(args.repeats, args.job), args.repeats, compare_gpu.table, args.json)
        return
    jobs = JOBS[:1] if args.epochs else JOBS if args.job is None else JOBS[args.job - 1 : args.job]
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        data = args.data
        if data is None:
            data = scratch / "builtin"
            data.mkdir()
            for split in ("train", "validation"):
                builtin.pairs(split).to_parquet(data / f"{split}-00000-of-00001.parquet")
        done = []
        for job in jobs:
            model = builtin.model_folder() if job.encoder == "minilm" else write_encoder(scratch / job.encoder)
            amount = ["--epochs", str(args.epochs)] if args.epochs else ["--max-steps", str(job.max_steps)]
            done.append(run_job(job, amount, args.sides, model, data, scratch, args.repeats))
    finish({"jobs": done}, args.repeats, table, args.json)


def finish(found: dict[str, Any], repeats: int, table: Callable[[dict[str, Any]], str], file: Path | None) -> None:
    """Print the table of what was found; write it with date and versions to the file."""
    content = {"date": time.strftime("%Y-%m-%d"), "machine": machine(), "repeats": repeats, **found}
    print(table(content))
    if file:
        file.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def ratio(theirs: list[float], ours: list[float]) -> str:
    """The median over runs made in turn, and between which it lies; empty where there is nothing to divide by."""
    if not all(theirs):
        return ""
    found = sorted(b / a for a, b in zip(theirs, ours, strict=True))
    spread = f" ({found[0]:.2f} to {found[-1]:.2f})" if f"{found[0]:.2f}" != f"{found[-1]:.2f}" else ""
    return f"{statistics.median(found):.2f}{spread}"


def table(content: dict[str, Any]) -> str:
    """The figures for people, as Markdown: medians, and ratios to Trainer."""
    lines = []
    for done in content["jobs"]:
        job, sides, floor = done["job"], done["sides"], done["floor"]
        title = f"{job['encoder']}, {job['data']}, batch {job['batch_size']}, {sides['pairft'][0]['steps']} steps"
        lines += [f"| {title} | {' | '.join(sides)} | pairft to Trainer |", "|---" * (2 + len(sides)) + "|"]
        for key, name, shape in ROWS:
            values = {side: [found[key] for found in sides[side]] for side in sides}
            cells = [shape.format(statistics.median(values[side])) for side in sides]
            lines.append(f"| {name} | {' | '.join(cells)} | {ratio(values['Trainer'], values['pairft'])} |")
        least = 1000 * floor["operations"] / floor["rate"]
        steps = {side: statistics.median(found["step_ms"] for found in sides[side]) for side in sides}
        over = " | ".join(f"{steps[side] / least:.2f}" for side in sides)
        lines += [
            f"| time per step, relative to the floor of {least:.0f} ms: {floor['operations']:.3g} operations at "
            f"{floor['rate'] / 1e9:.0f} GFLOP/s | {over} | |",
            "",
        ]
    machine = ", ".join(f"{name} {value}" for name, value in content["machine"].items())
    times = "once" if content["repeats"] == 1 else f"{content['repeats']} times, alternating"
    return "\n".join([*lines, f"Each side {times}, {content['date']}: {machine}.", ""])


if __name__ == "__main__":
    main()
