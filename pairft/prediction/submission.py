"""--glue-submission: the answers for GLUE's test splits, as its leaderboard takes them: for each task a tsv with the
columns index and prediction, which is the class's name, its id or, for STS-B, a score from 0 to 5."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pairft import disk
from pairft.config import Config
from pairft.data import hub, shards
from pairft.data.retries import client_errors, with_retries
from pairft.data.sources import checked_file, hub_error
from pairft.errors import UserError
from pairft.model import head
from pairft.output import say
from pairft.prediction.about import About
from pairft.prediction.sinks import partial_path
from pairft.tasks import REGRESSION, TASKS

if TYPE_CHECKING:
    import numpy


class Split(NamedTuple):
    """A test split of a task."""

    name: str  # at the Hub
    file: str  # of the submission
    num_rows: int  # that the leaderboard expects


TESTS = {
    "cola": (Split("test", "CoLA.tsv", 1063),),
    "sst2": (Split("test", "SST-2.tsv", 1821),),
    "mrpc": (Split("test", "MRPC.tsv", 1725),),
    "stsb": (Split("test", "STS-B.tsv", 1379),),
    "qqp": (Split("test", "QQP.tsv", 390_965),),
    "mnli": (Split("test_matched", "MNLI-m.tsv", 9796), Split("test_mismatched", "MNLI-mm.tsv", 9847)),
    "qnli": (Split("test", "QNLI.tsv", 5463),),
    "rte": (Split("test", "RTE.tsv", 3000),),
    "wnli": (Split("test", "WNLI.tsv", 146),),
    "ax": (Split("test", "AX.tsv", 1104),),
}
BY_NAME = ("mnli", "qnli", "rte", "ax")  # whose predictions are names of classes, not ids
LARGEST_SCORE = 5.0  # of STS-B


def task_of(about: About) -> str:
    """The task of GLUE that the model was trained on, or that --task names. Raises UserError if it is none, or if the
    model's outputs aren't those of the task."""
    task = str(about.sidecar.get("task", "custom"))
    if task not in TESTS:
        raise UserError(f"--glue-submission: {task} is no task of GLUE: add --task, one of {', '.join(TESTS)}")
    if class_order(about, task) is None:
        names = TASKS[task].label_names
        raise UserError(
            f"--glue-submission: --model {about.name} has a head for {head.described(about.config)}, but {task} "
            f"{head.wanted(names, REGRESSION if names is None else '')}"
        )
    return task


def class_order(about: About, task: str) -> list[int] | None:
    """The index of the output for each class of the task; [0] for a score."""
    return head.output_order(about.config, TASKS[task].label_names)


def predictions(logits: "numpy.ndarray", about: About, task: str) -> list[str]:
    """The text of each row's prediction. `logits`: float32 [rows, outputs]."""
    names = TASKS[task].label_names
    if names is None:
        return [f"{score:.3f}" for score in logits[:, 0].clip(0, LARGEST_SCORE).tolist()]
    found = logits[:, class_order(about, task)].argmax(axis=1).tolist()
    return [names[index] if task in BY_NAME else str(index) for index in found]


@contextlib.contextmanager
def test_files(data: str | None, task: str) -> Iterator[list[tuple[Split, list[Path]]]]:
    """Within the context, the files of each test split that --data has: all that the Hub has if it is None. Raises
    UserError if there are none."""
    if data is None:
        import tempfile

        with tempfile.TemporaryDirectory(prefix="pairft-") as folder:
            yield [(split, [downloaded(task, split, Path(folder))]) for split in TESTS[task]]
        return
    path = disk.expanded(data)
    if not path.is_dir():
        file = checked_file(data, "--data")
        splits = TESTS[task]  # of MNLI two
        yield [(splits[-1] if "mismatched" in file.name else splits[0], [file])]
        return
    found = [(split, files) for split in TESTS[task] if (files := shards.split_files(path, split.name))]
    if not found:
        raise UserError(f"--data {data} has no {' or '.join(f'{split.name}.*' for split in TESTS[task])}")
    yield found


def downloaded(task: str, split: Split, folder: Path) -> Path:
    """A test split of the Hub's nyu-mll/glue as a file in the folder."""
    config = Config(task=task, data="nyu-mll/glue")
    missing = hub.unavailable({"--data": config.data}, task)
    if missing:
        raise UserError(f"{missing}. Restore the connection, or name the file of the test split with --data")
    import datasets

    datasets.disable_progress_bars()
    try:
        rows: Any = with_retries(lambda: datasets.load_dataset(config.data, task, split=split.name))
    except (datasets.exceptions.DatasetsError, ValueError, OSError, RuntimeError, *client_errors()) as error:
        raise hub_error(config, error) from error
    path = folder / f"{split.name}.parquet"
    rows.to_parquet(path)
    return path


def write_files(folder: Path, texts: dict[Split, list[str]]) -> None:
    """Write the files of a submission, each completely or not at all. Says which, and whether the leaderboard would
    refuse one."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for split, lines in texts.items():
            path = folder / split.file
            partial = partial_path(path)
            try:
                table = "".join(f"{index}\t{text}\n" for index, text in enumerate(lines))
                partial.write_text(f"index\tprediction\n{table}", encoding="utf-8")
                os.replace(partial, path)
            finally:
                partial.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"can't write to --glue-submission {folder}: {error.strerror}") from None
    for split, lines in texts.items():
        say(f"{len(lines)} predictions written to {folder / split.file}")
        if len(lines) != split.num_rows:
            say(f"warning: GLUE's leaderboard expects {split.num_rows} rows in {split.file}")
