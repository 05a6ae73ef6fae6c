"""--dry-run: the start of a run as it is, a few steps, two batches of an evaluation, a save and a load, in a temporary
folder; then an estimate of what the whole run takes."""

import contextlib
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairft import disk
from pairft.command import stopped_by_signals
from pairft.config import Config
from pairft.errors import Diverged, UserError
from pairft.output import say
from pairft.runs.seeds import Group, runs_of
from pairft.runs.signals import StopRequest

if TYPE_CHECKING:
    import numpy
    import torch
    from datasets import Dataset

    from pairft.data.batches import StepData
    from pairft.runs.estimate import Measured, Plan
    from pairft.training.evaluation import EvalOutput
    from pairft.training.learner import Learner

LEAST, ENOUGH, MOST = 2, 2.0, 20  # timed steps: at least 2, more while they take less than 2 s together, at most 20


def dry_run(config: Config, argv: Sequence[str], train: Callable[..., int]) -> int:
    """Call `train` (train.py) with a temporary folder as the place of the run; `open_run` calls `measure` in it. Of
    several runs, with --seeds or --folds, it is the first. Returns the exit code. Nothing is left behind."""
    runs = list(runs_of(config).values()) if config.is_group else [config]
    began = time.perf_counter()
    with stopped_by_signals(), temporary_folder(disk.expanded(config.runs_dir)) as place:
        group = Group(place, None, len(runs), StopRequest())
        code = train(replace(runs[0], run_name="dry-run"), None, argv, group)
    say(f"this dry run took {time.perf_counter() - began:.1f} s, its start included; nothing is left of it")
    return code


@contextlib.contextmanager
def temporary_folder(runs_dir: Path) -> Iterator[Path]:
    """A folder on the disk of the run directories, which is removed at the end, also after a signal."""
    place = Path(tempfile.mkdtemp(prefix=".dry-run-", dir=runs_dir))
    try:
        yield place
    finally:
        shutil.rmtree(place)


def measure(run: Any, runs: int) -> None:
    """Try out each part of a run (run.py, which imports this module), and print the estimate. `runs`: the number of
    runs, with --seeds or --folds."""
    from pairft.data.batches import lengths_of
    from pairft.runs import estimate

    lengths, padded = lengths_of(run.sources.tokens["train"]), run.learner.layout != "padding-free"
    plan = estimate.plan_of(run.config, run.schedule, lengths, run.sources.num_examples, padded)
    print(estimate.table(plan, measured(run, plan, padded), runs, run.directory))
    if run.sources.stream is not None:
        say("note: --streaming: the tokens are those of the first rows, and reading the others is not counted")
    if run.config.patience is not None:
        say("note: --patience may end the run earlier")


def measured(run: Any, plan: "Plan", padded: bool) -> "Measured":
    """Time some steps, two batches of an evaluation and a save, load the checkpoint, and measure memory and disk."""
    from pairft.runs import checkpoint, estimate, evaluations, restore, scoring

    learner, config, state, tokens = run.learner, run.config, run.learner.state, run.sources.tokens
    times, step_tokens = timed_steps(learner, config, tokens["train"], plan, padded)
    evaluation, outputs = timed_evaluation(learner, config, tokens)
    scores, _ = scoring.scored(config, run.sources.pairs, outputs)
    state.last = state.best = {"step": state.step, "epoch": 0.0, **scores}
    keep = timed(lambda: run.keep_model("best", state.best, run.weights()))
    save = timed(lambda: (run.save(state), run.writer.wait()))
    if not restore.restore(run.directory, state):
        raise UserError(f"{run.directory.parent.parent}: a checkpoint can't be saved and read again; see the warning")
    [folder] = checkpoint.whole_checkpoints(run.directory / "checkpoints")
    checkpoint_size = disk.size_of(folder) - disk.size_of(folder / "best")
    run.keep_answers(made_up_answers(tokens, state.model.config.num_labels), state.step)
    kept = run.directory / evaluations.FOLDER
    answers = sum(path.stat().st_size for path in kept.glob("*-step-*"))
    sizes = checkpoint_size, disk.size_of(run.directory / "best"), disk.size_of(kept) - answers, answers
    return estimate.Measured(times, step_tokens, evaluation, save, keep, *memory(learner.device), *sizes)


def timed(work: Callable[[], Any]) -> float:
    """The seconds that it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def timed_steps(
    learner: "Learner", config: Config, dataset: "Dataset", plan: "Plan", padded: bool
) -> tuple[list[float], list[int]]:
    """Train on a step of the run, which isn't timed, since libraries are loaded in it; on the longest micro-batch; and
    on further steps. Returns the seconds and the computed tokens of these further ones."""
    from pairft.data.batches import Position, training_steps
    from pairft.data.order import step_size
    from pairft.training.optim import lr_schedule
    from pairft.training.step import check_finite

    state, lr_at = learner.state, lr_schedule(config, plan.steps)
    how = learner.collate, config.seed, step_size(config), Position(), config.preset == "trainer"
    steps = training_steps(dataset, *how)

    def trained(data: "StepData") -> int:  # returns the number of tokens
        learner.update(data.micro_batches, data.num_examples, lr_at(min(state.step, plan.steps - 1)))
        state.step += 1
        check_finite(int(state.bad_steps), state.step, state.scaler.is_enabled())  # waits for the device
        return sum(batch.input_ids.numel() if padded else batch.num_tokens for batch in data.micro_batches)

    state.model.train()
    trained(next(steps))
    learner.update([learner.collate(dataset[plan.longest.tolist()])], len(plan.longest), 0.0)  # changes no weights
    times: list[float] = []
    tokens: list[int] = []
    while len(times) < LEAST or (sum(times) < ENOUGH and len(times) < MOST):
        began = time.perf_counter()
        tokens.append(trained(next(steps)))
        times.append(time.perf_counter() - began)
    return times, tokens


@dataclass(frozen=True)
class Rows:
    """Some rows of a tokenised split, as a data set."""

    dataset: "Dataset"
    indices: "numpy.ndarray"  # int64 [rows]
    lengths: "numpy.ndarray"  # int32 [rows], in tokens

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, rows: Sequence[int]) -> Any:
        return self.dataset[self.indices[list(rows)].tolist()]


def timed_evaluation(
    learner: "Learner", config: Config, tokens: Mapping[str, "Dataset"]
) -> tuple[float, dict[str, "EvalOutput"]]:
    """Evaluate two batches of each split that is scored: that of the longest examples, and one from the middle, which
    is timed. Returns the seconds that all examples take, and the outputs of the batches from the middle."""
    import numpy

    from pairft.data.batches import EVALUATION_TOKENS, lengths_of
    from pairft.tasks import scored_splits
    from pairft.training import evaluation

    seconds, outputs = 0.0, {}
    for split in scored_splits(tokens):
        lengths = lengths_of(tokens[split])
        order = (-lengths).argsort(kind="stable")
        for start in (0, len(order) // 2):
            indices = order[start : start + max(1, EVALUATION_TOKENS // int(lengths[order[start]]))]
            rows: Any = Rows(tokens[split], indices, lengths[indices])
            how = learner.collate, learner.device, learner.amp_dtype, config.preset == "trainer"
            began = time.perf_counter()
            outputs[split] = evaluation.predict(learner.state.model, rows, *how)
            if not numpy.isfinite(outputs[split].logits).all():
                raise Diverged(learner.state.step, f"a logit of the {split} split")
        seconds += (time.perf_counter() - began) * int(lengths.sum()) / int(rows.lengths.sum())
    return seconds, outputs


def made_up_answers(tokens: Mapping[str, "Dataset"], classes: int) -> dict[str, "EvalOutput"]:
    """Random answers to each split that is scored, for the size of their files."""
    import numpy

    from pairft.tasks import scored_splits
    from pairft.training.evaluation import EvalOutput

    outputs = {}
    for split in scored_splits(tokens):
        labels = numpy.asarray(tokens[split]["label"])
        noise = numpy.random.default_rng(0).normal(size=(len(labels), classes + 1)).astype(numpy.float32)
        outputs[split] = EvalOutput(noise[:, 1:], noise[:, 0], labels)
    return outputs


def memory(device: "torch.device") -> tuple[int, int]:
    """Bytes of memory used at most so far, and there in all: on the GPU, or of this process."""
    import torch

    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device), torch.cuda.get_device_properties(device).total_memory
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak *= 1 if sys.platform == "darwin" else 1024
    return peak, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
