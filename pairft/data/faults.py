"""The faults of a data set: pairs that are cut, repeated, labelled twice, or scored although they are trained on.

Sentences are compared by 64-bit hashes, which take some bytes per row and are freed again; the rows that are shown are
compared as text, too. Labels are those of the tokenised splits, so that every kind of task is treated alike.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from pairft.data.findings import Finding
from pairft.data.keys import Groups, Keys, codes_of, keys_of, look_up
from pairft.data.pairs import Pairs
from pairft.data.row_numbers import row_numbers
from pairft.tasks import scored_splits

if TYPE_CHECKING:
    import numpy
    from datasets import Dataset

SHOWN = 3  # examples of each finding
OFTEN, OFTEN_SHARE = 20, 0.01  # a sentence is in very many pairs if it is in so many, and in more than this share


def find(pairs: Pairs, tokens: Mapping[str, "Dataset"]) -> list[Finding]:
    """All findings but those of a bag-of-words model, split by split."""
    train = keys_of(pairs.splits["train"], pairs.text_columns, tokens["train"])
    groups = Groups(train)
    found = [*pairs.dropped]
    for split in ("train", *scored_splits(tokens), *(["test"] if "test" in tokens else [])):
        rows = pairs.splits[split]
        found += cut(rows, tokens[split], split)
        if split == "train":
            found += [*repeats(rows, train), *often(rows, train), *contradictions(pairs, split, train, groups)]
        else:
            keys = keys_of(rows, pairs.text_columns, tokens[split])
            found += leaks(pairs, split, keys, groups)
            if split != "test":
                found += contradictions(pairs, split, keys, Groups(keys))
        if split != "test":
            found += absent(pairs.label_names, tokens[split], split)
    return found


def cut(rows: "Dataset", tokens: "Dataset", split: str) -> Iterator[Finding]:
    """The examples that are cut to --max-length. Shown are those that lose most."""
    import numpy
    import pyarrow.compute as pc

    lost = tokens.data.column("lost").to_numpy()
    count, total = int(numpy.count_nonzero(lost)), int(lost.sum())
    if count:
        worst = numpy.argsort(-lost, kind="stable")[: min(SHOWN, count)]
        of_all = total + pc.sum(tokens.data.column("length")).as_py()
        more = {"tokens": total, "tokens_share": total / of_all}
        yield Finding("cut", split, count, count / len(lost), row_numbers(rows, worst), more=more)


def repeats(rows: "Dataset", keys: Keys) -> Iterator[Finding]:
    """The training examples that repeat an earlier one, with its label."""
    import numpy

    whole = codes_of(keys.pair, keys.label)
    _, first = numpy.unique(whole, return_index=True)
    later = numpy.ones(len(whole), bool)
    later[first] = False
    places = numpy.flatnonzero(later)
    if len(places):
        shown = places[:SHOWN]
        beside = [int(numpy.argmax(whole == whole[place])) for place in shown]
        count = len(places)
        yield Finding(
            "repeats", "train", count, count / len(whole), row_numbers(rows, shown), row_numbers(rows, beside)
        )


def often(rows: "Dataset", keys: Keys) -> Iterator[Finding]:
    """The training pairs with a sentence that is in very many of them. Shown is a row of each such sentence. Of single
    sentences the repeated ones are shown already."""
    import numpy

    if keys.swapped is None:
        return
    first, second = keys.sentences
    each, count = numpy.unique(numpy.concatenate([first, second[first != second]]), return_counts=True)
    many = (count >= OFTEN) & (count > OFTEN_SHARE * len(first))
    if many.any():
        holds = numpy.isin(first, each[many]) | numpy.isin(second, each[many])
        most = each[many][numpy.argsort(-count[many], kind="stable")][:SHOWN]
        shown = [int(numpy.argmax((first == sentence) | (second == sentence))) for sentence in most]
        number = int(holds.sum())
        more = {"sentences": int(many.sum())}
        yield Finding("often", "train", number, number / len(first), row_numbers(rows, sorted(shown)), more=more)


def contradictions(pairs: Pairs, split: str, keys: Keys, groups: Groups) -> Iterator[Finding]:
    """The examples whose pair has another label, too: in the same order, and swapped."""
    group = groups.of_row
    wrong = groups.low[group] != groups.high[group]
    yield from shown(pairs, "labels", split, wrong, groups.first[group])
    if keys.swapped is not None:
        other, held = look_up(groups.unique, keys.swapped)
        held &= (keys.swapped != keys.pair) & ((groups.low[other] != keys.label) | (groups.high[other] != keys.label))
        yield from shown(pairs, "labels_swapped", split, held, groups.first[other], swapped=True)


def leaks(pairs: Pairs, split: str, keys: Keys, train: Groups) -> Iterator[Finding]:
    """The examples whose pair is in train: in the same order, and only swapped."""
    place, held = look_up(train.unique, keys.pair)
    yield from shown(pairs, "leak", split, held, train.first[place], beside="train")
    if keys.swapped is not None:
        place, swapped = look_up(train.unique, keys.swapped)
        yield from shown(
            pairs, "leak_swapped", split, swapped & ~held, train.first[place], beside="train", swapped=True
        )


def shown(
    pairs: Pairs,
    what: str,
    split: str,
    concerned: "numpy.ndarray",
    partner: "numpy.ndarray",
    beside: str | None = None,
    swapped: bool = False,
) -> Iterator[Finding]:
    """A finding, if any row is `concerned` (bool [rows]), with some of these rows.

    `partner`: the row that each has the text of, in the split `beside` or in its own; examples of the same pair are
    shown together. Examples that only have equal hashes are left out.
    """
    import numpy

    places = numpy.flatnonzero(concerned)
    if not len(places):
        return
    if beside is None:
        places = places[numpy.lexsort((places, numpy.minimum(partner[places], places)))]
    rows, others = pairs.splits[split], pairs.splits[beside or split]
    examples = []
    for place in places[: 2 * SHOWN]:
        texts, other = (
            [where[int(row)][column] for column in pairs.text_columns]
            for where, row in ((rows, place), (others, partner[place]))
        )
        if texts == (other[::-1] if swapped else other):
            examples.append(int(place))
    examples = examples[:SHOWN]
    numbers = () if beside is None else row_numbers(others, partner[examples])
    yield Finding(what, split, len(places), len(places) / len(concerned), row_numbers(rows, examples), numbers)


def absent(names: Sequence[str] | None, tokens: "Dataset", split: str) -> Iterator[Finding]:
    """The classes without an example in a split."""
    shares = class_shares(names, tokens)
    lacking = [name for name, share in shares.items() if share == 0]
    if lacking:
        more = {"classes": lacking}
        yield Finding("absent", split, len(lacking), len(lacking) / len(shares), more=more)


def class_shares(names: Sequence[str] | None, tokens: "Dataset") -> dict[str, float]:
    """The share of the examples that each class has; {} for a regression."""
    import numpy

    found = numpy.zeros(len(names or ()))
    for chunk in tokens.data.column("label").chunks if names else ():
        if hasattr(chunk, "flatten") and chunk.type.num_fields:  # multi-label: a row of 0 and 1 for each example
            found += chunk.flatten().to_numpy().reshape(len(chunk), -1).sum(axis=0)
        else:
            found += numpy.bincount(chunk.to_numpy(), minlength=len(found))
    return dict(zip(names or (), (found / len(tokens)).tolist(), strict=True))
