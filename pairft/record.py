"""What a person sees of a run: the bar or plain lines, metrics.jsonl, TensorBoard, the table at the end."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pairft.state import TrainState, Window

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter
    from tqdm import tqdm


@dataclass
class Record:
    """What a run has to show. TensorBoard's writer, slow to import, opens with the first line."""

    folder: Path
    total_steps: int
    num_rows: int  # of the training part
    settings: str  # the config as YAML
    first_step: int = 0  # steps already done by the run that this one goes on with
    resumed: bool = False
    bar: "tqdm[Any] | None" = None
    _writer: "SummaryWriter | None" = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if (self.folder / "metrics.jsonl").exists():
            kept = [line for line in self.lines() if line["step"] <= self.first_step]  # the rest is trained again
            part = self.folder / ".metrics.jsonl.part"
            part.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf-8")
            os.replace(part, self.folder / "metrics.jsonl")
        if sys.stderr.isatty():
            from tqdm import tqdm

            self.bar = tqdm(total=self.total_steps, initial=self.first_step, unit="step", dynamic_ncols=True)

    def lines(self) -> list[dict[str, Any]]:
        """What metrics.jsonl holds; a line cut short by a crash is left out."""
        path = self.folder / "metrics.jsonl"
        texts = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
        return [json.loads(text) for text in texts]

    def say(self, text: str) -> None:
        """A line for the person, above the bar."""
        if self.bar is not None:
            self.bar.write(text, file=sys.stderr)
        else:
            sys.stderr.write(text + "\n")

    def training(self, state: TrainState, lr: float, grad_norm: Tensor) -> None:
        """The line of the steps since the last one; a new window begins."""
        window, epoch, norm = state.window, state.epoch(self.num_rows), float(grad_norm)
        loss, speed = float(window.loss_sum) / window.examples, window.examples / window.seconds
        line = {
            "split": "train", "step": state.step, "epoch": epoch, "loss": loss, "lr": lr,
            "grad_norm": norm, "examples_per_second": speed,
        }  # fmt: skip
        self.write(
            line,
            {
                "train/loss": loss,
                "train/lr": lr,
                "train/grad_norm": norm,
                "train/epoch": epoch,
                "speed/examples_per_second": speed,
                "speed/tokens_per_second": window.tokens / window.seconds,
                "padding/share": 1 - window.tokens / window.slots,
            },
        )
        state.window = Window(torch.zeros_like(window.loss_sum))
        if self.bar is None:
            left = (self.total_steps - state.step) * state.seconds / state.step
            self.say(
                f"step {state.step}/{self.total_steps}  epoch {epoch:.2f}  loss {loss:.4f}  lr {lr:.2e}  "
                f"{speed:.1f} examples/s  {left:.0f} s left"
            )
        else:
            self.bar.set_postfix_str(f"loss {loss:.4f}, {speed:.1f} examples/s", refresh=False)
            self.bar.update(state.step - self.bar.n)

    def validation(self, outcome: dict[str, Any], seconds: float) -> None:
        """The line of an evaluation: {"step", "epoch", "validation": {"loss": …, metrics}}."""
        step, epoch, scores = outcome["step"], outcome["epoch"], outcome["validation"]
        line = {"split": "validation", "step": step, "epoch": epoch, **scores}
        scalars = {f"validation/{name}": value for name, value in scores.items()}
        self.write(line, {**scalars, "speed/validation_seconds": seconds})
        shown = "  ".join(f"{name} {value:.4f}" for name, value in scores.items())
        self.say(f"validation after step {step}: {shown}")

    def write(self, line: dict[str, Any], scalars: dict[str, float]) -> None:
        """A line of metrics.jsonl, and TensorBoard's scalars at its step."""
        with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        writer = self.writer()
        for name, value in scalars.items():
            writer.add_scalar(name, value, line["step"])
        writer.flush()

    def writer(self) -> "SummaryWriter":
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            purge = self.first_step + 1 if self.resumed else None
            self._writer = SummaryWriter(str(self.folder), purge_step=purge)
            self._writer.add_text("config", "```yaml\n" + self.settings + "```")
        return self._writer

    def hyperparameters(self, values: dict[str, Any], scores: dict[str, float]) -> None:
        """TensorBoard's page of hyperparameters, beside the scores that are scalars already. It goes to the run's own
        event file; add_hparams would make it another run."""
        from torch.utils.tensorboard.summary import hparams

        kinds = (bool, int, float, str)
        plain = {name: value if isinstance(value, kinds) else str(value) for name, value in values.items()}
        for summary in hparams(plain, {f"validation/{name}": value for name, value in scores.items()}):
            self.writer()._get_file_writer().add_summary(summary)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
        if self._writer is not None:
            self._writer.close()


def scores_of(line: dict[str, Any]) -> dict[str, float]:
    """Loss and metrics of a validation line."""
    return {name: value for name, value in line.items() if name not in ("split", "step", "epoch")}


def table(lines: Sequence[dict[str, Any]], best_step: int) -> str:
    """The evaluations as a table for the terminal, the best one marked."""
    names = list(scores_of(lines[0]))
    head = f"{'epoch':>6} {'step':>7} " + " ".join(f"{name:>9}" for name in names)
    body = [
        f"{line['epoch']:6.2f} {line['step']:7d} "
        + " ".join(f"{line[name]:9.4f}" for name in names)
        + ("  <- best" if line["step"] == best_step else "")
        for line in lines
    ]
    return "\n".join([head, *body])
