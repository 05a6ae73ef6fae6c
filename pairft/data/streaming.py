"""--streaming: training steps whose rows are read, checked and tokenised as training goes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy

from pairft.config import Config
from pairft.data import blocks
from pairft.data.bad_rows import is_blank
from pairft.data.batches import Collate, Position, StepData, parts_of
from pairft.data.blocks import Block, TrainingFiles
from pairft.data.gold_labels import without_gold_label
from pairft.data.kinds import plain_kind
from pairft.data.labels import class_names, label_texts, numbers_of
from pairft.data.meaning import label_ids, wanted
from pairft.data.order import Share, StepSize, micro_batch_sizes
from pairft.data.pairs import Pairs
from pairft.data.targets import encode_labels, has_label
from pairft.data.tokens import NO_ROOM, ROWS_AT_ONCE, encode_rows, no_room, unknown_id
from pairft.errors import UserError
from pairft.tasks import REGRESSION, TASKS

if TYPE_CHECKING:
    import pyarrow
    from transformers import PreTrainedTokenizerFast

T = TypeVar("T")
Columns = dict[str, Sequence[Any]]  # examples: input_ids, token_type_ids if the model uses them, length and label


@dataclass(frozen=True)
class Stream:
    """The training split as a stream of rows, and what is needed to make examples of them."""

    files: TrainingFiles
    pairs: Pairs
    classes: Sequence[str] | None  # by id, if the labels are ClassLabels
    tokenizer: "PreTrainedTokenizerFast"
    max_length: int
    truncation: str
    blank_allowed: int  # empty sentences of a row
    scores: bool  # the task is a regression, and no flag says so: -1 may mean that there is no label
    model: str
    num_embeddings: int  # rows of the model's token embedding

    @property
    def num_examples(self) -> int | None:
        """In an epoch; None if it isn't known, for text files."""
        return self.files.num_rows

    @property
    def fingerprint(self) -> str:
        return blocks.fingerprint(self.files)

    def about(self) -> str:
        """A line for the user."""
        number = "an unknown number of" if self.num_examples is None else self.num_examples
        known = "" if self.pairs.by_number or not self.pairs.label_names else "; the classes are the validation split's"
        return (
            f"--streaming: {number} training pairs, shuffled in blocks of {self.files.block_size} (--shuffle-buffer); "
            f"the first {len(self.pairs.splits['train'])} are checked now, the others when they are read{known}"
        )


def open_stream(
    config: Config, pairs: Pairs, tokenizer: "PreTrainedTokenizerFast", max_length: int, num_embeddings: int
) -> Stream | None:
    """The stream of the training split; None without --streaming."""
    if pairs.training_files is None:
        return None
    classes = class_names(pairs.splits["train"], pairs.label_column)
    task = TASKS[config.task]
    return Stream(
        pairs.training_files,
        pairs,
        classes,
        tokenizer,
        max_length,
        config.truncation,
        blank_allowed=len(pairs.text_columns) - 1 if task.blank_allowed else 0,
        scores=task.regression and not config.regression,
        model=config.model,
        num_embeddings=num_embeddings,
    )


def steps(
    stream: Stream,
    collate: Collate,
    seed: int,
    size: StepSize,
    start: Position,
    share: Share = Share(),  # noqa: B008  # immutable
) -> Iterator[StepData]:
    """Generate the steps from the position `start` on, epoch after epoch without end. A step never spans two epochs.
    Raises UserError if a row can't be read or is not an example.

    `share`: with several processes, the micro-batches are those of this one, and the numbers those of the whole step.
    All processes read the same blocks, but each tokenises only its own examples. These are dealt by their place in the
    step: the tokens of the others aren't known. With `max_tokens`, they have to be known, and each tokenises all.
    """
    own = share if size.max_tokens is None else Share()  # what this process tokenises
    epoch, consumed = start
    while True:
        held, ahead = {}, 0  # type: tuple[Columns, int]  # the own ones of the next `ahead` examples
        for (number_read, some), is_last in with_last(examples(stream, seed, Position(epoch, consumed), size, own)):
            held = {name: [*held.get(name, []), *some.get(name, [])] for name in {**held, **some}}
            ahead += number_read
            while sizes := micro_batch_sizes(next_lengths(held, ahead, size), size):
                number = sum(sizes)
                if number == ahead and not is_last:
                    break  # the last micro-batch may take more
                parts: Sequence[numpy.ndarray] = numpy.split(numpy.arange(number), numpy.cumsum(sizes)[:-1])
                if share.world_size > 1:
                    parts = parts_of(share, parts, None, size)
                micro_batches = [collate(taken(held, part // own.world_size)) for part in parts]
                number_own = len(range(own.rank, number, own.world_size))
                held = {name: values[number_own:] for name, values in held.items()}
                ahead -= number
                consumed += number
                after = Position(epoch, consumed) if ahead else Position(epoch + 1, 0)
                yield StepData(micro_batches, number, after)
        epoch, consumed = epoch + 1, 0


def next_lengths(held: Columns, ahead: int, size: StepSize) -> numpy.ndarray:
    """The tokens of each of the next examples, int [ahead]; without `max_tokens` only their number matters."""
    return numpy.zeros(ahead, numpy.int32) if size.max_tokens is None else numpy.array(held["length"])


def taken(examples: Columns, places: numpy.ndarray) -> Columns:
    return {name: [values[place] for place in places] for name, values in examples.items()}


def with_last(parts: Iterator[T]) -> Iterator[tuple[T, bool]]:
    """Each part, and whether it is the last one."""
    part = next(parts, None)
    while part is not None:
        following = next(parts, None)
        yield part, following is None
        part = following


def examples(
    stream: Stream,
    seed: int,
    start: Position,
    size: StepSize,
    own: Share = Share(),  # noqa: B008  # immutable
) -> Iterator[tuple[int, Columns]]:
    """The examples of an epoch from the position on, some at a time: their number, and those that this process
    tokenises (`own`), by their place in steps of this size. What is before the position is not tokenised."""
    first, offset = divmod(start.consumed, stream.files.block_size)
    passed, at_once = 0, ROWS_AT_ONCE * own.world_size
    for number, block in enumerate(blocks.blocks(stream.files, seed, start.epoch, first), first):
        pairs = checked(stream, block)  # all rows: every process has to end at one that is no example
        order = blocks.shuffled(block, seed, start.epoch, number)[offset:]
        for chosen in numpy.split(order, range(at_once, len(order), at_once)):
            places = numpy.arange(passed, passed + len(chosen)) % (size.batch_size * size.accumulate)
            passed += len(chosen)
            yield len(chosen), encoded(stream, pairs, block, chosen[places % own.world_size == own.rank])
        offset = 0


def encoded(stream: Stream, pairs: Pairs, block: Block, chosen: numpy.ndarray) -> Columns:
    """Rows of the block, tokenised; no columns if there are none. Raises UserError if --truncation leaves no room in
    one of them, or if the model doesn't know a token."""
    if not len(chosen):
        return {}
    some = with_text(block.rows.take(chosen), pairs.text_columns)
    columns = encode_rows(some, pairs, stream.classes, stream.tokenizer, stream.max_length, stream.truncation)
    for row in chosen[columns["lost"] == NO_ROOM][:1]:
        raise no_room(block.place(int(row)), stream.max_length, stream.truncation)
    largest = max(map(max, columns["input_ids"]))
    if largest >= stream.num_embeddings:
        raise unknown_id(largest, stream.num_embeddings, stream.model)
    return {name: values if isinstance(values, list) else values.tolist() for name, values in columns.items()}


def with_text(rows: "pyarrow.Table", text_columns: Sequence[str]) -> "pyarrow.Table":
    """The rows with an empty text for each missing sentence."""
    import pyarrow.compute as pc

    for name in text_columns:
        values = rows.column(name)
        filled = pc.fill_null(values.cast(plain_kind(values.type)), "")
        rows = rows.set_column(rows.column_names.index(name), name, filled)
    return rows


def checked(stream: Stream, block: Block) -> Pairs:
    """The meaning of the block's labels. Raises UserError, with file and row, if a row lacks a sentence or has no label
    that is known."""
    import pyarrow.compute as pc

    pairs, column = stream.pairs, stream.pairs.label_column
    blank = {name: is_blank(block.rows.column(name)).to_numpy() for name in pairs.text_columns}
    too_many = numpy.sum(list(blank.values()), axis=0) > stream.blank_allowed
    if too_many.any():
        row = int(too_many.argmax())
        empty = next(name for name in pairs.text_columns if blank[name][row])
        raise UserError(f"{block.place(row)}: {empty!r} is empty; fill it in or remove the row")
    texts = label_texts(block.rows.column(column), stream.classes)
    distinct = [text for text in pc.unique(texts).to_pylist() if text is not None]
    comma = pairs.problem_type == REGRESSION and any("," in text for text in pairs.label_ids)
    ids = label_ids(distinct, pairs.problem_type, pairs.label_names, pairs.by_number, comma)
    if stream.scores:
        numbers = numbers_of([*pairs.label_ids, *distinct], comma)
        for text in without_gold_label(dict.fromkeys(distinct, 1), numbers, None, True):
            ids.pop(text, None)
    found = replace(pairs, label_ids=ids)
    labelled = has_label(encode_labels(block.rows, found, stream.classes))
    if not labelled.all():
        row = int(labelled.argmin())
        text = texts[row].as_py()
        what = "no label" if text is None else f"the label {text!r}"
        should = wanted(pairs.problem_type, pairs.label_names, text, comma)
        raise UserError(f"{block.place(row)} has {what} in the column {column!r}; it should be {should}")
    return found
