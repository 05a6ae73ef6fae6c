"""Training rows for --streaming: blocks of rows, read from the files when they are needed.

The order of an epoch is a function of seed and epoch. The parts of the files (row groups of parquet, whole files of
other formats) come in a random order, the rows of a part in their own, and so many of them in a row are a block. The
rows of a block are shuffled (`shuffled`). So the position in an epoch is enough to find the next row.
"""

import hashlib
import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy

from pairft.data import files, readers
from pairft.data.formats import suffix_of
from pairft.data.table_layout import table_layout
from pairft.errors import UserError

if TYPE_CHECKING:
    import pyarrow
    from datasets import Dataset, Features

ROWS_OF_A_READ = 1000
PROBES, PROBE_BYTES = 8, 1 << 16  # of each file, for its fingerprint
READ_IN_BATCHES = (".parquet", ".csv", ".tsv", ".json", ".jsonl")  # formats that aren't read at once


class Part(NamedTuple):
    """What is read on its own: a row group of a parquet file, or a whole file of another format."""

    path: Path
    row_group: int | None = None
    first_row: int = 0  # in the file
    num_rows: int | None = None  # None if it is not known before the file is read


@dataclass(frozen=True)
class TrainingFiles:
    """The files of the training split, the columns to read, and the rows of a block."""

    parts: tuple[Part, ...]
    names: tuple[str, ...]
    label_column: str
    features: "Features"
    block_size: int

    @property
    def num_rows(self) -> int | None:
        """In an epoch; None if it is not known before they are read."""
        numbers = [part.num_rows for part in self.parts if part.num_rows is not None]
        return sum(numbers) if len(numbers) == len(self.parts) else None


class Block(NamedTuple):
    """Rows that are shuffled together, still in the order of the files."""

    rows: "pyarrow.Table"
    places: list[tuple[Path, int, int]]  # where they are from: a file, the first row and the number of rows

    def place(self, index: int) -> str:
        """The file and row of a row of the block, for a message."""
        for path, first_row, number in self.places:
            if index < number:
                return f"{path}, row {first_row + index + 1}"
            index -= number
        raise AssertionError((index, self.places))


def check_streamed(data: str, is_on_hub: bool, is_saved: bool) -> None:
    """Raise UserError if --data isn't files that --streaming reads."""
    if is_on_hub:
        what, remedy = (
            "on the Hub",
            f"download its files first: hf download --repo-type dataset {data} --local-dir FOLDER",
        )
    elif data == "builtin":
        what, remedy = "generated", "leave out --streaming"
    elif is_saved:
        what, remedy = "a folder of save_to_disk", "save it as parquet, or leave out --streaming"
    else:
        return
    raise UserError(f"--streaming reads files, but --data {data} is {what}: {remedy}")


def check_validation(data: str, found: Collection[str]) -> None:
    """Raise UserError if the source has no validation split."""
    if "validation" not in found:
        raise UserError(
            f"--data {data} has no validation split, and --streaming can't hold one out: add one, for example with "
            "--data train=FILE,validation=FILE"
        )


def training_files(
    paths: Sequence[Path], text_columns: Sequence[str], labels: Sequence[str], block_size: int
) -> TrainingFiles:
    """The parts of the files. Raises UserError if a column is missing or has the wrong type, or if the format can't be
    read row by row."""
    import datasets
    from pyarrow import parquet

    names = (*text_columns, *labels)
    for path in paths:
        if suffix_of(path) not in READ_IN_BATCHES:
            raise UserError(f"--streaming: {path} can't be read row by row: write parquet, csv, tsv or jsonl")
    features = datasets.Features({name: datasets.Value("string") for name in names})
    parts: list[Part] = []
    for path in paths:
        if suffix_of(path) != ".parquet":
            if suffix_of(path) in (".csv", ".tsv"):  # in JSON any row may lack any key
                files.wanted_columns([path], table_layout(path, names).columns, text_columns, labels, True)
            parts.append(Part(path))
            continue
        with files.reading_errors([path]):
            about, row = parquet.read_metadata(path), 0
        for group in range(about.num_row_groups):
            number = about.row_group(group).num_rows
            parts.append(Part(path, group, row, number))
            row += number
    if suffix_of(paths[0]) == ".parquet":
        with files.reading_errors(list(paths)):
            features = files.typed_features(paths, names, text_columns, labels)
    return TrainingFiles(tuple(parts), names, labels[0], features, block_size)


def first_rows(training: TrainingFiles) -> "Dataset":
    """The rows of the files' first block, in order, as a Dataset in memory. Raises UserError if there are none."""
    import datasets

    block = next(blocks_of(training, training.parts, 0), None)
    if block is None:
        raise UserError(f"{training.parts[0].path if training.parts else 'the training file'} is empty: it has no rows")
    table = datasets.table.InMemoryTable(block.rows)
    return datasets.Dataset(
        table,
        info=datasets.DatasetInfo(features=training.features),
        fingerprint=hashlib.sha256(repr((fingerprint(training), training.block_size)).encode()).hexdigest()[:32],
    )


def blocks(training: TrainingFiles, seed: int, epoch: int, first: int) -> Iterator[Block]:
    """The blocks of an epoch from number `first` on. Row groups before it are passed over; other files are read to find
    the row. Raises UserError if something can't be read."""
    order = numpy.random.default_rng((seed, epoch, 0)).permutation(len(training.parts))
    return blocks_of(training, [training.parts[index] for index in order], first)


def shuffled(block: Block, seed: int, epoch: int, number: int) -> numpy.ndarray:
    """The order of training of the rows of block `number` of an epoch, int64 [rows]."""
    order: numpy.ndarray = numpy.random.default_rng((seed, epoch, 1 + number)).permutation(len(block.rows))
    return order


def blocks_of(training: TrainingFiles, parts: Sequence[Part], first: int) -> Iterator[Block]:
    """The rows of the parts, one after the other, as blocks from number `first` on."""
    import pyarrow

    before = first * training.block_size
    held: list[pyarrow.RecordBatch] = []
    places: list[tuple[Path, int, int]] = []
    count = 0
    for part in parts:
        if part.num_rows is not None and before >= part.num_rows:
            before -= part.num_rows
            continue
        row = part.first_row
        for batch in read(training, part):
            passed = min(before, len(batch))
            before, row, batch = before - passed, row + passed, batch.slice(passed)
            while len(batch):
                some = batch.slice(0, training.block_size - count)
                held.append(some)
                places.append((part.path, row, len(some)))
                count, row, batch = count + len(some), row + len(some), batch.slice(len(some))
                if count == training.block_size:
                    yield Block(pyarrow.Table.from_batches(held), places)
                    held, places, count = [], [], 0
    if held:
        yield Block(pyarrow.Table.from_batches(held), places)


def read(training: TrainingFiles, part: Part) -> Iterator["pyarrow.RecordBatch"]:
    """The rows of a part, in order, with the types of `features`. Raises UserError if it can't be read."""
    import pyarrow
    from pyarrow import parquet

    if part.row_group is None:
        for batch in readers.batches(part.path, training.names, training.label_column):
            # From a reader of large batches: a slice would keep all of it in memory.
            yield from (batch.slice(start, ROWS_OF_A_READ) for start in range(0, len(batch), ROWS_OF_A_READ))
        return
    schema = training.features.arrow_schema
    try:
        # Memory-mapped and page by page: a whole row group may be large.
        with parquet.ParquetFile(part.path, memory_map=True) as file:
            groups = [part.row_group]
            for batch in file.iter_batches(ROWS_OF_A_READ, groups, columns=list(training.names), use_threads=False):
                table = pyarrow.Table.from_batches([batch]).select(training.names).cast(schema)
                yield from table.combine_chunks().to_batches()
    except (pyarrow.ArrowException, OSError) as error:
        raise files.unreadable([part.path], error) from None


def fingerprint(training: TrainingFiles) -> str:
    """A sha256 of each file's size and of pieces of it, the first and the last among them (the last has the metadata of
    a parquet file). It notices most changes, but not one that keeps the size and is between the pieces."""
    digest = hashlib.sha256()
    for path in dict.fromkeys(part.path for part in training.parts):
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                digest.update(size.to_bytes(8, "big"))
                for number in range(PROBES):
                    file.seek(max(0, size - PROBE_BYTES) * number // (PROBES - 1))
                    digest.update(file.read(PROBE_BYTES))
        except OSError as error:
            raise UserError(f"can't read {path}: {error.strerror}") from None
    return digest.hexdigest()
