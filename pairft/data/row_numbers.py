"""Some rows of a split, and the number that each has in its source."""

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy
    import pyarrow
    from datasets import Dataset

ROW = "__row__"  # the column of row numbers, counted from 1, of a split that lacks some rows of its source
VERSION = 2  # part of the cache key


def taken(rows: "Dataset", indices: "numpy.ndarray") -> "Dataset":
    """Some rows as a Dataset of their own, without a table of indices: the checks and digests read its columns. A
    column ROW has their numbers in the source."""
    from datasets import Value

    digest = hashlib.sha256(f"{VERSION} {rows._fingerprint}".encode() + indices.tobytes()).hexdigest()[:32]
    some = rows.with_format("arrow").select(indices, new_fingerprint=f"{digest[:-1]}0")

    def numbered(table: "pyarrow.Table", places: list[int]) -> "pyarrow.Table":
        import pyarrow

        return table.append_column(ROW, pyarrow.array(indices[places] + 1, pyarrow.int64()))

    if ROW in rows.column_names:
        some = some.flatten_indices(features=rows.features, new_fingerprint=digest)
    else:
        features = rows.features.copy()
        features[ROW] = Value("int64")
        some = some.map(numbered, batched=True, with_indices=True, features=features, new_fingerprint=digest)
    some.reset_format()
    return some


def row_numbers(rows: "Dataset", indices: Iterable[int]) -> tuple[int, ...]:
    """The number of each of these rows in its source, counted from 1."""
    places = [int(index) for index in indices]
    if ROW not in rows.column_names:
        return tuple(index + 1 for index in places)
    column = rows.data.column(ROW)
    return tuple(column[index].as_py() for index in places)
