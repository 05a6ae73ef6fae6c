"""Hashes of sentences, pairs and labels, by which the audit compares millions of rows in memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pairft.output import progress

if TYPE_CHECKING:
    import numpy
    from datasets import Dataset

CHUNK = 10_000  # rows whose sentences are Python objects at a time
FACTOR = 0x9E3779B97F4A7C15  # odd, and its bits are random: that of Fibonacci hashing


@dataclass(frozen=True)
class Keys:
    """The hashes of a split, each [rows]. They are the same for equal texts within a process only."""

    sentences: list["numpy.ndarray"]  # uint64, one or two
    pair: "numpy.ndarray"  # uint64, of both sentences in their order
    swapped: "numpy.ndarray | None"  # uint64, of both in the other order; None for single sentences
    label: "numpy.ndarray"  # uint64


class Groups:
    """The rows of a split by their pair: `unique`, the sorted hashes of the pairs, and for each of them `first`, its
    first row, and `low` and `high`, the least and greatest label hash; and `of_row`, the group of each row."""

    def __init__(self, keys: Keys) -> None:
        import numpy

        self.unique, self.first, self.of_row = numpy.unique(keys.pair, return_index=True, return_inverse=True)
        order = numpy.argsort(self.of_row, kind="stable")
        starts = numpy.searchsorted(self.of_row[order], numpy.arange(len(self.unique)))
        self.low = numpy.minimum.reduceat(keys.label[order], starts)
        self.high = numpy.maximum.reduceat(keys.label[order], starts)


def keys_of(rows: "Dataset", text_columns: Sequence[str], tokens: "Dataset") -> Keys:
    """The keys of a split. `tokens`: the same rows tokenised, which have the labels."""
    import numpy

    sentences = [numpy.empty(len(rows), numpy.uint64) for _ in text_columns]
    start = 0
    with progress("checking", len(rows)) as step:
        for some in rows.select_columns(list(text_columns)).with_format("arrow").iter(batch_size=CHUNK):
            for name, hashes in zip(text_columns, sentences, strict=True):
                texts = some.column(name).to_pylist()
                # Python's own hash has 64 bits, and is ten times as fast as one from hashlib.
                hashes[start : start + len(texts)] = numpy.fromiter(map(hash, texts), numpy.int64).view(numpy.uint64)
            start += len(some)
            step(len(some))
    if len(sentences) == 1:
        return Keys(sentences, sentences[0], None, label_codes(tokens))
    first, second = sentences
    return Keys(sentences, codes_of(first, second), codes_of(second, first), label_codes(tokens))


def codes_of(first: "numpy.ndarray", second: "numpy.ndarray") -> "numpy.ndarray":
    """A hash of two hashes in their order; uint64 [rows]."""
    import numpy

    mixed = first * numpy.uint64(FACTOR)
    mixed ^= mixed >> numpy.uint64(32)
    found: numpy.ndarray = mixed * numpy.uint64(FACTOR) + second
    return found


def label_codes(tokens: "Dataset") -> "numpy.ndarray":
    """A number for each row, equal for equal labels; uint64 [rows]."""
    import numpy

    codes = [numpy.zeros(0, numpy.uint64)]
    for chunk in tokens.data.column("label").chunks:
        if chunk.type.num_fields:  # multi-label: a row of 0 and 1 for each example
            classes = numpy.nan_to_num(chunk.flatten().to_numpy(), nan=2).reshape(len(chunk), -1).astype(numpy.uint64)
            factors = numpy.random.default_rng(0).integers(0, 2**64, classes.shape[1], numpy.uint64)
            codes.append((classes * factors).sum(axis=1, dtype=numpy.uint64))
        else:
            values = chunk.to_numpy()
            if values.dtype == numpy.float32:
                values = (values + numpy.float32(0)).view(numpy.int32)  # -0.0 equals 0.0
            codes.append(values.astype(numpy.int64).view(numpy.uint64))
    return numpy.concatenate(codes)


def look_up(unique: "numpy.ndarray", keys: "numpy.ndarray") -> tuple["numpy.ndarray", "numpy.ndarray"]:
    """Where each key is in the sorted keys `unique`, and whether it is there at all; int64 and bool [rows]."""
    import numpy

    place = numpy.searchsorted(unique, keys)
    place[place == len(unique)] = 0
    return place, unique[place] == keys
