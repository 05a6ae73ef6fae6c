"""The answers of a run's evaluations, kept in its directory for the report, comparisons and cross-validation.

evaluations/
    validation.parquet                the examples, written once: row, label, tokens, text_0, text_1
    validation-step-00000459.parquet  the answers to them after that step: logits, loss

MNLI has validation_mismatched beside validation.
"""

import contextlib
import functools
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairft import disk
from pairft.data.row_numbers import row_numbers
from pairft.errors import UserError
from pairft.tasks import MULTI_LABEL, REGRESSION

if TYPE_CHECKING:
    import numpy
    import pyarrow
    from datasets import Dataset

    from pairft.data.pairs import Pairs
    from pairft.training.evaluation import EvalOutput

FOLDER = "evaluations"
ROWS_AT_ONCE = 10_000


@dataclass(frozen=True)
class Evaluated:
    """The examples of a split and a model's answers to them, in the order of the examples."""

    path: Path  # of the examples
    step: int  # after which the model answered
    rows: "numpy.ndarray"  # int64 [examples], numbers in the source of the split, counted from 1
    tokens: "numpy.ndarray"  # int32 [examples]
    output: "EvalOutput"
    problem_type: str
    names: tuple[str, ...] | None  # of the classes, by id; None for a regression
    positive: int | None  # the id of the class that F1 is about
    text_columns: tuple[str, ...]  # their names in the source

    @property
    def probabilities(self) -> "numpy.ndarray":
        """float32 [examples, classes]; of a regression, its values [examples, 1]."""
        return probabilities_of(self.output.logits, self.problem_type)

    def label_text(self, label: Any) -> str:
        """A label, or a prediction, as text."""
        return label_text(label, self.problem_type, self.names)

    def texts_of(self, chosen: "numpy.ndarray") -> list[tuple[str, ...]]:
        """The sentences of some examples, in the order of `chosen`, int64 indices. Only these are held in memory."""
        import numpy

        texts: dict[int, tuple[str, ...]] = {}
        wanted, start = numpy.unique(chosen), 0
        with opened(self.path) as file:
            names = [name for name in file.schema_arrow.names if name.startswith("text_")]
            for batch in file.iter_batches(ROWS_AT_ONCE, columns=names):
                here = wanted[(wanted >= start) & (wanted < start + len(batch))]
                columns = [column.to_pylist() for column in batch.take(here - start).columns]
                texts |= dict(zip(here.tolist(), zip(*columns, strict=True), strict=True))
                start += len(batch)
        return [texts[index] for index in numpy.asarray(chosen).tolist()]

    @functools.cached_property
    def texts(self) -> list[tuple[str, ...]]:
        """The sentences of every example."""
        import numpy

        return self.texts_of(numpy.arange(len(self.rows)))


def probabilities_of(logits: "numpy.ndarray", problem_type: str) -> "numpy.ndarray":
    """float32 [examples, classes]; of a regression, its values [examples, 1]."""
    from scipy.special import expit, softmax

    if problem_type == REGRESSION:
        return logits
    found: numpy.ndarray = expit(logits) if problem_type == MULTI_LABEL else softmax(logits, axis=1)
    return found


def label_text(label: Any, problem_type: str, names: Sequence[str] | None) -> str:
    """A class id, a value, or 0 and 1 for each class, as text."""
    if names is None:
        return shown(label)
    if problem_type == MULTI_LABEL:
        return ", ".join(name for name, holds in zip(names, label, strict=True) if holds)
    return names[int(label)]


def shown(value: Any) -> str:
    """A float32 as text, with as many digits as it takes to tell it from all others: 3.8, not 3.79999995."""
    import numpy

    return str(numpy.float32(value))


def examples_path(run_dir: Path, split: str) -> Path:
    return run_dir / FOLDER / f"{split}.parquet"


def answers_path(run_dir: Path, split: str, step: int) -> Path:
    return run_dir / FOLDER / f"{split}-step-{step:08d}.parquet"


def are_kept(run_dir: Path, splits: Iterable[str], step: int) -> bool:
    """Whether the examples of these splits and the answers to them after a step are there."""
    return all(examples_path(run_dir, s).exists() and answers_path(run_dir, s, step).exists() for s in splits)


def keep(run_dir: Path, split: str, step: int, pairs: "Pairs", tokens: "Dataset", output: "EvalOutput") -> None:
    """Write a model's answers to a split, and the examples unless they are there already, each file completely or not
    at all. `tokens`: the tokenised split."""
    import pyarrow

    (run_dir / FOLDER).mkdir(exist_ok=True)
    examples = examples_path(run_dir, split)
    if not examples.exists():
        write(examples, example_tables(pairs, split, tokens, output))
    columns = {"logits": as_column(output.logits), "loss": pyarrow.array(output.losses)}
    write(answers_path(run_dir, split, step), iter([pyarrow.table(columns)]))


def example_tables(pairs: "Pairs", split: str, tokens: "Dataset", output: "EvalOutput") -> Iterator["pyarrow.Table"]:
    """The columns of the examples' file, some rows at a time."""
    import pyarrow

    from pairft.data.batches import lengths_of

    lengths, dataset, start = lengths_of(tokens), pairs.splits[split], 0
    about = json.dumps([pairs.problem_type, pairs.label_names, pairs.positive, pairs.text_columns])
    assert len(dataset) == len(output.labels) == len(lengths), (len(dataset), len(output.labels), len(lengths))
    for some in dataset.with_format("arrow").iter(batch_size=ROWS_AT_ONCE):
        end = start + len(some)
        columns = {
            "row": pyarrow.array(row_numbers(dataset, range(start, end)), pyarrow.int64()),
            "label": as_column(output.labels[start:end]),
            "tokens": pyarrow.array(lengths[start:end], pyarrow.int32()),
        }
        for number, name in enumerate(pairs.text_columns):  # whatever their names in the source
            columns[f"text_{number}"] = some.column(name).cast(pyarrow.large_string())
        yield pyarrow.table(columns).replace_schema_metadata({"pairft": about})
        start = end


def write(path: Path, tables: Iterator["pyarrow.Table"]) -> None:
    """Write a parquet file, completely or not at all. Raises OSError."""
    from pyarrow import parquet

    part, writer = path.with_name(f".{path.name}.part"), None
    try:
        with part.open("wb") as file:
            for table in tables:
                writer = writer or parquet.ParquetWriter(file, table.schema)
                writer.write_table(table)
            assert writer is not None, path
            writer.close()
        disk.flush(part)
        os.replace(part, path)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = error.filename or str(path)  # it is missing if the disk is full
        raise


def read(run_dir: Path, which: str | int, split: str = "validation") -> Evaluated:
    """The examples of a split and the answers of a run's best or last model, or of the one after a step. Raises
    UserError if the run has not kept them."""
    import numpy

    from pairft.training.evaluation import EvalOutput

    step = step_of(run_dir, which) if isinstance(which, str) else which
    path = examples_path(run_dir, split)
    with opened(path) as file:
        problem_type, names, positive, columns = json.loads(file.schema_arrow.metadata[b"pairft"])
        examples = file.read(["row", "label", "tokens"])
        rows, labels, tokens = (as_array(examples.column(name)) for name in ("row", "label", "tokens"))
    with opened(answers_path(run_dir, split, step)) as file:
        answers = file.read()
        output = EvalOutput(as_array(answers.column("logits")), as_array(answers.column("loss")), labels)
    if len(output.logits) != len(rows):
        raise UserError(f"{answers_path(run_dir, split, step)} has {len(output.logits)} rows, but {path} {len(rows)}")
    names = None if names is None else tuple(names)
    about = problem_type, names, positive, tuple(columns)
    return Evaluated(path, step, rows, tokens.astype(numpy.int32), output, *about)


def step_of(run_dir: Path, which: str) -> int:
    """The step of a finished run's "best" or "last" evaluation. Raises UserError if the run has no results."""
    path = run_dir / "results.json"
    try:
        return int(json.loads(path.read_text(encoding="utf-8"))[which]["step"])
    except FileNotFoundError:
        raise UserError(f"{path} is missing: the run has not finished; --resume completes it") from None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path} is damaged: remove it, and --resume writes it again") from None


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Within the context, a parquet file of this folder. Raises UserError if it can't be opened, or if what is read
    from it there shows that it is damaged."""
    from pyarrow import parquet

    results = path.parent.parent / "results.json"
    remedy = f"remove {results}, and --resume of the run writes the answers of its last model again"
    try:
        with parquet.ParquetFile(path) as file:
            yield file
    except FileNotFoundError:
        raise UserError(f"{path} is missing: {remedy}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:  # ArrowInvalid is a ValueError
        if isinstance(error, OSError) and error.errno is not None:  # pyarrow's own, of damaged pages, have none
            raise
        raise UserError(f"{path} is damaged: remove it; {remedy}") from None


def as_column(values: "numpy.ndarray") -> Any:
    """An Arrow array of numbers [rows] or of lists of them [rows, numbers]."""
    import pyarrow

    if values.ndim == 1:
        return pyarrow.array(values)
    return pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(values.ravel()), values.shape[1])


def as_array(column: "pyarrow.ChunkedArray") -> "numpy.ndarray":
    """What `as_column` was given."""
    import pyarrow.types

    values = column.combine_chunks()
    if pyarrow.types.is_fixed_size_list(values.type):
        flat: numpy.ndarray = values.flatten().to_numpy()
        return flat.reshape(len(values), values.type.list_size)
    numbers: numpy.ndarray = values.to_numpy()
    return numbers
