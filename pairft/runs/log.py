"""The log of a run: progress in the terminal, metrics.jsonl, TensorBoard, and the table at the end."""

import functools
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from pairft import disk
from pairft.output import say
from pairft.training import distributed
from pairft.training.state import LogInterval, TrainState, new_interval

if TYPE_CHECKING:
    from tqdm import tqdm

    from pairft.runs.measures import Measures
    from pairft.runs.tensorboard import EventFile
    from pairft.runs.track import Tracker


@dataclass
class RunLog:
    """The log of a run in `folder`. A resumed run keeps the lines of metrics.jsonl that its checkpoint counted and
    writes the later ones again."""

    folder: Path
    total_steps: int  # of the whole run
    num_examples: int | None  # of the training split; None if it isn't known
    config_yaml: str
    first_step: int = 0  # steps done before this process
    num_lines: int = 0  # of metrics.jsonl, including those from before a resume
    resumed: bool = False
    measures: "Measures | None" = None  # TensorBoard's further curves
    tracker: "Tracker | None" = None  # --track
    is_main: bool = True  # otherwise nothing is written or shown: of several processes, only the first one does
    bar: "tqdm[Any] | None" = None  # tqdm's progress bar, in a terminal

    def __post_init__(self) -> None:
        if not self.is_main:
            return
        if self.resumed:
            self.num_lines = cut_back(self.metrics_file, self.num_lines)
        if sys.stderr.isatty():
            from tqdm import tqdm

            self.bar = tqdm(total=self.total_steps, initial=self.first_step, unit="step", dynamic_ncols=True)

    @property
    def metrics_file(self) -> Path:
        return self.folder / "metrics.jsonl"

    @functools.cached_property
    def events(self) -> "EventFile":
        """TensorBoard's file, created with the first log line, since the import takes 0.1 s."""
        from pairft.runs.tensorboard import new_event_file

        return new_event_file(self.folder, self.config_yaml, self.first_step, self.resumed)

    def files(self) -> list[Path]:
        """The files to flush to disk before a checkpoint that counts their lines."""
        return [*self.folder.glob("metrics.jsonl"), *self.folder.glob("events.out.tfevents.*")]

    def log_training(self, state: TrainState, lr: float, grad_norm: Tensor) -> None:
        """Log the steps since the last training line, and start a new log interval. `lr` and `grad_norm` (a float
        tensor []) are those of the latest step."""
        interval = state.interval
        counts = distributed.gathered((interval.tokens, interval.slots))  # of each process
        tokens, slots = map(sum, zip(*counts, strict=True))
        measured = self.measures.scalars(interval, lr, tokens) if self.measures else {}
        state.interval = new_interval(interval.loss_sum.device)
        with distributed.together():  # the disk may be full
            if self.is_main:
                self.write_training(state, interval, lr, grad_norm, tokens, slots, measured)

    def write_training(
        self,
        state: TrainState,
        interval: LogInterval,
        lr: float,
        grad_norm: Tensor,
        tokens: int,
        slots: int,
        measured: dict[str, float],
    ) -> None:
        """Log the steps of `interval`. `tokens`, `slots`: those of all processes. `measured`: more points for
        TensorBoard, by tag."""
        from pairft.runs.tensorboard import training_scalars

        counted = (interval.examples - int(interval.lost)) * interval.losses_of_example
        line: dict[str, Any] = {
            "split": "train",
            "step": state.step,
            "epoch": state.epoch(self.num_examples),
            "loss": float(interval.loss_sum / counted) if counted else math.nan,  # in float32, as cross entropy's mean
            "lr": lr,
            "grad_norm": float(grad_norm),
            "examples_per_second": interval.examples / interval.seconds,
        }
        if state.scaler.is_enabled():
            line["skipped_steps"] = int(interval.skipped)
        scalars = training_scalars(line, tokens / interval.seconds, 1 - tokens / slots)
        self.write(line, {**scalars, **measured})
        self.show_progress(line, seconds_left=(self.total_steps - state.step) * state.seconds / state.step)

    def show_progress(self, line: dict[str, Any], seconds_left: float) -> None:
        """Move the progress bar or, if there is none, print a training line."""
        loss, speed = f"loss {line['loss']:.4f}", f"{line['examples_per_second']:.1f} examples/s"
        if self.bar is None:
            skipped = f"  skipped {line['skipped_steps']} steps" if line.get("skipped_steps") else ""
            say(
                f"step {line['step']}/{self.total_steps}  epoch {line['epoch']:.2f}  {loss}  lr {line['lr']:.2e}  "
                f"{speed}  {seconds_left:.0f} s left{skipped}"
            )
        else:
            self.bar.set_postfix_str(f"{loss}, {speed}", refresh=False)
            self.bar.update(line["step"] - self.bar.n)

    def log_validation(self, evaluation: dict[str, Any], seconds: float) -> None:
        """Log an evaluation, {"step", "epoch", "validation": {"loss": …, metrics}}, with such scores for each further
        split, that took `seconds`."""
        with distributed.together():
            if self.is_main:
                self.write_validation(evaluation, seconds)

    def write_validation(self, evaluation: dict[str, Any], seconds: float) -> None:
        """What `log_validation` does."""
        from pairft.runs.tensorboard import validation_scalars

        when = {name: evaluation[name] for name in ("step", "epoch")}
        for split in (name for name in evaluation if name not in when):
            scores = evaluation[split]
            seconds_once = {"resources/seconds/evaluation": seconds} if split == "validation" else {}
            self.write({"split": split, **when, **scores}, {**validation_scalars(scores, split), **seconds_once})
            shown = "  ".join(f"{name} {value:.4f}" for name, value in scores.items())
            say(f"{split} after step {when['step']}: {shown}")

    def write(self, line: dict[str, Any], scalars: dict[str, float]) -> None:
        """Append a line to metrics.jsonl, and `scalars`, by tag, to TensorBoard's file. Values that aren't finite, such
        as the gradient norm of a skipped step, are null in metrics.jsonl and left out in TensorBoard. Raises OSError,
        which names the run directory if the disk is full."""
        plain = {name: value if math.isfinite(value) else None for name, value in line.items() if name != "split"}
        try:
            if self.num_lines and not self.metrics_file.exists() and self.folder.is_dir():
                say(f"warning: {self.metrics_file} is gone, with {self.num_lines} lines; starting a new one")
                self.num_lines = 0
            with self.metrics_file.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"split": line["split"], **plain}) + "\n")
            self.num_lines += 1
            self.events.add_scalars(scalars, line["step"])
            if self.tracker is not None:
                self.tracker.send(scalars, line["step"], line["split"])
        except OSError as error:
            error.filename = error.filename or str(self.folder)  # it is missing if the disk is full
            raise

    def log_answers(self, step: int, best: dict[str, float]) -> None:
        """Show in TensorBoard what the model answers after `step`, from evaluations/, and the `best` score so far."""
        if self.is_main:
            from pairft.runs import evaluations, mistakes

            self.events.add_scalars({f"learning/metrics_best/{name}": value for name, value in best.items()}, step)
            self.events.add_summaries(mistakes.summaries(evaluations.read(self.folder, step)), step)

    def log_saving(self, step: int, seconds: float) -> None:
        """Show in TensorBoard how long training waited for a checkpoint."""
        self.events.add_scalars({"resources/seconds/save": seconds}, step)

    def hyperparameters(self, values: dict[str, Any], scores: dict[str, float], best: str, finished: bool) -> None:
        """Write TensorBoard's page of hyperparameters: `values`, and the loss and metrics in `scores`. `best`: name of
        the metric whose best value it shows, too."""
        from pairft.runs.tensorboard import validation_scalars

        if self.is_main:
            tags = [f"learning/metrics_best/{best}", *validation_scalars(scores)]
            self.events.add_hyperparameters(values, tags, finished)

    def evaluations(self, last: dict[str, Any]) -> list[dict[str, Any]]:
        """The validation lines of metrics.jsonl or, if someone has removed them, only the last evaluation."""
        here = {"step": last["step"], "epoch": last["epoch"], **last["validation"]}
        try:
            texts = self.metrics_file.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return [here]
        lines = [line for line in map(parsed, texts) if line.get("split") == "validation"]
        return [line for line in lines if all(isinstance(line.get(name), (int, float)) for name in here)] or [here]

    def close(self, finished: bool = False) -> None:
        """Leave the terminal and the tracker in order. `finished`: the run has ended after its last step."""
        if self.tracker is not None:
            self.tracker.end(finished)
        if self.bar is not None:
            self.bar.close()


def cut_back(path: Path, num_lines: int) -> int:
    """Truncate metrics.jsonl to its first `num_lines` lines. Returns how many are left. What follows them is computed
    again, or was cut short by a crash."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    kept = text.split("\n")[:-1][:num_lines]
    if len(kept) < num_lines:
        say(f"warning: {path} has lost {num_lines - len(kept)} lines")
    disk.write_text(path, "".join(line + "\n" for line in kept))
    return len(kept)


def parsed(text: str) -> dict[str, Any]:
    """A line of metrics.jsonl as a dict; {} if it is damaged."""
    try:
        line = json.loads(text)
    except ValueError:
        return {}
    return line if isinstance(line, dict) else {}


def scores_of(line: dict[str, Any]) -> dict[str, float]:
    """The loss and the metrics in a validation line."""
    return {name: value for name, value in line.items() if name not in ("split", "step", "epoch")}


def table(lines: Sequence[dict[str, Any]], best_step: int) -> str:
    """The evaluations as a table for the terminal. The best one is marked."""
    names = list(scores_of(lines[0]))
    head = f"{'epoch':>6} {'step':>7} " + " ".join(f"{name:>9}" for name in names)
    body = [
        f"{line['epoch']:6.2f} {line['step']:7d} "
        + " ".join(f"{line[name]:9.4f}" for name in names)
        + ("  <- best" if line["step"] == best_step else "")
        for line in lines
    ]
    return "\n".join([head, *body])
