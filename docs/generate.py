"""Write the parts of the README and of docs/ that come from the code and from benchmarks/results:

    python docs/generate.py

A generated part stands between `<!-- name: … -->` and `<!-- /name -->`. A test checks that all of them are current.
"""

import ast
import json
import re
import statistics
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "docs"), str(ROOT / "benchmarks")]

import compare_trainer  # noqa: E402
import explanation  # noqa: E402
import from_trainer  # noqa: E402
import glossary  # noqa: E402
import kinds  # noqa: E402
import large_data  # noqa: E402
import predict_memory  # noqa: E402
import predict_speed  # noqa: E402
import recipes  # noqa: E402
import scale_arithmetic  # noqa: E402
import scaling  # noqa: E402
import spread  # noqa: E402
import training_arguments  # noqa: E402

from pairft.flags import flag_rows  # noqa: E402

MRPC_STEPS = 1377  # 3 epochs of 3,668 pairs in batches of 8
MRPC_VALIDATION = 408
# Printed by `make parity` and by benchmarks/kill.py, which write no results file; docs/log.md names the day.
EQUAL_NUMBERS = "218 of 218 differences are exactly 0.0"
EQUAL_RUNS = "30 of 30 end with identical weights and results"
# Of `make train` without a Hub, from a fresh clone; docs/log.md names the day, too.
FIRST_RUN = "5 min 14 s, including 100 s of installation"
# A test compares the names with the table in pairft/speed/last_layer.py.
PADDING_FREE = (
    "Padding-free on the CPU: BERT, RoBERTa, XLM-RoBERTa, CamemBERT, ELECTRA, DistilBERT, ALBERT, ModernBERT; other "
    "models are padded. On CUDA it is not measured yet, so ask for it with `--unpad always`."
)


def results(name: str) -> Any:
    return json.loads((ROOT / "benchmarks" / "results" / name).read_text(encoding="utf-8"))


def source_of(path: str, function: str, docstring: bool = True) -> str:
    """The source of a function, with or without its docstring."""
    text = (ROOT / path).read_text(encoding="utf-8")
    found = next(node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef) and node.name == function)
    lines = text.splitlines()
    first = found.body[0] if docstring else found.body[1]
    shown = [*lines[found.lineno - 1 : found.body[0].lineno - 1], *lines[first.lineno - 1 : found.end_lineno]]
    return "```python\n" + "\n".join(shown) + "\n```\n"


def markdown(*rows: tuple[str, ...]) -> str:
    """A Markdown table. The first row is the header."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]]) + "\n"


def flag_table() -> str:
    return markdown(
        ("flag", "default", "meaning"),
        *((f"`{flag}`", default, meaning) for flag, default, meaning in flag_rows()),
    )


def median(job: dict[str, Any], side: str, key: str) -> float:
    return statistics.median(run[key] for run in job["sides"][side])


def throughput(job: dict[str, Any]) -> tuple[str, str]:
    """Trainer's examples/s at a job's batch size, and how many times as many pairft trains, run by run."""
    key, size = "train_examples_per_second", job["job"]["batch_size"]
    theirs, ours = ([run[key] for run in job["sides"][side]] for side in ("Trainer", "pairft"))
    times, spread = compare_trainer.ratio(theirs, ours).split(" ", 1)
    return f"{statistics.median(theirs):.1f} at batch {size}", f"**{times} ×** {spread} at batch {size}"


def measured() -> str:
    """The README's comparison with Trainer."""
    speed = results("cpu-speed.json")
    theirs, ours = zip(*map(throughput, speed["jobs"][:2]), strict=True)
    parity = (ROOT / "docs" / "parity.md").read_text(encoding="utf-8")
    found = re.findall(r"^\| 8 \| (\d×\d) \| ([\d.]+) \| [\d.]+ \| ([\d.]+) \|", parity, re.MULTILINE)
    splits, their_losses, our_losses = zip(*found, strict=True)
    machine = speed["machine"]
    table = markdown(
        ("", "Trainer", "pairft", "measured by"),
        ("[training throughput](docs/benchmarks.md), examples/s", ", ".join(theirs), ", ".join(ours), "`make bench`"),
        ("[same numbers](docs/parity.md), with `--preset trainer`", "the reference", EQUAL_NUMBERS, "`make parity`"),
        (
            f"loss of the same 8 examples as {', '.join(splits)} (batch size × micro-batches)",
            ", ".join(their_losses),
            ", ".join(our_losses),
            "`benchmarks/accumulation.py`",
        ),
        (
            "[runs killed](docs/reliability.md) at random moments, then resumed",
            "not measured",
            EQUAL_RUNS,
            "`benchmarks/kill.py`",
        ),
    )
    where = f"{machine['cores']} CPU cores, torch {machine['torch']}"
    runs = f"median of {speed['repeats']} runs and range of the ratio, {speed['date']}"
    return f"{table}\nThroughput: MiniLM on MRPC in fp32, {where}; {runs}.\n{PADDING_FREE}\n"


def minutes(seconds: float) -> str:
    return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"


def durations() -> str:
    """How long three runs of 3 epochs take."""
    [mrpc] = results("cpu-mrpc.json")["jobs"]
    assert mrpc["sides"]["pairft"][0]["steps"] == MRPC_STEPS
    base = next(job for job in results("cpu-speed.json")["jobs"] if job["job"]["encoder"] == "bert-base")
    step, rate = median(base, "pairft", "step_ms"), median(base, "pairft", "eval_examples_per_second")
    estimate = MRPC_STEPS * step / 1000 + 3 * MRPC_VALIDATION / rate
    whole = {side: median(mrpc, side, "whole") for side in ("Trainer", "pairft")}
    return markdown(
        ("3 epochs, evaluated after each", "2 CPU cores", "GPU"),
        ("`make train` without the Hub: MiniLM on the builtin pairs", FIRST_RUN, "not measured yet"),
        (
            "`--model builtin`: MiniLM on MRPC",
            f"{minutes(whole['pairft'])} (Trainer: {minutes(whole['Trainer'])})",
            "not measured yet",
        ),
        (
            "`make train` with the Hub: bert-base-uncased on MRPC",
            f"about {estimate / 60:.0f} min, estimated from {step / 1000:.2f} s per step",
            "not measured yet",
        ),
    )


def ending() -> str:
    """The last lines of a run in recipes.json, which holds its best and its last evaluation."""
    from pairft.runs.log import table

    run = results("recipes.json")["groups"]["default"]["summary"]["runs"]["2"]
    lines = [
        {"step": found["step"], "epoch": found["epoch"], **found["validation"]} for found in (run["best"], run["last"])
    ]
    head, best, last = table(lines, run["best"]["step"]).splitlines()
    first = f"{'1.00':>6} {'459':>7}       ..."
    place = "best: runs/RUN/best  (tensorboard --logdir runs shows the run)"
    return "\n".join(["```", head, first, best, last, "f1 of 'equivalent'", place, "```", ""])


def reading() -> str:
    """How many lines to read to follow a pair from text to checkpoint."""
    names = (
        *("data/pairs.py", "data/tokens.py", "data/targets.py", "data/batches.py", "model/classifier.py"),
        *("training/learner.py", "training/optim.py", "training/state.py", "training/step.py", "training/loop.py"),
        *("training/evaluation.py", "training/metrics.py", "runs/run.py"),
    )
    paths = [ROOT / "train.py", *(ROOT / "pairft" / name for name in names)]
    lines = sum(len([line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]) for path in paths)
    files = f"`train.py` and {len(names)} files of `pairft/`"
    return f"To follow a pair from text to checkpoint, read {files}: {lines:,} lines.\n"


def csv_speed() -> str:
    """How fast a large csv file is read, and with how much memory."""
    found = results("read-files.json")
    first, size, cores = found["first"], found["megabytes"], found["cores"]
    return (
        f"A csv file of {size:,.0f} MB is read at {first['megabytes_per_second']:.0f} MB/s on {cores} cores, with "
        f"{first['peak_megabytes']:.0f} MB of memory (`benchmarks/read_files.py`).\n"
    )


def parts() -> dict[str, dict[str, str]]:
    """The generated parts of each document, by name."""
    return {
        "README.md": {
            "measured": measured(),
            "ending": ending(),
            "durations": durations(),
            "reading": reading(),
            "loop": source_of("pairft/training/loop.py", "fit", docstring=False),
        },
        "docs/data.md": {"csv": csv_speed()},
        "docs/explain.md": {name: explanation.part(name) for name in explanation.LANGUAGES},
        "docs/flags.md": {"flags": flag_table()},
        "docs/from-trainer.md": {
            "cells": from_trainer.markdown(),
            "flags": markdown(*training_arguments.rows()),
            "always": markdown(*training_arguments.grouped(training_arguments.ALWAYS, "instead")),
            "absent": markdown(*training_arguments.grouped(training_arguments.ABSENT, "why")),
        },
        "docs/glossary.md": {"index": glossary.index("en"), "terms": glossary.terms("en")},
        "docs/glossary.fr.md": {"index": glossary.index("fr"), "terms": glossary.terms("fr")},
        "docs/design.md": {"update": source_of("pairft/training/step.py", "update")},
        "docs/benchmarks.md": {
            "speed": compare_trainer.table(results("cpu-speed.json")),
            "mrpc": compare_trainer.table(results("cpu-mrpc.json")),
            "large": large_data.table(results("large-data.json")),
            "predict": predict_speed.table(results("predict-speed.json")),
            "memory": predict_memory.table(results("predict-memory.json")),
        },
        "docs/recipes.md": {
            "seeds": recipes.table(results("recipes.json")),
            "spread": spread.table(results("spread.json")),
            "kinds": kinds.table(results("kinds.json")),
        },
        "docs/scale.md": {
            "scaling": scaling.table(results("scaling.json")) if scaling.RESULTS.exists() else "Not measured yet.\n",
            "traffic": scale_arithmetic.traffic_table(),
            "breaks": scale_arithmetic.breaks(),
            "shard": scale_arithmetic.shard_table(),
        },
    }


def current(text: str, generated: dict[str, str]) -> str:
    """The document with its generated parts brought up to date."""
    for name, content in generated.items():
        pattern = re.compile(rf"(<!-- {name}:[^>]*-->\n).*?(<!-- /{name} -->)", re.DOTALL)
        text, count = pattern.subn(lambda found, content=content: found[1] + content + found[2], text)  # type: ignore[misc]
        assert count == 1, (name, count)
    return text


if __name__ == "__main__":
    for name, generated in parts().items():
        path = ROOT / name
        path.write_text(current(path.read_text(encoding="utf-8"), generated), encoding="utf-8")
    for name, relinked in (("walkthrough.py", glossary.relinked), ("walkthrough.ipynb", glossary.relinked_notebook)):
        path = ROOT / "docs" / name
        path.write_text(relinked(path.read_text(encoding="utf-8")), encoding="utf-8")
