"""A validation split for data that has none: held out from the training split, stratified by label.

Pairs are ordered by a hash of their two sentences, and each class (multi-label: each combination of classes) gives its
first ones. So the split is the same for a resumed run, for another seed and for the same rows in another order, and a
pair that occurs twice, or swapped, is never in both.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pairft.data.labels import class_names, label_texts
from pairft.data.meaning import Target
from pairft.data.row_numbers import taken
from pairft.errors import UserError
from pairft.output import say
from pairft.tasks import MULTI_LABEL, REGRESSION

if TYPE_CHECKING:
    import numpy
    from datasets import Dataset

SALT = b"pairft validation"  # the seed of the order: of its own, so that all runs have the same split
SHARE, AT_LEAST = 0.1, 200  # of the rows, and how many if as many are left to train on
BINS = 10  # of a regression's values: as many quantiles are strata


def hold_out(
    rows: "Dataset",
    data: str,
    text_columns: Sequence[str],
    label_column: str,
    label_ids: Mapping[str, Target],
    problem_type: str,
    names: Sequence[str] | None,
    share: float | None,
) -> dict[str, "Dataset"]:
    """`rows` as train and validation, in their order, as memory-mapped Datasets. Says how large they are.

    `label_ids`: the target of each label's text. `names`: of the classes, by id; None for a regression.
    `share`: of the rows; None for the default. Raises UserError if there are too few different pairs.
    """
    import numpy

    size, keys = validation_size(len(rows), share), pair_keys(rows, text_columns)
    values, targets = label_values(rows, label_column, label_ids)
    strata = bins(numpy.array(targets)[values]) if problem_type == REGRESSION else values
    if problem_type == MULTI_LABEL:  # combinations that would give less than a row are one stratum
        strata = numpy.where(numpy.bincount(values)[values] * size < len(rows), -1, values)
    chosen = choose(keys, strata, size)
    if problem_type == MULTI_LABEL:
        for lost in classes_of(values, targets) - classes_of(values[~chosen], targets):
            holds = numpy.array([isinstance(target, tuple) and lost in target for target in targets])[values]
            chosen &= ~numpy.isin(keys, keys[holds])
    count = int(chosen.sum())
    if count == 0:
        raise UserError(
            f"{data} has no validation split, and none can be held out from its {len(rows)} training rows: too few "
            "different pairs; add a validation split or rows, or raise --validation-share"
        )
    say(
        f"{data} has no validation split: {count} of its {len(rows)} training rows ({count / len(rows):.1%}) are held "
        "out for it, stratified by label; no pair is in both"
    )
    return {
        "train": taken(rows, numpy.flatnonzero(~chosen)),
        "validation": taken(rows, numpy.flatnonzero(chosen)),
    }


def validation_size(num_rows: int, share: float | None) -> int:
    """How many of `num_rows` to hold out, from 1 to all but one."""
    size = round(num_rows * (SHARE if share is None else share))
    if share is None and num_rows >= 2 * AT_LEAST:
        size = max(size, AT_LEAST)
    return min(max(size, 1), num_rows - 1)


def pair_keys(rows: "Dataset", text_columns: Sequence[str]) -> "numpy.ndarray":
    """A hash of each row's sentences, the same in either order; uint64 [rows]."""
    import numpy

    keys = numpy.empty(len(rows), numpy.uint64)
    start = 0
    for some in rows.select_columns(list(text_columns)).with_format("arrow").iter(batch_size=10_000):
        for texts in zip(*(some.column(name).to_pylist() for name in text_columns), strict=True):
            # The lengths come first, so that no two pairs give the same bytes.
            parts = sorted(text.encode("utf-8", "surrogatepass") for text in texts)
            content = b"%d %b" % (len(parts[0]), b"".join(parts))
            keys[start] = int.from_bytes(hashlib.blake2b(content, digest_size=8, key=SALT).digest(), "little")
            start += 1
    return keys


def label_values(
    rows: "Dataset", label_column: str, label_ids: Mapping[str, Target]
) -> tuple["numpy.ndarray", list[Target]]:
    """For each row, the index of its target, int64 [rows], and the distinct targets, sorted."""
    import numpy
    import pyarrow
    import pyarrow.compute as pc

    texts = label_texts(rows.data.column(label_column), class_names(rows, label_column))
    index = pc.index_in(texts, value_set=pyarrow.array(list(label_ids), texts.type))
    targets = sorted(set(label_ids.values()))  # either numbers or tuples
    places = {target: place for place, target in enumerate(targets)}
    return numpy.array([places[target] for target in label_ids.values()])[index.to_numpy()], targets


def classes_of(values: "numpy.ndarray", targets: Sequence[Target]) -> set[int]:
    """The ids of the classes that these rows have. `values`: of each row, the index of its target in `targets`."""
    import numpy

    held = [targets[index] for index in numpy.unique(values)]
    return {int(index) for target in held for index in (target if isinstance(target, tuple) else (target,))}


def bins(values: "numpy.ndarray", most: int = BINS) -> "numpy.ndarray":
    """The quantile bin of each value, of BINS or, if that is less, `most`; int64 [rows]."""
    import numpy

    inner = numpy.quantile(values, numpy.linspace(0, 1, min(BINS, most) + 1)[1:-1])
    return numpy.searchsorted(inner, values, side="right")


def choose(keys: "numpy.ndarray", strata: "numpy.ndarray", size: int) -> "numpy.ndarray":
    """Which rows to hold out; bool [rows]. About `size` of them, with each stratum's share; rows with the same key stay
    together, and every stratum keeps a row."""
    import numpy

    # Groups are in the order of their keys, which is a random one. Equal pairs with several labels are in the stratum
    # of the rarest, whatever the order of the rows.
    _, label, sizes = numpy.unique(strata, return_inverse=True, return_counts=True)
    rarest_first = numpy.lexsort((label, sizes[label]))
    _, first, counts = numpy.unique(keys[rarest_first], return_index=True, return_counts=True)
    _, group = numpy.unique(keys, return_inverse=True)
    _, stratum = numpy.unique(label[rarest_first][first], return_inverse=True)
    held = numpy.bincount(stratum, weights=counts).astype(numpy.int64)
    chosen = numpy.zeros(len(counts), bool)
    ends = numpy.cumsum(numpy.bincount(stratum))[:-1]
    members = numpy.split(numpy.argsort(stratum, kind="stable"), ends)
    left = 0
    for groups, quota, most in zip(members, quotas(held, size).tolist(), (held - 1).tolist(), strict=True):
        # Where groups of equal pairs don't add up to the quota, the next stratum gives a row or two for them.
        left = min(quota + min(left, 2), most)
        while left and len(groups):  # the first ones that fit, without any that is too large
            groups = groups[counts[groups] <= left]
            end = int(numpy.searchsorted(numpy.cumsum(counts[groups]), left, side="right"))
            chosen[groups[:end]] = True
            left -= int(counts[groups[:end]].sum())
            groups = groups[end:]
    # Even so, all rows of a label may be in groups of other strata: one of those groups stays in training.
    for lost in numpy.setdiff1d(label, label[~chosen[group]]):
        chosen[group[label == lost].min()] = False
    rows: numpy.ndarray = chosen[group]
    return rows


def quotas(held: "numpy.ndarray", size: int) -> "numpy.ndarray":
    """How many of `size` rows come from each stratum; int64 [strata]. `held`: the rows of each."""
    import numpy

    exact = size * held / held.sum()
    found: numpy.ndarray = numpy.floor(exact).astype(numpy.int64)
    largest = numpy.argsort(found - exact, kind="stable")[: size - found.sum()]  # the largest remainders
    found[largest] += 1
    return found
