"""HF Trainer and `train.py --preset trainer` side by side: each step's loss, and the difference (make parity).

On some of the builtin pairs, unless --data names a folder with the columns of the task. Exits with 1 unless every
difference is exactly 0.
"""

import argparse
import itertools
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from pairft.config import Config  # noqa: E402
from pairft.data import batches, builtin, lengths, tokens  # noqa: E402
from pairft.data.pairs import load_pairs  # noqa: E402
from pairft.model import classifier as model  # noqa: E402
from pairft.tasks import PAIR, TASKS  # noqa: E402
from pairft.training import evaluation  # noqa: E402

TRAIN_ROWS, VALIDATION_ROWS = 207, 61  # of the builtin pairs: 26 steps an epoch, the last of 7 examples

Row = dict[str, Any]


@dataclass(frozen=True)
class Comparison:
    """Both sides' numbers. A step: step, loss, grad_norm, lr; an evaluation: step, loss and metrics, and its split if
    there are two."""

    their_steps: list[Row]
    our_steps: list[Row]
    their_evaluations: list[Row]
    our_evaluations: list[Row]
    weights: float  # the largest difference of a final weight
    logits: float  # the largest difference of a logit that they give on the validation split

    def differences(self) -> list[float]:
        """Of every number there is; infinite where one side has a row that the other lacks."""
        found = [self.weights, self.logits]
        for theirs, ours in ((self.their_steps, self.our_steps), (self.their_evaluations, self.our_evaluations)):
            found += [math.inf] * abs(len(theirs) - len(ours))
            found += [a[key] - b[key] for a, b in zip(theirs, ours, strict=False) for key in a if key != "split"]
        return found


def compare(encoder: str, data: Path, scratch: Path, flags: Sequence[str], threads: int | None = None) -> Comparison:
    """Run both on the same job, side by side, each in its own process; `flags` are known to both."""
    theirs, ours = scratch / "theirs", scratch / "ours"
    theirs.mkdir(parents=True)
    common = ["--model", encoder, "--data", str(data), *flags]
    own = ["--log-every", "1", "--save-every", "never", "--runs-dir", str(ours), "--run-name", "run"]
    commands = [
        [str(ROOT / "benchmarks" / "trainer_reference.py"), *common, "--output", str(theirs)],
        [str(ROOT / "train.py"), *common, "--preset", "trainer", "--device", "cpu", *own],
    ]
    environment = {**os.environ, **({"OMP_NUM_THREADS": str(threads)} if threads else {})}
    started = [
        subprocess.Popen([sys.executable, *command], env=environment, text=True, stdout=-1, stderr=-1)
        for command in commands
    ]
    for process in started:
        _, errors = process.communicate()
        if process.returncode:
            raise RuntimeError(f"{process.args} failed:\n{errors[-3000:]}")
    numbers = json.loads((theirs / "numbers.json").read_text(encoding="utf-8"))
    tensors = load_file(theirs / "tensors.safetensors")
    lines = [json.loads(line) for line in (ours / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    steps = [line for line in lines if line["split"] == "train"]
    evaluations = [line for line in lines if line["split"] != "train"]
    their_evaluations = numbers["evaluations"]
    if not their_evaluations or their_evaluations[-1]["step"] != numbers["final"]["step"]:
        their_evaluations.append(numbers["final"])  # pairft always evaluates after the last step
    results = json.loads((ours / "run" / "results.json").read_text(encoding="utf-8"))
    weights = load_file(ours / "run" / "last" / "model.safetensors")
    missing = {name.removeprefix("model/") for name in tensors.keys() - {"logits"}} ^ weights.keys()
    assert not missing, missing
    return Comparison(
        their_steps=numbers["steps"],
        our_steps=steps,
        their_evaluations=their_evaluations,
        our_evaluations=evaluations,
        weights=max(largest(tensors[f"model/{name}"], tensor) for name, tensor in weights.items()),
        logits=largest(tensors["logits"], logits_of(ours / "run" / "last", data, results["task"])),
    )


def largest(a: torch.Tensor, b: torch.Tensor) -> float:
    return (a - b).abs().max().item()


def logits_of(folder: Path, data: Path, task: str) -> torch.Tensor:
    """What a saved model says of the validation split, in the batches that Trainer makes: float32 [rows, classes]."""
    columns = PAIR if task == "custom" else None
    pairs = load_pairs(Config(model=str(folder), data=str(data), task=task, text_columns=columns))
    tokenizer, config = model.load_tokenizer(str(folder))
    rows = tokens.tokenise(pairs, tokenizer, lengths.length_limit(tokenizer, config))["validation"]
    classifier, *_ = model.load_model(str(folder), pairs.label_names, "trained", pairs.problem_type)
    for parameter in classifier.parameters():  # unaligned in a mapped file, which may change a last bit
        parameter.data = parameter.data.clone()
    cpu = torch.device("cpu")
    outcome = evaluation.predict(classifier, rows, batches.collate_for(tokenizer, cpu), cpu, None, as_trainer=True)
    return torch.from_numpy(outcome.logits)


def write_pairs(folder: Path, rows: int = TRAIN_ROWS, task: str = "mrpc") -> Path:
    """A folder with the first of the builtin pairs, in the columns of a task."""
    folder.mkdir(parents=True)
    for split, source in TASKS[task].splits.items():
        if split != "test":
            drawn = builtin.draw_rows("test" if split == "validation_mismatched" else split)
            number = rows if split == "train" else VALIDATION_ROWS
            text = "".join(json.dumps(as_in(task, row)) + "\n" for row in itertools.islice(drawn, number))
            (folder / f"{source}.jsonl").write_text(text, encoding="utf-8")
    return folder


def as_in(task: str, row: Row) -> Row:
    """A builtin pair as a row of a task. A regression is of the share of words that the sentences have in common; a
    third class is of the equivalent pairs that have few. For custom, a row has several labels."""
    first, second = (set(row[name].lower().split()) for name in ("sentence1", "sentence2"))
    shared = len(first & second) / len(first | second)
    if task == "custom":
        held = {"equivalent": row["label"], "long": len(first) > 8, "near": shared > 0.5}
        return {**{name: row[name] for name in PAIR}, "label": [name for name, yes in held.items() if yes]}
    columns, names = TASKS[task].text_columns or (), TASKS[task].label_names
    label = 5 * shared if names is None else row["label"] + (len(names) == 3 and row["label"] and shared < 0.5)
    return {**dict(zip(columns, (row["sentence1"], row["sentence2"]), strict=False)), "label": label}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="folder of an encoder; default: the packaged one")
    parser.add_argument("--task", default="mrpc", choices=("mrpc", "sst2", "stsb", "mnli"))
    parser.add_argument("--data", type=Path, help="folder of its files")
    parser.add_argument("--epochs", default="2")
    parser.add_argument("--max-steps")
    parser.add_argument("--eval-every", default="epoch", help="epoch, never, or a number of steps")
    parser.add_argument("--seed", default="42")
    args = parser.parse_args()
    flags = ["--task", args.task, "--epochs", args.epochs, "--eval-every", args.eval_every, "--seed", args.seed]
    flags += ["--max-steps", args.max_steps] if args.max_steps else []
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        data = args.data or write_pairs(scratch / "pairs", task=args.task)
        found = compare(args.model or str(builtin.model_folder()), data, scratch / "both", flags)
    print(f"{'step':>6} {'loss: Trainer':>20} {'pairft':>20} {'difference':>11} {'of grad norm':>12} {'of lr':>6}")
    for a, b in zip(found.their_steps, found.our_steps, strict=True):
        norm, rate = a["grad_norm"] - b["grad_norm"], a["lr"] - b["lr"]
        print(f"{a['step']:6} {a['loss']:20.16f} {b['loss']:20.16f} {a['loss'] - b['loss']:11g} {norm:12g} {rate:6g}")
    metric = str(TASKS[args.task].main_metric)
    print(f"\n{'after':>6} {metric + ': Trainer':>20} {'pairft':>20} {'difference':>11} {'of loss':>12}")
    for a, b in zip(found.their_evaluations, found.our_evaluations, strict=True):
        loss = a["loss"] - b["loss"]
        print(f"{a['step']:6} {a[metric]:20.16f} {b[metric]:20.16f} {a[metric] - b[metric]:11g} {loss:12g}")
    differences = found.differences()
    equal = all(difference == 0.0 for difference in differences)
    print(f"\nlargest difference of a final weight: {found.weights:g}; of a logit on validation: {found.logits:g}")
    print(f"{len(differences)} differences, {'each exactly 0.0' if equal else 'NOT all 0'}")
    return 0 if equal else 1


if __name__ == "__main__":
    sys.exit(main())
