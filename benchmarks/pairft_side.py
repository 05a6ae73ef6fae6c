"""The same job by train.py: one process of compare_trainer.py. Only the clock is added, around the parts that train.py
imports, so that the first step's end and the time of an evaluation can be told. The modules of the metrics, imported at
the first evaluation, have a figure of their own: Trainer's script imports them at its start."""

import gc
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import train

output, *flags = sys.argv[1:]
first_step_ended: list[float] = []
evaluations: list[tuple[int, float]] = []  # rows, seconds; the model's pass, and the scores
late_imports: list[float] = []  # seconds


def train_with_clock(*args):
    """train.train, with a clock around update, predict and compute_metrics. It starts as train.train does, with the
    garbage collector off."""
    gc.disable()
    from pairft.training import evaluation, step

    update, predict, compute_metrics = step.update, evaluation.predict, evaluation.compute_metrics

    def first(*args, **kwargs):
        result = update(*args, **kwargs)
        if not first_step_ended:
            first_step_ended.append(time.time())
        return result

    def timed(model, dataset, *args, **kwargs):
        began = time.perf_counter()
        result = predict(model, dataset, *args, **kwargs)
        evaluations.append((len(dataset), time.perf_counter() - began))
        return result

    def scored(*args, **kwargs):
        began = time.perf_counter()
        import pairft.training.metrics  # noqa: F401

        ready = time.perf_counter()
        late_imports.append(ready - began)
        result = compute_metrics(*args, **kwargs)
        evaluations.append((0, time.perf_counter() - ready))
        return result

    step.update, evaluation.predict, evaluation.compute_metrics = first, timed, scored
    return plain_train(*args)


plain_train, train.train = train.train, train_with_clock
code = train.main(flags)
assert code == 0, code

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: E402  (after the clock)

folder = Path(flags[flags.index("--runs-dir") + 1]) / flags[flags.index("--run-name") + 1]
events = EventAccumulator(str(folder))
events.Reload()
tag = "throughput/padding_share"  # absent where nothing is padded
padding = [scalar.value for scalar in events.Scalars(tag)] if tag in events.Tags()["scalars"] else [0.0]
results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
rows, seconds = map(sum, zip(*evaluations, strict=True))
measured = {
    "first_step_ended": first_step_ended[0],
    "late_imports": sum(late_imports),
    "padding": sum(padding) / len(padding),
    "steps": results["train"]["steps"],
    "train_seconds": results["train"]["seconds"],
    "train_examples_per_second": results["train"]["examples_per_second"],
    "eval_examples_per_second": rows / seconds,
    "accuracy": results["last"]["validation"]["accuracy"],
    "f1": results["last"]["validation"]["f1"],
}
Path(output).write_text(json.dumps(measured), encoding="utf-8")
