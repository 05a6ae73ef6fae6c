"""Memory and start-up time with few and with very many rows, tokenised before training and with --streaming:

    python benchmarks/large_data.py --rows 10000 10000000

Makes a folder of short pairs, trains a tiny encoder with random weights for 1,000 steps, twice each, in new processes
and with a cache of its own, and reads RssAnon when the last step is logged. 10 million rows take 7 minutes and 5 GB of
disk.
"""

import argparse
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

from measure import machine  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "large-data.json"
STEPS = 1000
WORDS = [f"{one}{two}{three}" for one in "bdfghklmnprst" for two in "aeiou" for three in "bdfghklmnprst"]
STATES = ("cold", "warm")  # of the cache: empty, and with the tokens
ROWS_OF_A_SHARD = 1_000_000
WAYS = {"tokenised before": (), "--streaming": ("--streaming",)}


def write_data(folder: Path, rows: int) -> None:
    """Pairs of sentences of 3 to 6 words, in shards of parquet with row groups of 100,000 rows; 200 for validation."""
    import numpy
    import pyarrow
    import pyarrow.compute as pc
    from pyarrow import parquet

    numbers, words = numpy.random.default_rng(1), pyarrow.array(WORDS)

    def sentences(count: int) -> Any:
        columns = [pc.take(words, pyarrow.array(numbers.integers(0, len(WORDS), count))) for _ in range(6)]
        texts = pc.binary_join_element_wise(*columns, " ")
        return pc.utf8_slice_codeunits(texts, 0, 23)

    def write(path: Path, count: int) -> None:
        with parquet.ParquetWriter(path, pyarrow.schema({"a": "string", "b": "string", "y": "int64"})) as file:
            for start in range(0, count, 100_000):
                number = min(100_000, count - start)
                first, second = sentences(number), sentences(number)
                labels = pyarrow.array(numbers.integers(0, 2, number))
                file.write_table(pyarrow.table({"a": first, "b": second, "y": labels}))

    folder.mkdir()
    shards = -(-rows // ROWS_OF_A_SHARD)
    for shard in range(shards):
        count = min(ROWS_OF_A_SHARD, rows - shard * ROWS_OF_A_SHARD)
        write(folder / f"train-{shard:05d}-of-{shards:05d}.parquet", count)
    write(folder / "validation.parquet", 200)


def write_model(folder: Path) -> None:
    """A BERT of one layer and width 32 with random weights, whose vocabulary is WORDS and the letters."""
    from transformers import BertConfig, BertModel, BertTokenizer

    folder.mkdir()
    letters = "abcdefghijklmnopqrstuvwxyz"
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *letters, *(f"##{letter}" for letter in letters)]
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    BertTokenizer(vocab=str(folder / "vocab.txt"), model_max_length=64).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(tokens), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)


def anonymous_mib(process: subprocess.Popen[str]) -> float:
    status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("RssAnon"))


def train(work: Path, data: Path, name: str, flags: tuple[str, ...]) -> dict[str, float]:
    """One run: seconds from the command to the first step's start and to the last step, and RssAnon then."""
    command = [
        sys.executable, str(ROOT / "train.py"), "--model", str(work / "model"), "--data", str(data), "--device", "cpu",
        "--task", "custom", "--text-columns", "a,b", "--label-column", "y", "--max-steps", str(STEPS),
        "--log-every", str(STEPS), "--eval-every", "never", "--save-every", "never",
        "--runs-dir", str(work / "runs"), "--run-name", name, *flags,
    ]  # fmt: skip
    environment = {**os.environ, "HF_HOME": str(work / "cache"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    began = time.time()
    found: dict[str, float] = {}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment)
    assert process.stderr is not None
    lines = []
    for line in process.stderr:
        lines.append(line)
        if f"{STEPS} steps on cpu" in line:
            found["start_seconds"], found["start_mib"] = time.time() - began, anonymous_mib(process)
        if line.startswith(f"step {STEPS}/"):
            found["seconds"], found["mib"] = time.time() - began, anonymous_mib(process)
    if process.wait() != 0:
        raise SystemExit("".join(lines))
    return found


def table(measured: dict[str, Any]) -> str:
    """The figures as a table in Markdown."""
    lines = [
        "| training rows | | start, first time, s | start, tokens cached, s "
        "| RssAnon after 1,000 steps, both times, MiB | more per row, bytes |",
        "|---|---|---|---|---|---|",
    ]
    for way in WAYS:
        runs = [run for run in measured["runs"] if run["way"] == way]
        fewest = min(runs, key=lambda run: run["rows"])
        for run in runs:
            more = run["rows"] - fewest["rows"]
            each = [f"{(run[state]['mib'] - fewest[state]['mib']) * 2**20 / more:.1f}" for state in STATES if more]
            seconds = " | ".join(f"{run[state]['start_seconds']:.1f}" for state in STATES)
            memory = ", ".join(f"{run[state]['mib']:.0f}" for state in STATES)
            lines.append(f"| {run['rows']:,} | {way} | {seconds} | {memory} | {', '.join(each)} |")
    about = measured["machine"]
    where = ", ".join(f"{name} {value}" for name, value in about.items())
    return "\n".join(lines) + f"\n\nOnce each, {measured['date']}: {where}.\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 10_000_000])
    parser.add_argument("--output", type=Path, default=RESULTS)
    args = parser.parse_args()
    measured: dict[str, Any] = {"date": date.today().isoformat(), "machine": machine(), "runs": []}
    with tempfile.TemporaryDirectory(prefix="large-data-") as folder:
        work = Path(folder)
        write_model(work / "model")
        for rows in args.rows:
            data = work / f"data-{rows}"
            write_data(data, rows)
            for way, flags in WAYS.items():
                name = f"{rows}{way[:4].strip('-')}"
                run = {state: train(work, data, f"{name}-{state}", flags) for state in STATES}
                measured["runs"].append({"rows": rows, "way": way, **run})
                print(json.dumps(measured["runs"][-1]), flush=True)
    args.output.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")
    print(table(measured))


if __name__ == "__main__":
    main()
