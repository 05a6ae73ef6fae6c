"""Leave out rows without text or label (--drop-bad-rows)."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pairft.data.cache import cache_errors
from pairft.data.findings import Finding
from pairft.data.gold_labels import NO_GOLD_LABEL, is_unlabelled, without_gold_label
from pairft.data.kinds import plain_kind
from pairft.data.labels import as_number, class_names, decimal_comma, is_whole, label_counts, label_texts, numbers_of
from pairft.data.meaning import label_ids
from pairft.data.row_numbers import row_numbers, taken
from pairft.errors import UserError
from pairft.output import say
from pairft.tasks import REGRESSION, SINGLE_LABEL, Task, scored_splits

if TYPE_CHECKING:
    import pyarrow
    from datasets import Dataset

SHOWN = 3  # rows that are named


@cache_errors()
def drop_bad_rows(
    splits: dict[str, "Dataset"],
    where: Mapping[str, str],
    text_columns: Sequence[str],
    label_column: str,
    task: Task,
    asked: str | None,
) -> tuple[dict[str, "Dataset"], tuple[Finding, ...]]:
    """The splits without the rows of train and the scored splits that lack a sentence or a label, and what was left
    out, which is also said. Raises UserError if nothing is left of a split.

    A label such as "-", "?" or -1 counts as missing where it would be an error. `asked`: the problem type that a flag
    asks for.
    """
    import numpy
    import pyarrow.compute as pc

    kept = dict(splits)
    found: list[Finding] = []
    allowed = len(text_columns) - 1 if task.blank_allowed else 0
    labelled = {split: splits[split] for split in ("train", *scored_splits(splits))}
    missing = missing_labels(labelled, label_column, task, asked)
    for split, rows in labelled.items():
        blank = [is_blank(rows.data.column(column)).to_numpy() for column in text_columns]
        textless = numpy.sum(blank, axis=0) > allowed
        texts = label_texts(rows.data.column(label_column), class_names(rows, label_column))
        unlabelled = pc.is_null(texts).to_numpy()
        for text in missing[split]:
            unlabelled |= pc.fill_null(pc.equal(texts, text), False).to_numpy()
        places = numpy.flatnonzero(textless | unlabelled)
        if not len(places):
            continue
        if len(places) == len(rows):
            raise UserError(f"--drop-bad-rows: every row of {where[split]} lacks text or label, so nothing is left")
        more = {"text": int(textless.sum()), "label": int((unlabelled & ~textless).sum())}
        shown = row_numbers(rows, places[:SHOWN])
        named = ("row " if len(places) == 1 else "rows ") + ", ".join(map(str, shown))
        found.append(Finding("dropped", split, len(places), len(places) / len(rows), shown, more=more))
        kept[split] = taken(rows, numpy.flatnonzero(~(textless | unlabelled)))
        say(
            f"--drop-bad-rows: {len(places)} of {len(rows)} rows of {where[split]} are left out: {more['text']} with "
            f"an empty sentence, {more['label']} without a label ({named}{', …' * (len(places) > SHOWN)})"
        )
    if not found:
        say("note: --drop-bad-rows has no effect: every row has text and label")
    return kept, tuple(found)


def missing_labels(splits: Mapping[str, "Dataset"], column: str, task: Task, asked: str | None) -> dict[str, list[str]]:
    """The label texts of each split, train first, that stand for no label."""
    counts = {split: label_counts(rows, column) for split, rows in splits.items()}
    own = class_names(splits["train"], column)
    labels = ([text for text in texts if text not in NO_GOLD_LABEL] for texts in counts.values())
    comma = any(decimal_comma(texts) is not None for texts in labels)
    if asked == REGRESSION or (task.regression and asked is None):
        numbers = numbers_of((text for texts in counts.values() for text in texts), comma)
        return {split: without_gold_label(texts, numbers, asked, True) for split, texts in counts.items()}
    names = task.label_names or own
    if names is None:
        train = counts["train"]
        gone = without_gold_label(train, numbers_of(train, comma), asked, False)
        names = [text for text in train if text not in gone]
        scores = any(not is_whole(number) for number in numbers_of(names, comma).values())
    else:
        scores = False
    found = {}
    for split, texts in counts.items():
        known = label_ids(
            list(texts), SINGLE_LABEL, tuple(names), task.label_names is not None or own is not None, False
        )
        others = [text for text in texts if text not in known and is_unlabelled(text)]
        found[split] = [text for text in others if not (scores and as_number(text) is not None)]  # -1 is a score
    return found


def is_blank(values: "pyarrow.ChunkedArray") -> "pyarrow.ChunkedArray":
    """Whether each sentence is null, empty or only white space; bool [rows]."""
    import pyarrow
    import pyarrow.compute as pc

    kind = plain_kind(values.type)
    blank = [  # a chunk at a time, since the trimmed text is held in memory
        pc.fill_null(pc.equal(pc.utf8_trim_whitespace(chunk.cast(kind)), ""), True) for chunk in values.chunks
    ]
    return pyarrow.chunked_array(blank, pyarrow.bool_())
