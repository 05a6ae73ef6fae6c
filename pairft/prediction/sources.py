"""The rows to predict: from a file, a folder of files or standard input, in blocks, with all of their own columns.

Columns of text formats stay text, those of JSON the JSON of each value, and those of parquet, Arrow and Feather keep
their types.
"""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pairft import disk
from pairft.data import files, formats, readers, shards
from pairft.data.bad_rows import is_blank
from pairft.data.excel import excel_columns
from pairft.data.formats import suffix_of
from pairft.data.sources import checked_file
from pairft.data.table_layout import say_once, table_layout
from pairft.data.typed_files import TYPED, as_kind, raw_batches, schema_of
from pairft.errors import UserError
from pairft.prediction import any_rows
from pairft.tasks import SPLITS

if TYPE_CHECKING:
    import numpy
    import pyarrow
    from datasets import Features

BLOCK_ROWS = 4096  # rows that are read, tokenised, sorted by length, predicted and written together


@dataclass(frozen=True)
class Source:
    """Files of one format, read one after the other."""

    paths: tuple[Path, ...]
    text_columns: tuple[str, ...]
    labels: tuple[str, ...]  # the label columns, if the files have all of them
    blank_allowed: int  # empty sentences of a row
    tolerant: bool  # read past rows that can't be read, and mark them
    names: dict[str, None] = field(
        default_factory=dict
    )  # all columns, in order; those of JSON are known when it is read

    @property
    def is_json(self) -> bool:
        return suffix_of(self.paths[0]) in (".json", ".jsonl")

    @property
    def is_typed(self) -> bool:
        return suffix_of(self.paths[0]) in TYPED

    @functools.cached_property
    def schema(self) -> "pyarrow.Schema":
        """The types of the own columns: those of the files, otherwise text. pandas writes a column without values as
        nulls, and integers as floats where one is missing, so a file's own types may not be those of all."""
        if not self.is_typed:
            return readers.string_schema(list(self.names))
        import pyarrow

        with files.reading_errors(list(self.paths)):
            known = [schema_of(path) for path in self.paths]
            own = [pyarrow.schema([schema.field(name) for name in self.names]) for schema in known]
            return pyarrow.unify_schemas(own, promote_options="permissive").with_metadata(known[0].metadata)

    @functools.cached_property
    def features(self) -> "Features":
        """The types of the columns of sentences and labels."""
        import datasets

        names = [*self.text_columns, *self.labels]
        if not self.is_typed:
            return datasets.Features({name: datasets.Value("string") for name in names})
        with files.reading_errors(list(self.paths)):
            return files.typed_features(self.paths, names, self.text_columns, self.labels)


@dataclass(frozen=True)
class Rows:
    """A block of rows of one file."""

    own: "pyarrow.Table"  # all of their columns
    wanted: "pyarrow.Table"  # the sentences, as text, and the labels, as read_files gives them
    unreadable: "numpy.ndarray"  # bool [rows]
    num_empty: "numpy.ndarray"  # int [rows]: empty sentences
    blank_allowed: int
    path: Path
    numbers: "numpy.ndarray"  # int64 [rows]: of each row in its file, from 1

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def bad(self) -> "numpy.ndarray":
        """Which rows can't be answered, bool [rows]."""
        found: numpy.ndarray = self.unreadable | (self.num_empty > self.blank_allowed)
        return found

    @property
    def num_blank(self) -> int:
        """How many rows have empty sentences, as many as they may have."""
        return int(((self.num_empty > 0) & ~self.bad).sum())

    def sentences(self, text_columns: Sequence[str]) -> list[list[str]]:
        """The sentences as columns; "" for a missing one."""
        return [[text or "" for text in self.wanted.column(name).to_pylist()] for name in text_columns]

    def taken(self, chosen: "numpy.ndarray") -> "Rows":
        """The rows that `chosen`, bool [rows], marks."""
        own, wanted = (table.filter(chosen) for table in (self.own, self.wanted))
        arrays = self.unreadable[chosen], self.num_empty[chosen]
        return Rows(own, wanted, *arrays, self.blank_allowed, self.path, self.numbers[chosen])


def open_source(
    paths: Sequence[Path],
    text_columns: Sequence[str],
    labels: Sequence[str],
    label_needed: bool,
    blank_allowed: int = 0,
    tolerant: bool = False,
) -> Source:
    """The source, after its columns have been checked. Raises UserError if a file lacks a text column, or a label
    column that is needed."""
    for label in labels:
        if label in text_columns:
            raise UserError(f"the column {label!r} is named as the label (--label-column) and in --text-columns")
    known: dict[str, None] = {}
    if suffix_of(paths[0]) not in (".json", ".jsonl"):  # there, any row may lack any key
        for path in paths:
            columns = columns_of(path, text_columns, tolerant)
            files.wanted_columns([path], columns, text_columns, labels, label_needed)
            if not known:
                known = dict.fromkeys(columns)
            elif missing := [name for name in known if name not in columns]:
                raise UserError(f"{path} has no column {missing[0]!r}, which {paths[0]} has: predict it by itself")
            elif more := [name for name in columns if name not in known]:
                say_once(f"{path}: {', '.join(map(repr, more))} left out, since {paths[0]} has no such column")
        labels = labels if all(label in known for label in labels) else ()
    source = Source(tuple(paths), tuple(text_columns), tuple(labels), blank_allowed, tolerant, known)
    if source.is_typed:
        _ = source.schema, source.features  # checks the types
    return source


def columns_of(path: Path, text_columns: Sequence[str], tolerant: bool = False) -> list[str]:
    """The columns of a file that isn't JSON. Those without a name, or with a name that several have, are left out."""
    with files.reading_errors([path]):
        if suffix_of(path) in TYPED:
            names = list(schema_of(path).names)
        elif suffix_of(path) == ".xlsx":
            names = excel_columns(path, text_columns)
        else:
            names = list(table_layout(path, text_columns, may_be_ragged=tolerant).columns)
    twice = {name for name in names if name and names.count(name) > 1 and name not in text_columns}
    for name in sorted(twice):
        say_once(f"{path} has several columns {name!r}, which are left out")
    return [name for name in dict.fromkeys(names) if name and name not in twice]


def blocks(source: Source) -> Iterator[Rows]:
    """The rows in order. Raises UserError if one can't be read, unless the source is tolerant."""
    import numpy

    for path in source.paths:
        row = 0
        with files.reading_errors([path]):
            for own, wanted, unreadable in pieces(source, path):
                for start in range(0, len(unreadable), BLOCK_ROWS):
                    some, place = wanted.slice(start, BLOCK_ROWS), slice(start, start + BLOCK_ROWS)
                    numbers = row + 1 + numpy.arange(len(unreadable))[place]
                    about = unreadable[place], blanks(some, source), source.blank_allowed
                    yield Rows(own.slice(start, BLOCK_ROWS), some, *about, path, numbers)
                row += len(unreadable)


def pieces(source: Source, path: Path) -> Iterator[tuple["pyarrow.Table", "pyarrow.Table", "numpy.ndarray"]]:
    """The rows of a file as its reader gives them: own columns, sentences and labels, and which couldn't be read."""
    import numpy
    import pyarrow

    if source.is_json:
        yield from any_rows.json_pieces(source.tolerant, path, source.text_columns, source.labels, source.names)
        return
    if source.is_typed:
        typed, row = source.features.arrow_schema, 0
        for batch in raw_batches(path, source.schema.names):
            own = pyarrow.Table.from_batches([batch]).cast(source.schema)
            wanted = [as_kind(batch.column(field.name), field, path, row) for field in typed]
            row += len(batch)
            yield own, pyarrow.table(wanted, schema=typed), numpy.zeros(len(own), bool)
        return
    names = list(source.names)
    if source.tolerant and suffix_of(path) != ".xlsx":
        yield from ((own, own, bad) for own, bad in any_rows.table_pieces(path, names, source.text_columns))
        return
    label = source.labels[0] if len(source.labels) == 1 else None
    for batch in readers.batches(path, names, label):
        own = pyarrow.Table.from_batches([batch])
        yield own, own, numpy.zeros(len(own), bool)


def blanks(wanted: "pyarrow.Table", source: Source) -> "numpy.ndarray":
    """How many sentences of each row are empty, int [rows]."""
    import numpy

    blank = [is_blank(wanted.column(name)).to_numpy() for name in source.text_columns]
    counts: numpy.ndarray = numpy.sum(blank, axis=0)
    return counts


def files_of(data: str) -> list[Path]:
    """The files that --data names: a file, the one split in a folder, or every file of a folder. Raises UserError if
    there are none, or several splits."""
    path = disk.expanded(data)
    if not path.is_dir():
        return [checked_file(data, "--data")]
    splits = {split: found for split in SPLITS if (found := shards.split_files(path, split))}
    if len(splits) > 1:
        named = " or ".join(str(found[0]) for found in splits.values())
        raise UserError(f"--data {data} is a folder of several splits: name one of its files, such as {named}")
    found = [*splits.values(), []][0] or shards.files_inside(path)
    if not found:
        raise UserError(f"--data {data} is a folder without files to read ({formats.SHOWN})")
    return found
