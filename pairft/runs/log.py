"""What a person sees of a run: the bar or plain lines, metrics.jsonl, TensorBoard, the table at the end."""

import json
import math
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from pairft import disk
from pairft.output import say
from pairft.training.state import TrainState, new_window

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter
    from tqdm import tqdm


@dataclass
class Record:
    """What a run has to show. TensorBoard's writer, slow to import, opens with the first line."""

    folder: Path
    total_steps: int
    num_rows: int  # of the training split
    settings: str  # the config as YAML
    first_step: int = 0  # where the run is resumed: steps done before
    written: int = 0  # lines of metrics.jsonl, those written before a resume among them
    resumed: bool = False
    bar: "tqdm[Any] | None" = None
    _writer: "SummaryWriter | None" = field(default=None, repr=False)

    def __post_init__(self) -> None:
        path = self.folder / "metrics.jsonl"
        if self.resumed:
            text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
            kept = text.split("\n")[:-1][: self.written]  # what follows is trained again, or was cut short by a crash
            if len(kept) < self.written:
                say(f"warning: {path} has lost {self.written - len(kept)} lines")
            self.written = len(kept)
            disk.write_text(path, "".join(line + "\n" for line in kept))
        if sys.stderr.isatty():
            from tqdm import tqdm

            self.bar = tqdm(total=self.total_steps, initial=self.first_step, unit="step", dynamic_ncols=True)

    def evaluations(self, last: dict[str, Any]) -> list[dict[str, Any]]:
        """The validation lines of metrics.jsonl; if someone has removed them, the last evaluation alone."""
        here = {"step": last["step"], "epoch": last["epoch"], **last["validation"]}
        try:
            texts = (self.folder / "metrics.jsonl").read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return [here]
        lines = [line for line in map(parsed, texts) if line.get("split") == "validation"]
        return [line for line in lines if all(isinstance(line.get(name), (int, float)) for name in here)] or [here]

    def files(self) -> list[Path]:
        """Those that a checkpoint counts the lines of: to be on the disk before it is."""
        return [*self.folder.glob("metrics.jsonl"), *self.folder.glob("events.out.tfevents.*")]

    def training(self, state: TrainState, lr: float, grad_norm: Tensor) -> None:
        """The line of the steps since the last one; a new window begins."""
        window, epoch, norm = state.window, state.epoch(self.num_rows), float(grad_norm)
        counted = window.examples - int(window.lost)
        loss = float(window.loss_sum / counted) if counted else math.nan  # in float32, as cross entropy's own mean
        speed = window.examples / window.seconds
        line = {
            "split": "train", "step": state.step, "epoch": epoch, "loss": loss, "lr": lr,
            "grad_norm": norm, "examples_per_second": speed,
        }  # fmt: skip
        if state.scaler.is_enabled():
            line["skipped_steps"] = int(window.skipped)
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
        state.window = new_window(window.loss_sum.device)
        if self.bar is None:
            skipped = f"  skipped {line['skipped_steps']} steps" if line.get("skipped_steps") else ""
            left = (self.total_steps - state.step) * state.seconds / state.step
            say(
                f"step {state.step}/{self.total_steps}  epoch {epoch:.2f}  loss {loss:.4f}  lr {lr:.2e}  "
                f"{speed:.1f} examples/s  {left:.0f} s left{skipped}"
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
        say(f"validation after step {step}: {shown}")

    def write(self, line: dict[str, Any], scalars: dict[str, float]) -> None:
        """A line of metrics.jsonl, and TensorBoard's scalars at its step. What isn't finite, as the gradient of a step
        that the scaler skips, is null and no scalar."""
        plain = {name: value if math.isfinite(value) else None for name, value in line.items() if name != "split"}
        path = self.folder / "metrics.jsonl"
        try:
            if self.written and not path.exists() and self.folder.is_dir():
                say(f"warning: {path} is gone, and {self.written} lines with it; a new one is begun")
                self.written = 0
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"split": line["split"], **plain}) + "\n")
            self.written += 1
            writer = self.writer()
            for name, value in scalars.items():
                if math.isfinite(value):
                    writer.add_scalar(name, value, line["step"])
            writer.flush()
        except OSError as error:
            error.filename = error.filename or str(self.folder)  # a full disk doesn't name it
            raise

    def writer(self) -> "SummaryWriter":
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            order_event_files(self.folder, int(time.time()))
            threading.excepthook = quiet_about_disks
            purge = self.first_step + 1 if self.resumed else None
            self._writer = SummaryWriter(str(self.folder), purge_step=purge)
            if self.first_step == 0:
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


def quiet_about_disks(args: threading.ExceptHookArgs) -> None:
    """No traceback of TensorBoard's thread for a disk in trouble: its next flush raises the error where it is told."""
    if not isinstance(args.exc_value, OSError):
        threading.__excepthook__(args)


def order_event_files(folder: Path, now: int) -> None:
    """Have the names of earlier event files sort before one of second `now`: TensorBoard reads them in the order of
    their names, which begin with a time, and clocks are set back."""
    earlier = sorted(folder.glob("events.out.tfevents.*"), reverse=True)
    for file in earlier:
        stamp, rest = file.name.removeprefix("events.out.tfevents.").split(".", 1)
        if int(stamp) < now:
            break
        now -= 1
        file.rename(file.with_name(f"events.out.tfevents.{now:010d}.{rest}"))


def parsed(text: str) -> dict[str, Any]:
    """A line of metrics.jsonl; {} if it is none."""
    try:
        line = json.loads(text)
    except ValueError:
        return {}
    return line if isinstance(line, dict) else {}


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
