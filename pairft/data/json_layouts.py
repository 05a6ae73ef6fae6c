"""How a JSON file holds its rows: by lines, as a list, below a key, by column, or otherwise as pandas writes it."""

import collections
import functools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

from pairft.data.encodings import opened, version_of
from pairft.data.json_stream import DECODER, Stream
from pairft.data.table_layout import say_once
from pairft.errors import UserError

REMEDY = 'write one object per row, as pandas\' to_json(orient="records", lines=True) does'
LONGEST_LINE = 1 << 20  # characters; a longer one is not decoded to find the layout
MAX_COLUMNS = 10_000

Kind = Literal["lines", "values", "list", "key", "columns", "index", "split"]


@dataclass(frozen=True)
class Layout:
    """How a file holds its rows."""

    kind: Kind
    key: str = ""  # of the list of rows, for "key"
    columns: tuple[str, ...] = ()  # all of them, for "columns" and "split"


@dataclass
class Outline:
    """What a file's first value, an object, holds."""

    kinds: dict[str, str] = field(default_factory=dict)  # of each member's value: scalar, list, rows, object or row
    firsts: dict[str, Any] = field(default_factory=dict)  # the first item of each list
    columns: tuple[str, ...] = ()  # a list of that name that holds text alone
    more: bool = False  # whether other values follow

    def of(self, *kinds: str) -> list[str]:
        """The keys of the values of these kinds."""
        return [key for key, kind in self.kinds.items() if kind in kinds]


def json_layout(path: Path, wanted: Sequence[str]) -> Layout:
    """The layout in which rows with the `wanted` columns are found; one that isn't rows is said, once for each file.
    Raises UserError if the file isn't JSON, or if rows stand below several keys."""
    return find_layout(path, tuple(wanted), version_of(path))


@functools.lru_cache(maxsize=256)
def find_layout(path: Path, wanted: tuple[str, ...], _version: tuple[int, ...]) -> Layout:
    with opened(path) as file:
        lines = first_lines(file)
    if not lines or not lines[0].lstrip().startswith("{"):
        return Layout("list" if lines and lines[0].lstrip().startswith("[") else "lines")
    if len(lines) == 2 and any(map(is_object, lines)):
        return Layout("lines")
    try:
        with opened(path) as file:
            found = choose(outline(Stream(file), wanted), wanted)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None
    said = {
        "key": f": rows are below the key {found.key!r}",
        "columns": " holds columns, not rows: read as a table",
        "index": ' holds rows by their keys (orient="index"): read as rows',
        "split": ' holds cells apart from their columns (orient="split"): read as a table',
    }
    if found.kind in said:
        say_once(f"{path}{said[found.kind]}")
    return found


def first_lines(file: IO[str]) -> list[str]:
    """The first lines that aren't blank, two of them if the first is an object's."""
    lines: list[str] = []
    while len(lines) < 2 and (line := file.readline(LONGEST_LINE)):
        if line.strip():
            lines.append(line)
            if not line.lstrip().startswith("{"):
                break
    return lines


def is_object(text: str) -> bool:
    try:
        return isinstance(DECODER.decode(text), dict)
    except ValueError:
        return False


def outline(stream: Stream, wanted: Sequence[str]) -> Outline:
    """What the object holds at which a stream stands. Lists in it are read one item at a time."""
    found = Outline()
    for key in stream.members():
        if stream.mark() == "[":
            items = (stream.value() for _ in stream.items())
            first = next(items, None)
            found.firsts[key] = first
            found.kinds[key] = "rows" if has_any(first, wanted) else "list"
            others = collections.deque(items, maxlen=MAX_COLUMNS)
            if key == "columns" and all(isinstance(name, str) for name in (first, *others)):
                found.columns = (str(first), *others)
        else:
            value = stream.value()
            kind = "object" if isinstance(value, dict) else "scalar"
            found.kinds[key] = "row" if has_any(value, wanted) else kind
    found.more = stream.mark() != ""
    return found


def has_any(value: Any, names: Sequence[str]) -> bool:
    return isinstance(value, dict) and any(name in value for name in names)


def choose(found: Outline, wanted: Sequence[str]) -> Layout:
    """The layout of a file's only object. Raises ValueError if rows stand below several keys."""
    held = {found.kinds[name] for name in wanted if name in found.kinds}
    if found.more or "scalar" in held:
        return Layout("values")
    if held and all(name in found.kinds for name in wanted):
        return Layout("columns", columns=tuple(found.kinds))
    if found.columns and isinstance(found.firsts.get("data"), list):
        return Layout("split", columns=found.columns)
    rows = found.of("rows")
    if len(rows) > 1:
        raise ValueError(
            f"rows are below several keys, {' and '.join(map(repr, rows[:4]))}: write each list to a file of its own"
        )
    if rows:
        return Layout("key", rows[0])
    objects = found.of("row", "object")
    if objects and len(objects) == len(found.kinds) and len(found.of("row")) == len(objects):
        return Layout("index")
    return without_names(found, held)


def without_names(found: Outline, held: set[str]) -> Layout:
    """The layout of an object that has not all of the wanted columns, so that a message can name those that it has."""
    lists = [key for key, first in found.firsts.items() if isinstance(first, dict)]
    if not held and lists:
        return Layout("key", lists[0])
    objects, nested = found.of("row", "object"), found.of("row", "object", "list", "rows")
    if not held and objects and len(objects) == len(found.kinds) and all(key.isdecimal() for key in objects):
        return Layout("index")
    if nested and len(nested) == len(found.kinds):
        return Layout("columns", columns=tuple(nested))
    return Layout("values")


def json_values(file: IO[str], layout: Layout, names: Sequence[str] = ()) -> Iterator[Any]:
    """The rows of a file, which should be objects; of columns, only the named ones if there are any. Raises ValueError
    if the file isn't JSON."""
    if layout.kind == "lines":
        yield from lines_of(file)
        return
    stream = Stream(file)
    if layout.kind == "list":
        yield from (stream.value() for _ in stream.items())
    elif layout.kind == "values":
        while stream.mark():
            yield stream.value()
    elif layout.kind == "columns":
        chosen = [name for name in layout.columns if name in names]
        yield from by_column(stream, chosen or layout.columns)
    elif layout.kind == "index":
        yield from (stream.value() for _ in stream.members())
    else:
        key = "data" if layout.kind == "split" else layout.key
        for name in stream.members():
            if name != key:
                stream.value()
            elif layout.kind == "key":
                yield from (stream.value() for _ in stream.items())
            else:
                yield from (named(stream.value(), layout.columns) for _ in stream.items())
    if stream.mark():
        raise stream.error("Extra data", stream.start)


def lines_of(lines: Iterable[str]) -> Iterator[Any]:
    """The value on each line that isn't blank."""
    for line in filter(str.strip, lines):
        try:
            yield DECODER.decode(line)
        except json.JSONDecodeError as error:  # its line number is always 1
            raise ValueError(f"not JSON at column {error.colno}: {error.msg}") from None


def by_column(stream: Stream, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The rows of columns: lists, or objects whose keys are the rows' index. All of them are read at once.
    Raises ValueError unless all columns have the same rows."""
    columns: dict[str, Any] = {}
    for name in stream.members():
        value = stream.value()
        if name in names:
            columns[name] = value
    first, *others = columns
    for other in others:
        if (
            type(columns[other]) is not type(columns[first])
            or len(columns[other]) != len(columns[first])
            or (isinstance(columns[first], dict) and columns[other].keys() != columns[first].keys())
        ):
            raise ValueError(f"the columns {first!r} and {other!r} don't have the same rows: {REMEDY}")
    keys = columns[first] if isinstance(columns[first], dict) else range(len(columns[first]))
    for key in keys:
        yield {name: values[key] for name, values in columns.items()}


def named(cells: Any, columns: Sequence[str]) -> Any:
    """A row of orient="split" as an object."""
    if isinstance(cells, list) and len(cells) != len(columns):
        raise ValueError(f"{len(cells)} cells, but there are {len(columns)} columns")
    return dict(zip(columns, cells, strict=True)) if isinstance(cells, list) else cells
