"""Labels as targets: the class ids, values or rows of 0 and 1 that the loss is computed from."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pairft.data.labels import label_texts
from pairft.data.meaning import Target
from pairft.data.pairs import Pairs
from pairft.tasks import MULTI_LABEL, REGRESSION

if TYPE_CHECKING:
    import numpy
    import pyarrow

UNLABELLED = -100  # class id of an unlabelled example, cross entropy's ignore_index; elsewhere it is NaN


def encode_labels(rows: "pyarrow.Table", pairs: Pairs, classes: Sequence[str] | None) -> "numpy.ndarray":
    """The target of each row: class ids, int64 [rows]; the values of a regression, float32 [rows]; or, multi-label, 1
    for each class that a row has and 0 for the others, float32 [rows, classes]. Rows without a label have UNLABELLED or
    NaN. `classes`: the class names by id if the labels are ClassLabels."""
    import numpy
    import pyarrow
    import pyarrow.compute as pc

    targets = target_array(pairs)
    index = numpy.full(len(rows), -1)  # of the last one, which stands for no label
    if pairs.label_column in rows.column_names and pairs.label_ids:
        known = pyarrow.array(list(pairs.label_ids), pyarrow.string())
        found = pc.index_in(label_texts(rows.column(pairs.label_column), classes), known)
        index = pc.fill_null(found, -1).to_numpy()
    encoded: numpy.ndarray = targets[index]
    return encoded


def target_array(pairs: Pairs) -> "numpy.ndarray":
    """The target of each distinct label, in the order of `label_ids`, and then that of no label."""
    import numpy

    targets: list[Target] = list(pairs.label_ids.values())
    if pairs.problem_type == REGRESSION:
        return numpy.array([*targets, numpy.nan], numpy.float32)
    if pairs.problem_type != MULTI_LABEL:
        return numpy.array([*targets, UNLABELLED], numpy.int64)
    array = numpy.zeros((len(targets) + 1, len(pairs.label_names or ())), numpy.float32)
    for row, target in zip(array, targets, strict=False):
        row[list(target)] = 1  # type: ignore[arg-type]  # a tuple of class ids
    array[-1] = numpy.nan
    return array


def has_label(targets: "numpy.ndarray") -> "numpy.ndarray":
    """Which examples have a label, bool [examples]. `targets`: as from `encode_labels`."""
    import numpy

    if not numpy.issubdtype(targets.dtype, numpy.floating):
        labelled: numpy.ndarray = targets != UNLABELLED
    else:  # every number is a value, even -100
        absent = numpy.isnan(targets)
        labelled = ~(absent.any(axis=1) if targets.ndim == 2 else absent)
    return labelled
