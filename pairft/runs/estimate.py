"""--dry-run: what a run will take in time, memory and disk, computed from what a few of its steps have taken."""

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy

from pairft.config import Config
from pairft.data.order import batch_ends, epoch_order, step_size
from pairft.parsing import Interval
from pairft.runs.checkpoint import KEPT
from pairft.training.loop import Schedule

EPOCHS = 3  # whose batches are looked at; later epochs have the same examples in another order


@dataclass(frozen=True)
class Plan:
    """What a run is going to do. A token of padding counts as one if it is computed."""

    steps: int
    tokens: float  # in all steps
    evaluations: int
    saves: int
    longest: numpy.ndarray  # int [examples], indices of the examples of the micro-batch with the most tokens


@dataclass(frozen=True)
class Measured:
    """What was measured in a dry run. Times are in seconds, sizes in bytes."""

    step_times: Sequence[float]
    step_tokens: Sequence[int]  # computed in each of these steps
    evaluation: float  # one evaluation, computed from the time of a batch
    save: float  # a checkpoint
    keep: float  # a model folder
    memory: int  # at most, so far
    memory_there: int
    checkpoint: int  # without its best model
    model: int  # a model folder
    examples: int  # of the validation split, in evaluations/
    answers: int  # of one evaluation, in evaluations/

    @property
    def rate(self) -> float:
        """Seconds per token."""
        return sum(self.step_times) / sum(self.step_tokens)

    @property
    def spread(self) -> float:
        """Half the range of the steps' seconds per token, relative to `rate`."""
        rates = [time / tokens for time, tokens in zip(self.step_times, self.step_tokens, strict=True)]
        return (max(rates) - min(rates)) / 2 / self.rate


def plan_of(config: Config, schedule: Schedule, lengths: numpy.ndarray, num_examples: int | None, padded: bool) -> Plan:
    """`lengths`: int [examples], the tokens of the training examples or, with --streaming, of the first ones.
    `num_examples`: in an epoch, if it is known. `padded`: batches are padded to their longest example."""
    size, steps, tokens, most = step_size(config), 0, 0, 0
    longest, per_epoch = numpy.zeros(0, numpy.int64), math.inf
    for epoch in range(EPOCHS):
        order = epoch_order(len(lengths), config.seed, epoch)
        ends = numpy.append(numpy.arange(size.batch_size, len(order), size.batch_size), len(order))
        if size.max_tokens is not None:
            ends = batch_ends(order, lengths, size.max_tokens)
        if epoch == 0 and num_examples is not None:
            per_epoch = -(-len(ends) // size.accumulate) * num_examples / len(order)
        ends = ends[: (schedule.total_steps - steps) * size.accumulate]  # of micro-batches
        starts, here = numpy.append(0, ends[:-1]), lengths[order[: ends[-1]].numpy()].astype(numpy.int64)
        found = numpy.maximum.reduceat(here, starts) * (ends - starts) if padded else numpy.add.reduceat(here, starts)
        if found.max() > most:
            most, largest = int(found.max()), int(found.argmax())
            longest = order[starts[largest] : ends[largest]].numpy()
        steps, tokens = steps - (-len(ends) // size.accumulate), tokens + int(found.sum())
        if steps == schedule.total_steps:
            break
    epochs = schedule.total_steps / per_epoch if config.max_steps is not None else config.epochs
    evaluations, saves = (times_due(every, schedule, epochs) for every in (schedule.eval_every, schedule.save_every))
    return Plan(schedule.total_steps, tokens / steps * schedule.total_steps, evaluations, saves, longest)


def times_due(every: Interval, schedule: Schedule, epochs: float) -> int:
    """How often something is due that is due after the last step, too. `epochs`: the length of the run."""
    times = {"never": 1.0, "epoch": epochs}[every] if isinstance(every, str) else schedule.total_steps / every
    return max(1, math.ceil(times))


def table(plan: Plan, found: Measured, runs: int, runs_dir: Path) -> str:
    """The estimate as a table for the terminal. `runs`: the number of runs, with --seeds or --folds."""
    steps, evaluations = plan.tokens * found.rate, plan.evaluations * found.evaluation
    saving = plan.saves * found.save + (plan.evaluations + 1) * found.keep
    step_tokens = plan.tokens / plan.steps
    kept = min(KEPT, plan.saves)
    models = 2 + min(kept, plan.evaluations)  # best/, last/ and, in each checkpoint, a copy of best/
    disk = kept * found.checkpoint + models * found.model + found.examples + plan.evaluations * found.answers
    same = f", {in_bytes(found.model)} less if both have the same best model" * (models == 2 + KEPT)
    free = in_bytes(shutil.disk_usage(runs_dir).free)
    rows = {
        "time": (duration(runs * (steps + evaluations + saving)), f"± {100 * found.spread:.0f} %"),
        "  steps": (
            duration(runs * steps),
            f"{plan.steps:,} of {step_tokens:,.0f} tokens, {step_tokens * found.rate:.3g} s",
        ),
        "  evaluations": (duration(runs * evaluations), f"{plan.evaluations} of {found.evaluation:.3g} s"),
        "  saving": (
            duration(runs * saving),
            f"{plan.saves} checkpoints, {plan.evaluations} times best/ at most, last/",
        ),
        "memory": (in_bytes(found.memory), f"of {in_bytes(found.memory_there)}, with the longest micro-batch"),
        "disk": (in_bytes(runs * disk), f"best/, last/, {kept} checkpoints{same}"),
        "  while saving": (in_bytes(runs * disk + found.checkpoint + found.model), f"at most; {free} are free"),
    }
    lines = [f"{name:<15} {value:>12}  {text}" for name, (value, text) in rows.items()]
    lines += [f"time and disk: of all {runs} runs together"] * (runs > 1)
    about = f"half the range of the seconds per token in {len(found.step_times)} steps; the start is not counted"
    return "\n".join([*lines, f"±: {about}"])


def duration(seconds: float) -> str:
    """A duration in words, with two units: 5 min 14 s."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def in_bytes(number: float) -> str:
    """A number of bytes in words."""
    return f"{number / 1e9:.2f} GB" if number >= 1e8 else f"{number / 1e6:.1f} MB"
