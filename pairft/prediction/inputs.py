"""What `Predictor.predict` is given: pairs of sentences, or columns of them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Union

from pairft.errors import UserError

if TYPE_CHECKING:
    import datasets
    import pandas

Row = Sequence[str] | str
Frame = Union[Iterable[Row], "pandas.DataFrame", "datasets.Dataset", Mapping[str, Sequence[str]]]


def columns_or_pairs(pairs: Frame, columns: Sequence[str], width: int | None) -> Iterator[Any]:
    """The rows, each a tuple of sentences, or what is in its place. `columns`: the names of the text columns, for input
    that has columns. `width`: how many sentences the model reads, if that is known. Raises UserError for input without
    those columns, and for rows with another number of sentences."""
    if isinstance(pairs, (str, bytes)) or not isinstance(pairs, Iterable):
        what = "one text" if isinstance(pairs, (str, bytes)) else repr(pairs)[:40]
        raise UserError(f"give a list of pairs, such as [(first, second)], not {what}")
    held = column_names(pairs)
    if held is None:
        yield from checked_rows(pairs, width)
        return
    if not columns:
        raise UserError("the model doesn't say which columns it reads: name them with text_columns=(…)")
    for name in columns:
        if name not in held:
            known = ", ".join(map(str, held))
            raise UserError(f"there is no column {name!r}, but {known}: name others with text_columns=(…)")
    frame: Any = pairs
    texts = [frame[name] for name in columns]
    for name, column in zip(columns, texts, strict=True):
        if isinstance(column, str):
            raise UserError(f"{name!r} is one text, but should be a list of texts: put it into a list")
        if column_names(column) is not None:  # of a DataFrame: all columns of that name
            raise UserError(f"there are several columns {name!r}: rename them")
    try:
        yield from zip(*texts, strict=True)
    except ValueError as error:
        raise UserError(f"the columns {' and '.join(map(repr, columns))} are not equally long") from error


def column_names(pairs: Any) -> list[str] | None:
    """The names of the columns of a mapping, a Dataset or a DataFrame; None for other input."""
    if isinstance(pairs, Mapping):
        return list(pairs)
    names = getattr(pairs, "column_names", None)  # of a Dataset
    if names is None:
        names = getattr(pairs, "columns", None)  # of a DataFrame
    return None if names is None else list(names)


def checked_rows(rows: Iterable[Row], width: int | None) -> Iterator[tuple[str, ...]]:
    """The rows of a list. Raises UserError unless each has the same number of sentences, one or two."""
    for number, row in enumerate(rows, 1):
        texts = (row,) if isinstance(row, str) else tuple(row) if isinstance(row, (list, tuple)) else ()
        width = width or len(texts)
        if len(texts) != width or not 0 < width <= 2:
            what = f"{type(row).__name__} {str(row)[:40]!r}"
            if texts:
                what = "one sentence" if len(texts) == 1 else f"{len(texts)} sentences"
            wanted = {1: "one sentence", 2: "two sentences, such as (first, second)"}.get(width, "one or two sentences")
            raise UserError(f"row {number} is {what}, but should be {wanted}")
        yield texts


def sentences_of(rows: Sequence[tuple[Any, ...]], before: int) -> list[list[str]]:
    """The sentences of some rows as columns, with "" for a missing one (None or NaN). Raises UserError for anything
    that isn't text. `before`: the rows before them."""
    for number, row in enumerate(rows, before + 1):
        for value in row:
            if not (isinstance(value, str) or is_missing(value)):
                raise UserError(f"row {number}: {value!r} is not text: convert it with str")
            if isinstance(value, str) and not value.isascii() and has_lone_surrogate(value):
                raise UserError(f"row {number}: {value[:40]!r} holds half a character (a lone surrogate)")
    return [["" if is_missing(value) else str(value) for value in column] for column in zip(*rows, strict=True)]


def is_missing(value: Any) -> bool:
    """Whether a value is None, NaN or pandas' NA or NaT."""
    return value is None or (not isinstance(value, str) and str(value) in ("nan", "<NA>", "NaT"))


def has_lone_surrogate(text: str) -> bool:
    """Whether the text can't be encoded, as a JSON string that was cut within an emoji."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def is_blank(text: str) -> bool:
    return not text or text.isspace()
