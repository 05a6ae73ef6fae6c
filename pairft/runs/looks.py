"""How often labelled rows other than the validation split have been scored: test_looks.jsonl in the run directory.

Whoever chooses by the scores on a test split, even by hand, makes them too good: the test split becomes a validation
split. So each look is recorded with the run whose model was scored, and the second one is warned about.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pairft import disk
from pairft.errors import UserError
from pairft.runs import evaluations
from pairft.runs.manifest import command

FILE = "test_looks.jsonl"
SHOWN = 3  # earlier looks that a warning names


@dataclass(frozen=True)
class LabelledRows:
    """The labelled rows that were scored: how many, and a digest that doesn't depend on their order."""

    number: int
    digest: int

    def __add__(self, other: "LabelledRows") -> "LabelledRows":
        return LabelledRows(self.number + other.number, (self.digest + other.digest) % 2**256)

    @property
    def fingerprint(self) -> str:
        return f"{self.digest:064x}"


NONE = LabelledRows(0, 0)


def labelled_rows(texts: Iterable[Sequence[str]], labels: Iterable[str]) -> LabelledRows:
    """Some rows: the sum of the sha256 of each one's sentences and label (as text), so that blocks can be added."""
    number = digest = 0
    for row, label in zip(texts, labels, strict=True):
        number += 1
        digest += int.from_bytes(hashlib.sha256(json.dumps([*row, label]).encode()).digest())
    return LabelledRows(number, digest % 2**256)


def run_of(model: str | Path) -> Path | None:
    """The run directory that a model folder, such as runs/x/best, lies in; None for a model from elsewhere."""
    folder = disk.expanded(str(model))
    parent = folder.resolve().parent
    return parent if folder.is_dir() and (parent / "config.yaml").is_file() else None


def look(models: Sequence[str | Path], rows: LabelledRows, argv: Sequence[str]) -> list[str]:
    """Record that models were scored on labelled rows, once for each that lies in a run directory and has not been
    evaluated on these rows in training. Returns what to tell the user: a warning if any model beside them has been
    scored on the rows before, and where the look can't be recorded. `argv`: the flags of the command."""
    places = [(run, Path(model).name) for model in models if (run := run_of(model))]
    places = [(run, scored) for run, scored in places if rows not in evaluated_rows(run)]
    before = sorted({look for run, _ in places for look in earlier(run, rows)})
    said = [warning(before)] if before else []
    date = datetime.now().astimezone().isoformat(timespec="milliseconds")
    about = {"date": date, "rows_fingerprint": rows.fingerprint, "rows": rows.number}
    for run, scored in places:
        try:
            append(run / FILE, {**about, "command": " ".join(command(argv)), "scored": scored})
        except OSError as error:
            said.append(f"note: this look at labelled rows can't be recorded in {run / FILE}: {error.strerror}")
    return said


def evaluated_rows(run: Path) -> list[LabelledRows]:
    """The rows that a run was evaluated on while it was trained: those of each split in evaluations/. A damaged file is
    left out."""
    found = []
    for path in (run / evaluations.FOLDER).glob("*.parquet"):
        if "-step-" not in path.name:
            with contextlib.suppress(UserError):
                found.append(read_rows(path))
    return found


def read_rows(path: Path) -> LabelledRows:
    """The examples in a file of evaluations/."""
    with evaluations.opened(path) as file:
        problem_type, names, *_ = json.loads(file.schema_arrow.metadata[b"pairft"])
        columns = [name for name in file.schema_arrow.names if name.startswith("text_")]
        found = NONE
        for batch in file.iter_batches(evaluations.ROWS_AT_ONCE, columns=["label", *columns]):
            labels = batch.column("label").to_pylist()
            texts = zip(*(batch.column(name).to_pylist() for name in columns), strict=True)
            found += labelled_rows(texts, (evaluations.label_text(label, problem_type, names) for label in labels))
    return found


def earlier(run: Path, rows: LabelledRows) -> list[tuple[str, str, str]]:
    """The looks at these rows that are recorded in a run or in any beside it, in groups of runs too: date, command and
    model of each."""
    runs = run.parent.parent if (run.parent / "config.yaml").is_file() else run.parent
    found = []
    for file in (*runs.glob(f"*/{FILE}"), *runs.glob(f"*/*/{FILE}")):
        try:
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:  # another user's
            continue
        for line in lines:
            with contextlib.suppress(ValueError, KeyError, TypeError):  # someone has edited it
                one = json.loads(line)
                if one["rows_fingerprint"] == rows.fingerprint:
                    model = file.parent.relative_to(runs) / one["scored"]
                    found.append((str(one["date"]), str(one["command"]), str(model)))
    return found


def warning(before: Sequence[tuple[str, str, str]]) -> str:
    """What is said at a look that isn't the first. `before`: date, command and model of the earlier ones; one command
    that has scored several models is one look."""
    looks: dict[tuple[str, str], list[str]] = {}
    for date, line, model in before:
        looks.setdefault((date, line), []).append(model)
    shown = [f"{date[:16].replace('T', ' ')} {', '.join(models)}" for (date, _), models in looks.items()]
    more = f"{len(shown) - SHOWN} before, " if len(shown) > SHOWN else ""
    return (
        f"warning: this test split has been looked at {len(looks) + 1} times ({more}{'; '.join(shown[-SHOWN:])}; now): "
        "choosing by it makes its scores too good; choose by the validation split, and score the chosen model on the "
        "test split once"
    )


def append(path: Path, line: dict[str, Any]) -> None:
    """Add a line, in one write."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(descriptor, (json.dumps(line, ensure_ascii=False) + "\n").encode())
    finally:
        os.close(descriptor)
