"""The first pass over the rows: count them, find what is wrong before anything is written, and read the labels."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from pairft.data.bad_rows import is_blank
from pairft.data.cache import check_cache
from pairft.data.label_sets import check_column, joined_rows
from pairft.data.labels import class_names
from pairft.data.pairs import Pairs
from pairft.data.table_files import no_column
from pairft.data.targets import encode_labels
from pairft.errors import UserError
from pairft.output import say
from pairft.prediction.about import About
from pairft.prediction.answers import labels_of
from pairft.prediction.sources import Rows, Source, blocks

if TYPE_CHECKING:
    import numpy
    from datasets import Dataset
    from pyarrow import Table

SHOWN = 3  # bad rows that are named
SKIP = ", or add --on-bad-row skip (or null)"


class Survey(NamedTuple):
    num_rows: int  # without those that are left out
    labels: "Dataset | None"  # the label columns of these rows; None if there are none


def look_over(source: Source, where: str, label_needed: bool, on_bad_row: str) -> Survey:
    """Read all rows once. Raises UserError if there are none, if a column is missing and, unless `on_bad_row` says
    otherwise, for the first bad row."""
    number = num_bad = empty = 0
    first: list[str] = []
    problem = ""
    labels: list[Table] = []
    for rows in readable(source):
        number += len(rows)
        empty += rows.num_blank
        for row in rows.bad.nonzero()[0]:
            problem = problem or described(rows, int(row), source.text_columns)
            if len(first) < SHOWN:
                first.append(str(rows.numbers[row]))
            num_bad += 1
        if source.labels:
            kept = rows if on_bad_row != "skip" else rows.taken(~rows.bad)
            labels.append(kept.wanted.select(source.labels))
    check_read(source, number, label_needed)
    if num_bad and on_bad_row == "error":
        more = f" (and {num_bad - 1} more such rows)" if num_bad > 1 else ""
        raise UserError(f"{problem}; fill it in or remove the row{SKIP}{more}")
    if num_bad:
        which = ("row " if num_bad == 1 else "rows ") + ", ".join(first) + ", …" * (num_bad > SHOWN)
        done = "left out" if on_bad_row == "skip" else "without an answer"
        say(f"--on-bad-row {on_bad_row}: {num_bad} of {number} rows of {where} are {done} ({which})")
    elif on_bad_row != "error":
        say(f"note: --on-bad-row {on_bad_row} has no effect: every row of {where} can be read and has text")
    if empty:
        say(f"note: rows with an empty sentence, which this task may have: {empty} of {where}")
    return Survey(number - num_bad * (on_bad_row == "skip"), dataset_of(labels, source))


def readable(source: Source) -> Iterator[Rows]:
    """The blocks of rows. The message about a row that can't be read says how to go on."""
    try:
        yield from blocks(source)
    except UserError as error:
        may_skip = not source.tolerant and not source.is_typed and ", row " in str(error)
        raise UserError(f"{error}{SKIP if may_skip else ''}") from None


def described(rows: Rows, row: int, text_columns: Sequence[str]) -> str:
    """What is wrong with a row."""
    if rows.unreadable[row]:
        return f"{rows.path}, row {rows.numbers[row]} can't be read"
    blank = [repr(name) for name in text_columns if is_blank(rows.wanted.column(name).slice(row, 1))[0].as_py()]
    return f"{rows.path}, row {rows.numbers[row]}: {' and '.join(blank)} {'is' if len(blank) == 1 else 'are'} empty"


def check_read(source: Source, number: int, label_needed: bool) -> None:
    """Raise UserError if there are no rows, or if no row of JSON has a column."""
    if not number:
        raise UserError(f"{source.paths[0]} is empty: it has no rows")
    for name in (*source.text_columns, *(source.labels if label_needed else ())):
        if name not in source.names:
            raise no_column(source.paths[0], list(source.names), name)


def dataset_of(labels: Sequence["Table"], source: Source) -> "Dataset | None":
    """The label columns of all rows; None if the source lacks one of them."""
    if not labels or not set(source.labels) <= set(source.names):
        return None
    import datasets
    import pyarrow

    table = pyarrow.concat_tables(labels).combine_chunks()
    features = datasets.Features({name: source.features[name] for name in source.labels})
    return datasets.Dataset(
        datasets.table.InMemoryTable(table), datasets.DatasetInfo(features=features), fingerprint="labels"
    )


def joined(rows: "Dataset", where: str, labels: Sequence[str], name: str) -> "Dataset":
    """The label columns as one, called `name`."""
    if len(labels) == 1:
        return rows
    import datasets

    for label in labels:
        check_column(rows, where, label)
    table = joined_rows(rows.data.table, labels, name)
    features = datasets.Features({name: datasets.Value("string")})
    return datasets.Dataset(
        datasets.table.InMemoryTable(table), datasets.DatasetInfo(features=features), fingerprint="labels"
    )


def targets_of(survey: Survey, source: Source, where: str, about: About, output: str | None) -> "numpy.ndarray | None":
    """The target of each row (see `encode_labels`); None if nothing can be scored, which a line explains. Raises
    UserError if there is no --output either."""
    found = None
    if survey.labels is not None:
        name = ", ".join(source.labels)
        try:
            rows = joined(survey.labels, where, source.labels, name)
            ids = labels_of(rows, where, name, about.names, about.config, about.sidecar)
            if ids:
                pairs = Pairs({}, source.text_columns, name, about.problem_type, about.names, ids)
                found = encode_labels(rows.data.table, pairs, class_names(rows, name))
            elif output is not None:
                say(f"{where}: the column {name!r} holds no known label, so nothing is scored")
        except UserError as error:
            if output is None:
                raise
            say(f"not scored: {error}")
    if found is not None:
        check_cache()  # the library of the metrics locks a file there
    if found is None and output is None:
        raise UserError(f"{where} has no labels to score: name a file for the answers with --output")
    return found
