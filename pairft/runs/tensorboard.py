"""TensorBoard's event file: curves, images, tables, the config as text, and the page of hyperparameters.

TensorBoard groups what it shows by the part of the tag before the first slash, and sorts groups and tags by name: so
"learning" comes first, then "mistakes", "resources", "throughput" and "update_ratio". The page "Custom Scalars" has a
layout of its own (board_layout.py).
"""

import io
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard import summary

from pairft.runs.board_layout import layout


@dataclass(frozen=True)
class EventFile:
    """A file that TensorBoard reads. It is opened for each write and written in the calling thread, so that a full disk
    raises OSError here. (torch's SummaryWriter writes in a thread, which prints a traceback instead.)"""

    path: Path

    def add_scalars(self, scalars: Mapping[str, float], step: int) -> None:
        """Add a point to each curve, by tag, at `step`. Values that are not finite are left out."""
        points = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars.items() if math.isfinite(value)]
        self.append(Event(step=step, summary=Summary(value=points)))

    def add_summaries(self, summaries: Iterable[Summary], step: int) -> None:
        """Add images, histograms, curves and tables at `step`."""
        self.append(*(Event(step=step, summary=some) for some in summaries))

    def add_hyperparameters(self, values: Mapping[str, Any], tags: Iterable[str], finished: bool) -> None:
        """Write the page of hyperparameters, which also shows the latest points of the curves `tags`. `finished`: the
        run has ended. SummaryWriter.add_hparams would create a separate run for it."""
        kinds = (bool, int, float, str)
        plain = {name: value if isinstance(value, kinds) else str(value) for name, value in values.items()}
        parts = summary.hparams(plain, dict.fromkeys(tags, 0.0))  # experiment, start of the session, its end
        self.append(*(Event(summary=part) for part in (parts if finished else parts[:2])))

    def append(self, *events: Event) -> None:
        """Write all of the events or none: TensorBoard reads nothing that follows a record that was cut short. Raises
        OSError, which names the file."""
        content = io.BytesIO()
        records = RecordWriter(content)
        for event in events:
            event.wall_time = time.time()
            records.write(event.SerializeToString())
        with self.path.open("ab", buffering=0) as file:
            before, left = file.tell(), content.getvalue()
            try:
                while left:
                    left = left[file.write(left) :]
            except OSError as error:
                file.truncate(before)
                error.filename = str(self.path)
                raise


def new_event_file(folder: Path, config_yaml: str, first_step: int, resumed: bool) -> EventFile:
    """Create an event file in a run directory. If the run was resumed, the file tells TensorBoard to drop the points
    after `first_step`, the number of steps done, since they are computed again.

    TensorBoard reads files in the order of their names, which begin with a time in seconds. The new file comes last
    even if the clock is behind that of the machine on which the run was started.
    """
    stamps = [file.name.split(".")[3] for file in folder.glob("events.out.tfevents.*")]
    latest = max((int(stamp) for stamp in stamps if stamp.isdecimal()), default=0)
    events = EventFile(folder / f"events.out.tfevents.{max(int(time.time()), latest + 1):010d}.pairft")
    # TensorBoard takes the first start of a session that it finds for the run's own, and purges at each later one.
    session = Event(step=first_step + 1 if resumed else 0, session_log=SessionLog(status=SessionLog.START))
    start = [Event(file_version="brain.Event:2"), session]
    if first_step == 0:
        start.append(Event(summary=summary.text("config", "```yaml\n" + config_yaml + "```")))
        start.append(Event(summary=layout()))
    events.append(*start)
    return events


def training_scalars(line: Mapping[str, float], tokens_per_second: float, padding_share: float) -> dict[str, float]:
    """The points of a training line of metrics.jsonl, by tag. `padding_share`: the fraction of padding among the
    computed tokens; a padding-free run has no such curve."""
    scalars = {
        "learning/loss/train": line["loss"],
        "learning/optimizer/lr": line["lr"],
        "learning/optimizer/grad_norm": line["grad_norm"],
        "throughput/examples_per_second": line["examples_per_second"],
        "throughput/tokens_per_second": tokens_per_second,
    }
    return {**scalars, "throughput/padding_share": padding_share} if padding_share else scalars


def validation_scalars(scores: Mapping[str, float], split: str = "validation") -> dict[str, float]:
    """The points of an evaluation of `split`, by tag. `scores`: {"loss": …, metrics}. The tags of a further split end
    as its name does, for example in "_mismatched"."""
    end = split.removeprefix("validation")
    metrics = {f"learning/metrics/{name}{end}": value for name, value in scores.items() if name != "loss"}
    return {f"learning/loss/validation{end}": scores["loss"], **metrics}
