"""The run in TensorBoard: curves, the config as text, and the page of hyperparameters.

TensorBoard groups curves by what precedes the first slash of a tag, and sorts groups and tags by name. What tells how
the model learns is one group, "learning", so that it fills the first page: the losses, the metrics, the gradient norm
and the learning rate. "throughput" follows.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard import summary


@dataclass(frozen=True)
class EventFile:
    """A file that TensorBoard reads. It is opened for each write and written in the calling thread, so that a full disk
    raises OSError here; torch's SummaryWriter has a thread for it, which prints a traceback of its own."""

    path: Path

    def add_scalars(self, scalars: Mapping[str, float], step: int) -> None:
        """A point of each curve, by tag, after update number `step`. Values that are not finite are left out."""
        points = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items() if math.isfinite(value)]
        self.append(Event(step=step, summary=Summary(value=points)))

    def add_hyperparameters(self, values: Mapping[str, Any], scores: Mapping[str, float]) -> None:
        """The page of hyperparameters, where the latest loss and metrics of the validation split, already drawn as
        curves, stand beside them. SummaryWriter.add_hparams would make it another run."""
        kinds = (bool, int, float, str)
        plain = {name: value if isinstance(value, kinds) else str(value) for name, value in values.items()}
        self.append(*(Event(summary=part) for part in summary.hparams(plain, validation_scalars(scores))))

    def append(self, *events: Event) -> None:
        with self.path.open("ab") as file:
            records = RecordWriter(file)
            for event in events:
                event.wall_time = time.time()
                records.write(event.SerializeToString())


def new_event_file(folder: Path, config_yaml: str, first_step: int, resumed: bool) -> EventFile:
    """Start a file in the directory of a run. In that of a resumed run, TensorBoard then drops the points after
    `first_step`, the number of updates done: they are computed again.

    TensorBoard reads files in the order of their names, which begin with a time in seconds. The new name comes last
    even if the clock is behind that of the machine the run began on.
    """
    stamps = [file.name.split(".")[3] for file in folder.glob("events.out.tfevents.*")]
    latest = max((int(stamp) for stamp in stamps if stamp.isdecimal()), default=0)
    events = EventFile(folder / f"events.out.tfevents.{max(int(time.time()), latest + 1):010d}.pairft")
    start = [Event(file_version="brain.Event:2")]
    if resumed:
        start.append(Event(step=first_step + 1, session_log=SessionLog(status=SessionLog.START)))
    if first_step == 0:
        start.append(Event(summary=summary.text("config", "```yaml\n" + config_yaml + "```")))
    events.append(*start)
    return events


def training_scalars(line: Mapping[str, float], tokens_per_second: float, padding_share: float) -> dict[str, float]:
    """The points of a training line of metrics.jsonl, by tag. `padding_share`: of the token slots that were computed; a
    run that computes no padding has no such curve."""
    scalars = {
        "learning/loss/train": line["loss"],
        "learning/optimizer/lr": line["lr"],
        "learning/optimizer/grad_norm": line["grad_norm"],
        "throughput/examples_per_second": line["examples_per_second"],
        "throughput/tokens_per_second": tokens_per_second,
    }
    return {**scalars, "throughput/padding_share": padding_share} if padding_share else scalars


def validation_scalars(scores: Mapping[str, float], split: str = "validation") -> dict[str, float]:
    """The points of an evaluation of a split, {"loss": …, metrics}, by tag. A further split's tags end in what its name
    has after "validation", such as "_mismatched"."""
    end = split.removeprefix("validation")
    metrics = {f"learning/metrics/{name}{end}": value for name, value in scores.items() if name != "loss"}
    return {f"learning/loss/validation{end}": scores["loss"], **metrics}
