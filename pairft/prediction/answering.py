"""The second pass over the rows: predict and write them, a block at a time."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from pairft.data.targets import has_label
from pairft.prediction.answers import answers_of
from pairft.prediction.columns import Output, block_of
from pairft.prediction.predictor import Predictor
from pairft.prediction.sinks import Write
from pairft.prediction.sources import Source, blocks
from pairft.runs import evaluations, looks
from pairft.training.evaluation import EvalOutput

if TYPE_CHECKING:
    import numpy

    from pairft.prediction.about import About


class Answered(NamedTuple):
    """What is kept of a block after it is written."""

    num_rows: int
    output: EvalOutput  # of the rows that have an answer
    labelled: looks.LabelledRows  # those of them that are scored


def answered(
    source: Source,
    model: Predictor,
    output: Output,
    write: Write,
    targets: "numpy.ndarray | None" = None,
    top_k: int | None = None,
    on_bad_row: str = "error",
    first: int = 0,
) -> Iterator[Answered]:
    """Predict and write the blocks from number `first` on. `targets`: of all rows of the source, if they are scored."""
    done = 0  # rows that are written
    about = model.about
    for number, rows in enumerate(blocks(source)):
        if number < first:
            continue
        before = int(rows.numbers[0]) - 1
        if on_bad_row == "skip":
            rows = rows.taken(~rows.bad)
        good = ~rows.bad
        labels = None if targets is None else targets[done : done + len(rows)][good]
        sentences = rows.taken(good).sentences(source.text_columns)
        found = model.outputs(sentences, before, labels)
        answers = answers_of(found.logits, about.names, about.kind, top_k, about.decision)
        write(block_of(output, rows, answers))
        done += len(rows)
        yield Answered(len(rows), found, looks.NONE if labels is None else labelled_rows(sentences, labels, about))


def labelled_rows(sentences: "list[list[str]]", labels: "numpy.ndarray", about: "About") -> looks.LabelledRows:
    """The rows that have a label. `sentences`: as columns. `labels`: as of `encode_labels`."""
    known = has_label(labels).tolist()
    texts = [row for row, is_known in zip(zip(*sentences, strict=True), known, strict=True) if is_known]
    targets = [label for label, is_known in zip(labels.tolist(), known, strict=True) if is_known]
    return looks.labelled_rows(
        texts, (evaluations.label_text(label, about.problem_type, about.names) for label in targets)
    )
