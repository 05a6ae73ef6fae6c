"""Labels as targets: the class ids or values that the loss is computed from."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pairft.data.labels import label_texts
from pairft.data.pairs import Pairs

if TYPE_CHECKING:
    import numpy
    import pyarrow

UNLABELLED = -100  # class id of an unlabelled example, cross entropy's ignore_index; in a regression the value is NaN


def encode_labels(rows: "pyarrow.Table", pairs: Pairs, classes: Sequence[str] | None) -> "numpy.ndarray":
    """The target of each row: class ids, int64 [rows], or the values of a regression, float32 [rows]. Rows without a
    label have UNLABELLED or NaN. `classes`: the class names by id if the label column is a ClassLabel."""
    import pyarrow
    import pyarrow.compute as pc

    is_regression = pairs.label_names is None
    kind, missing = (pyarrow.float32(), float("nan")) if is_regression else (pyarrow.int64(), UNLABELLED)
    if pairs.label_column in rows.column_names and pairs.label_ids:
        known = pyarrow.array(list(pairs.label_ids), pyarrow.string())
        found = pc.index_in(label_texts(rows.column(pairs.label_column), classes), known)
        targets = pc.take(pyarrow.array(list(pairs.label_ids.values()), kind), found)
    else:
        targets = pyarrow.nulls(len(rows), kind)
    encoded: numpy.ndarray = pc.fill_null(targets, pyarrow.scalar(missing, kind)).to_numpy(zero_copy_only=False)
    return encoded


def has_label(targets: "numpy.ndarray") -> "numpy.ndarray":
    """Which examples have a label, bool [examples]. `targets`: int64 class ids, or float32 values."""
    import numpy

    is_regression = numpy.issubdtype(targets.dtype, numpy.floating)  # in which every number is a value, even -100
    labelled: numpy.ndarray = ~numpy.isnan(targets) if is_regression else targets != UNLABELLED
    return labelled
