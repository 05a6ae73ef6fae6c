"""The folds of a cross-validation: which rows of the training split each run holds out (--folds).

scikit-learn draws them, stratified by label, over groups of rows that stay together: those of --group-column, and equal
pairs. They depend on the rows alone, not on their order or on --seed: a resumed run, and one that trains a single fold,
have the same.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pairft.data.labels import class_names, label_texts
from pairft.data.meaning import Target
from pairft.data.row_numbers import row_numbers, taken
from pairft.data.splits import bins, classes_of, pair_keys
from pairft.errors import UserError
from pairft.output import say
from pairft.tasks import MULTI_LABEL, REGRESSION, SINGLE_LABEL

if TYPE_CHECKING:
    import numpy
    from datasets import Dataset

MOST_GROUPS = 20_000  # that scikit-learn deals out one by one: each takes it about 0.2 ms


@dataclass(frozen=True)
class Folds:
    """What --folds asks of the training split, and how messages name the split."""

    number: int
    fold: int | None  # the one that this run holds out, from 1
    group_column: str | None
    where: str


def hold_out_fold(
    rows: "Dataset",
    folds: Folds,
    text_columns: Sequence[str],
    values: "numpy.ndarray",
    targets: Sequence[Target],
    problem_type: str,
    names: Sequence[str] | None,
) -> dict[str, "Dataset"]:
    """`rows` as train and validation, the fold of this run, in their order. Says how large it is.

    `values`: for each row, the index of its target among `targets`. `names`: of the classes, by id. Raises UserError if
    the rows can't be dealt out.
    """
    import numpy

    keys = group_keys(rows, text_columns, folds)
    check_enough(folds, values, targets, keys, problem_type, names)
    of_row = fold_of_rows(keys, strata_of(values, targets, problem_type, folds.number), folds.number)
    check_trained(folds, of_row, values, targets, names)
    held = of_row == folds.fold
    count, group = int(held.sum()), "" if folds.group_column is None else f"no group of {folds.group_column!r} and "
    say(
        f"fold {folds.fold} of {folds.number}: {count} of {len(rows)} training rows ({count / len(rows):.1%}) are held "
        f"out, stratified by label; {group}no pair is in both"
    )
    return {
        "train": taken(rows, numpy.flatnonzero(~held)),
        "validation": taken(rows, numpy.flatnonzero(held)),
    }


def group_keys(rows: "Dataset", text_columns: Sequence[str], folds: Folds) -> "numpy.ndarray":
    """A hash for each row, the same for the rows of a group; uint64 [rows]. Rows with the same pair of sentences, in
    either order, are in one group, and so are those with the same value of --group-column. Raises UserError, which
    names the row, if that value is missing."""
    import numpy
    import pyarrow
    import pyarrow.compute as pc

    keys, column = pair_keys(rows, text_columns), folds.group_column
    if column is None:
        return keys
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    try:
        texts = label_texts(rows.data.column(column), class_names(rows, column))
    except pyarrow.ArrowNotImplementedError:
        kind = rows.data.schema.field(column).type
        raise UserError(f"--group-column {column} of {folds.where} holds {kind}, not text or numbers") from None
    row = pc.index(texts.is_null(), pyarrow.scalar(True)).as_py()
    if row >= 0:
        number = row_numbers(rows, [row])[0]
        raise UserError(f"{folds.where}, row {number}: the group column {column!r} is empty; fill it in or remove it")
    group = numpy.concatenate([chunk.indices.to_numpy() for chunk in texts.dictionary_encode().chunks])
    _, pair = numpy.unique(keys, return_inverse=True)
    # A graph of groups and pairs, in which each row is an edge: what is connected stays together.
    ends = group, group.max() + 1 + pair
    size = int(ends[1].max()) + 1
    edges = coo_array((numpy.ones(len(rows), numpy.int8), ends), shape=(size, size))
    _, part = connected_components(edges, directed=False)
    smallest = numpy.full(len(part), numpy.iinfo(numpy.uint64).max, numpy.uint64)
    numpy.minimum.at(smallest, part[group], keys)
    found: numpy.ndarray = smallest[part[group]]
    return found


def strata_of(values: "numpy.ndarray", targets: Sequence[Target], problem_type: str, folds: int) -> "numpy.ndarray":
    """What the folds are stratified by; int64 [rows]. The classes; of a regression, quantiles of its values; of
    multi-label rows, the combinations of classes, of which those with fewer rows than folds are one stratum."""
    import numpy

    if problem_type == REGRESSION:
        return bins(numpy.array(targets)[values], len(values) // folds)
    if problem_type == MULTI_LABEL:
        return numpy.where(numpy.bincount(values)[values] < folds, -1, values)
    return values


def fold_of_rows(keys: "numpy.ndarray", strata: "numpy.ndarray", folds: int) -> "numpy.ndarray":
    """The fold of each row, from 1; int64 [rows]. `keys`: the same for rows that stay together."""
    import numpy
    from sklearn.model_selection import StratifiedGroupKFold

    found = numpy.zeros(len(keys), numpy.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a stratum with fewer rows than folds
        parts = StratifiedGroupKFold(folds).split(strata, strata, bundled(keys, strata))
        for number, (_, held) in enumerate(parts, 1):
            found[held] = number
    return found


def bundled(keys: "numpy.ndarray", strata: "numpy.ndarray", most: int = MOST_GROUPS) -> "numpy.ndarray":
    """The groups to deal out, int64 [rows]: those of `keys`, in their order. If there are more than `most`, groups of
    a single row are put together with others of their stratum, a few at a time."""
    import numpy

    _, group, counts = numpy.unique(keys, return_inverse=True, return_counts=True)
    size = -(-len(counts) // most)
    if size == 1:
        return group
    single = numpy.flatnonzero(counts[group] == 1)
    order = single[numpy.lexsort((keys[single], strata[single]))]  # by stratum, then by key
    _, first, inside = numpy.unique(strata[order], return_index=True, return_inverse=True)
    place = numpy.arange(len(order)) - first[inside]  # within the stratum
    leader = order[first[inside] + place // size * size]
    group[order] = group[leader]
    return group


def check_enough(
    folds: Folds,
    values: "numpy.ndarray",
    targets: Sequence[Target],
    keys: "numpy.ndarray",
    problem_type: str,
    names: Sequence[str] | None,
) -> None:
    """Raise UserError if there are fewer groups than folds, or fewer rows of a class."""
    import numpy

    groups = len(numpy.unique(keys))
    if groups < folds.number:
        what = "different pairs" if folds.group_column is None else f"groups by {folds.group_column!r}"
        raise UserError(
            f"--folds {folds.number}: the {len(keys)} rows of {folds.where} are only {groups} {what}, and each fold "
            "needs one: choose fewer folds"
        )
    if problem_type == SINGLE_LABEL and names is not None:
        counts = numpy.bincount(values)
        rarest, fewest = names[int(targets[int(counts.argmin())])], int(counts.min())  # type: ignore[arg-type]
        if fewest < folds.number:
            rows = f"{fewest} row{'s' * (fewest > 1)} in {folds.where}"
            fewer = f"choose at most {fewest}, or " if fewest > 1 else ""
            raise UserError(
                f"--folds {folds.number}: the class {rarest!r} has only {rows}, and each fold needs one: {fewer}add "
                "rows to the class or remove it"
            )


def check_trained(
    folds: Folds,
    of_row: "numpy.ndarray",
    values: "numpy.ndarray",
    targets: Sequence[Target],
    names: Sequence[str] | None,
) -> None:
    """Raise UserError if a fold holds out all rows of a class."""
    groups = "equal pairs" if folds.group_column is None else f"the groups by {folds.group_column!r}"
    for number in range(1, folds.number + 1):
        held = of_row == number
        assert held.any(), number  # there are as many groups
        lost = classes_of(values[held], targets) - classes_of(values[~held], targets)
        if names is not None and lost:  # a regression has no names
            raise UserError(
                f"--folds {folds.number}: {groups} leave no row of the class {names[min(lost)]!r} to train on where "
                f"fold {number} is held out: choose another number of folds, or add rows to the class"
            )
