"""Out-of-fold predictions: for each training row, the answer of the run that held it out (--folds).

They are those of each run's last model. Its best one was chosen by its score on the very rows that it held out, so that
its answers to them look better than answers to other rows.
"""

import csv
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairft import disk
from pairft.config import Config
from pairft.data.row_numbers import ROW
from pairft.errors import UserError
from pairft.tasks import MULTI_LABEL, REGRESSION, TASKS, metrics_of

if TYPE_CHECKING:
    import numpy
    from pyarrow import parquet

    from pairft.data.pairs import Pairs
    from pairft.training.evaluation import EvalOutput

FILE = "held_out.parquet"  # in the directory of each run
ROWS_AT_ONCE = 10_000


@dataclass(frozen=True)
class OutOfFold:
    """The out-of-fold predictions, in the order of the rows in their source, and what is needed to understand them."""

    rows: "numpy.ndarray"  # int64 [rows], counted from 1
    fold: "numpy.ndarray"  # int64 [rows], counted from 1
    output: "EvalOutput"
    problem_type: str
    names: tuple[str, ...] | None  # of the classes, by id; None for a regression
    positive: int | None  # the id of the class that F1 is about
    text_columns: tuple[str, ...]

    @property
    def probabilities(self) -> "numpy.ndarray":
        """float32 [rows, classes]; of a regression, its values [rows, 1]."""
        from scipy.special import expit, softmax

        logits = self.output.logits
        if self.problem_type == REGRESSION:
            return logits
        found: numpy.ndarray = expit(logits) if self.problem_type == MULTI_LABEL else softmax(logits, axis=1)
        return found

    def label_text(self, label: Any) -> str:
        """A label, or a prediction, as a cell of a csv file."""
        if self.names is None:
            return shown(label)
        if self.problem_type == MULTI_LABEL:
            return ", ".join(name for name, holds in zip(self.names, label, strict=True) if holds)
        return self.names[int(label)]


def shown(value: Any) -> str:
    """A float32 as text, with as many digits as it takes to tell it from all others: 3.8, not 3.79999995."""
    import numpy

    return str(numpy.float32(value))


def keep(run_dir: Path, pairs: "Pairs", answers: "EvalOutput") -> None:
    """Write the rows that a run has held out, with its answers, to `run_dir`: completely or not at all."""
    import pyarrow
    from pyarrow import parquet

    held = pairs.splits["validation"]
    about = [pairs.problem_type, pairs.label_names, pairs.positive, pairs.text_columns]
    texts = [f"text_{number}" for number in range(len(pairs.text_columns))]  # whatever their names in the source
    part, start, writer = run_dir / f".{FILE}.part", 0, None
    with part.open("wb") as file:
        for some in held.with_format("arrow").iter(batch_size=ROWS_AT_ONCE):
            here = slice(start, start + len(some))
            columns = {"row": some.column(ROW)}
            for name, values in (("label", answers.labels), ("logits", answers.logits), ("loss", answers.losses)):
                columns[name] = as_column(values[here])
            for name, column in zip(texts, pairs.text_columns, strict=True):
                columns[name] = some.column(column).cast(pyarrow.large_string())
            table = pyarrow.table(columns).replace_schema_metadata({"pairft": json.dumps(about)})
            writer = writer or parquet.ParquetWriter(file, table.schema)
            writer.write_table(table)
            start += len(some)
        assert writer is not None and start == len(answers.labels), (start, len(answers.labels))
        writer.close()
    disk.flush(part)
    os.replace(part, run_dir / FILE)


def as_column(values: "numpy.ndarray") -> Any:
    """An Arrow array of numbers [rows] or of lists of them [rows, numbers]."""
    import pyarrow

    if values.ndim == 1:
        return pyarrow.array(values)
    return pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(values.ravel()), values.shape[1])


def read(group: Path, folds: Sequence[int]) -> OutOfFold:
    """What the runs of these folds have written."""
    import numpy

    from pairft.training.evaluation import EvalOutput

    parts: dict[str, list[numpy.ndarray]] = {name: [] for name in ("row", "label", "logits", "loss")}
    about = []
    for fold in folds:
        file = opened(group, fold)
        about = json.loads(file.schema_arrow.metadata[b"pairft"])
        table = file.read(list(parts))
        for name, some in parts.items():
            values = table.column(name).combine_chunks()
            is_list = hasattr(values, "flatten") and values.type.num_fields
            some.append(values.flatten().to_numpy().reshape(len(values), -1) if is_list else values.to_numpy())
    whole = {name: numpy.concatenate(some) for name, some in parts.items()}
    of_fold = numpy.repeat(list(folds), [len(some) for some in parts["row"]])
    order = numpy.argsort(whole["row"], kind="stable")
    rows = whole["row"][order]
    assert (numpy.diff(rows) > 0).all(), "a row was held out twice"
    problem_type, names, positive, columns = about
    output = EvalOutput(whole["logits"][order], whole["loss"][order], whole["label"][order])
    names = None if names is None else tuple(names)
    return OutOfFold(rows, of_fold[order], output, problem_type, names, positive, tuple(columns))


def opened(group: Path, fold: int) -> "parquet.ParquetFile":
    """The file that a fold's run has written. Raises UserError if it can't be read."""
    import pyarrow
    from pyarrow import parquet

    path = group / f"fold-{fold}" / FILE
    try:
        return parquet.ParquetFile(path)
    except (FileNotFoundError, pyarrow.ArrowInvalid):
        raise UserError(
            f"{path} is missing or damaged: remove {path.parent / 'results.json'}, so that --resume writes it again"
        ) from None


def texts_of(group: Path, found: OutOfFold, chosen: "numpy.ndarray") -> dict[int, tuple[str, ...]]:
    """The sentences of some rows, by the number of the row. `chosen`: indices of `found`."""
    import numpy
    import pyarrow

    texts: dict[int, tuple[str, ...]] = {}
    names = ["row", *(f"text_{number}" for number in range(len(found.text_columns)))]
    wanted = numpy.sort(found.rows[chosen])
    for fold in sorted(set(found.fold[chosen].tolist())):
        for batch in opened(group, fold).iter_batches(ROWS_AT_ONCE, columns=names):
            is_wanted = numpy.isin(batch.column(0).to_numpy(), wanted, assume_unique=True)
            some = [column.to_pylist() for column in batch.filter(pyarrow.array(is_wanted)).columns]
            texts |= {row: sentences for row, *sentences in zip(*some, strict=True)}
    return texts


def write(path: Path, found: OutOfFold) -> None:
    """Write the out-of-fold predictions as csv, without the sentences: a row's number says which one it is."""
    head = ["row", "fold", "label", "predicted"]
    head += [] if found.names is None else [f"probability_{name}" for name in found.names]
    probabilities, predictions = found.probabilities, found.output.predictions()

    def lines() -> Iterator[list[Any]]:
        for index in range(len(found.rows)):
            line: list[Any] = [int(found.rows[index]), int(found.fold[index])]
            line += [found.label_text(values[index]) for values in (found.output.labels, predictions)]
            yield line if found.names is None else [*line, *map(shown, probabilities[index])]

    write_csv(path, head, lines())


def write_csv(path: Path, head: Sequence[str], lines: Iterator[list[Any]]) -> None:
    """Write a csv file, completely or not at all."""
    part = path.with_name(f".{path.name}.part")
    with part.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(head)
        table.writerows(lines)
    disk.flush(part)
    os.replace(part, path)


def pooled_scores(found: OutOfFold, config: Config) -> dict[str, float]:
    """The mean loss and the task's metrics over all out-of-fold predictions together."""
    from pairft.training.evaluation import compute_metrics

    metrics, _ = metrics_of(TASKS[config.task], found.problem_type)
    return compute_metrics(found.output, metrics, found.positive)
