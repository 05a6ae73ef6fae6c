"""The columns of the output: those of the rows themselves, then the answers."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pairft.errors import UserError
from pairft.output import say
from pairft.prediction.sinks import Block, Column
from pairft.prediction.sources import Rows, Source

GIVEN = "given_"  # before the name of a column of the rows that is also one of an answer, such as label


@dataclass(frozen=True)
class Output:
    """The columns of the output, and where each is from."""

    columns: tuple[Column, ...]
    origins: tuple[str | None, ...]  # the name of a column of the rows; None for an answer


def output_columns(source: Source | None, answers: Iterable[str], chosen: Sequence[str] | None) -> Output:
    """All columns, or those that --columns has `chosen`, in its order. `source`: of the rows, if they have columns of
    their own. `answers`: the names of the answers' columns. Raises UserError if there is no column of a chosen name."""
    import pyarrow

    answers, own = tuple(answers), [] if source is None else list(source.names)
    found: dict[str, tuple[Column, str | None]] = {}
    for origin in own:
        name = new_name(origin, (*answers, *own)) if origin in answers else origin
        kind = source.schema.field(origin).type if source and source.is_typed else pyarrow.string()
        found[name] = Column(name, kind, source is not None and source.is_json), origin
    renamed = [f"{origin!r} to {name!r}" for name, (_, origin) in found.items() if name != origin]
    if chosen is None and renamed:
        say(f"note: columns renamed, since the answers have these names: {', '.join(renamed)}")
    for name in answers:
        is_text = name.startswith("label")
        found[name] = Column(name, pyarrow.string() if is_text else pyarrow.float64()), None
    for name in chosen or ():
        if name not in found:
            raise UserError(f"--columns names {name!r}, but the columns are: {', '.join(found)}")
    columns, origins = zip(*(found[name] for name in chosen or found), strict=True)
    return Output(columns, origins)


def new_name(name: str, taken: Sequence[str]) -> str:
    while name in taken:
        name = GIVEN + name
    return name


def block_of(output: Output, rows: Rows, answers: Mapping[str, Sequence[Any]]) -> Block:
    """The columns of a block of rows. `answers`: those of the rows that aren't bad, in their order; the others have
    null."""
    import numpy
    import pyarrow

    bad = rows.bad
    places = pyarrow.array(numpy.cumsum(~bad) - 1, mask=bad)
    block: list[pyarrow.ChunkedArray] = []
    for column, origin in zip(output.columns, output.origins, strict=True):
        if origin is None:
            values = pyarrow.array(answers[column.name], column.kind).take(places)
            block.append(pyarrow.chunked_array([values]))
        elif origin in rows.own.column_names:
            block.append(rows.own.column(origin))
        else:  # no row of JSON so far has the key
            block.append(pyarrow.chunked_array([pyarrow.nulls(len(rows), column.kind)]))
    return block
