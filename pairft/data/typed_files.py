"""Parquet, Arrow and Feather files, whose columns have types: only the wanted ones are read."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pairft.data.cache import ROWS_OF_A_BATCH
from pairft.data.formats import suffix_of
from pairft.data.kinds import check_kinds, is_list, names_of, plain_kind
from pairft.errors import UserError

if TYPE_CHECKING:
    import pyarrow
    from datasets import Features

TYPED = (".parquet", ".arrow", ".feather")


def schema_of(path: Path) -> "pyarrow.Schema":
    """The columns of a file with their types."""
    from pyarrow import parquet

    if suffix_of(path) == ".parquet":
        return parquet.read_schema(path)
    with open_arrow(path) as reader:
        return reader.schema


def open_arrow(
    path: Path, fields: Sequence[int] = ()
) -> "pyarrow.ipc.RecordBatchFileReader | pyarrow.ipc.RecordBatchStreamReader":
    """A reader of an Arrow file, in the file or the streaming format; Feather is the former. `fields`: the indices of
    the columns that are read, if not all. Raises UserError for Feather's version 1, which is another format."""
    import pyarrow

    with path.open("rb") as file:
        start = file.read(8)
    if start.startswith(b"FEA1"):
        raise UserError(f"{path} is a Feather file of version 1: write it again with to_feather of a newer pandas")
    open_it = pyarrow.ipc.open_file if start.startswith(b"ARROW1") else pyarrow.ipc.open_stream
    options = pyarrow.ipc.IpcReadOptions(included_fields=list(fields) or None)
    return open_it(pyarrow.memory_map(str(path)), options=options)


def typed_batches(files: Sequence[Path], schema: "pyarrow.Schema") -> Iterator["pyarrow.RecordBatch"]:
    """The columns of `schema` of every row of the files, with its types. Raises UserError if they are empty, or if a
    value can't be converted."""
    import pyarrow

    empty = True
    for path in files:
        number = 0
        for batch in raw_batches(path, schema.names):
            empty = empty and not batch.num_rows
            columns = [as_kind(batch.column(field.name), field, path, number) for field in schema]
            number += batch.num_rows
            yield pyarrow.record_batch(columns, schema=schema)
    if empty:
        raise UserError(f"{files[0]} is empty: it has no rows")


def as_kind(values: "pyarrow.Array", field: "pyarrow.Field", path: Path, before: int) -> "pyarrow.Array":
    """The values as the field's type. Raises UserError, with the row, for one that can't be converted. `before`: how
    many rows of the file come before them."""
    import pyarrow

    try:
        return values.cast(field.type)
    except pyarrow.ArrowInvalid:
        wanted = "text" if pyarrow.types.is_string(field.type) else field.type
        for number in range(len(values)):
            try:
                values.slice(number, 1).cast(field.type)
            except pyarrow.ArrowInvalid as error:
                place = f"{path}, row {before + number + 1}"
                raise UserError(
                    f"{place}: the column {field.name!r} holds {values.type} that is not {wanted}: {error}"
                ) from None
        raise


def raw_batches(path: Path, names: Sequence[str]) -> Iterator["pyarrow.RecordBatch"]:
    """The named columns as the file has them."""
    from pyarrow import ipc, parquet

    if suffix_of(path) == ".parquet":
        with parquet.ParquetFile(path, memory_map=True) as file:
            yield from file.iter_batches(ROWS_OF_A_BATCH, columns=list(names), use_threads=False)
        return
    columns = schema_of(path).names
    with open_arrow(path, [columns.index(name) for name in names]) as reader:
        is_file = isinstance(reader, ipc.RecordBatchFileReader)
        yield from map(reader.get_batch, range(reader.num_record_batches)) if is_file else reader


def features_of(
    schemas: Mapping[Path, "pyarrow.Schema"], names: Sequence[str], text_columns: Sequence[str], labels: Sequence[str]
) -> "Features":
    """The types of the named columns, by the files' schemas; the names of a ClassLabel come from their metadata. Raises
    UserError if a type is neither text nor a label's, or if the files number their classes differently."""
    import datasets
    import pyarrow

    found = []
    for path, schema in schemas.items():
        check_kinds(str(path), schema, text_columns, [label for label in labels if label in names])
        kinds = {name: plain_kind(schema.field(name).type) for name in names}
        features = datasets.Features.from_arrow_schema(pyarrow.schema(kinds))
        about = json.loads((schema.metadata or {}).get(b"huggingface", b"{}")).get("info", {}).get("features") or {}
        for name, kind in kinds.items():
            said = about.get(name, {})
            held, said = (kind.value_type, said.get("feature", {})) if is_list(kind) else (kind, said)
            if said.get("_type") == "ClassLabel" and pyarrow.types.is_integer(held):
                features[name] = datasets.Features.from_dict({name: about[name]})[name]
        found.append(features)
    first = next(iter(schemas))
    for label in (label for label in labels if label in names):
        if names_of(found[0][label]) is None:
            kind = common_kind([plain_kind(schema.field(label).type) for schema in schemas.values()])
            if kind is None:
                raise UserError(f"the column {label!r} has booleans in some files beside {first}, but not in all")
            found[0][label] = datasets.Features.from_arrow_schema(pyarrow.schema({label: kind}))[label]
    for path, features in zip(schemas, found, strict=True):
        for label in labels:
            own, other = (names_of(some.get(label)) for some in (found[0], features))
            if own != other:
                raise UserError(f"{path} numbers its classes as {other}, but {first} as {own}: use one order")
    return found[0]


def common_kind(kinds: Sequence["pyarrow.DataType"]) -> "pyarrow.DataType | None":
    """The type of a label column whose type is not the same in all files: pandas writes integers as floats where one is
    missing, and nulls where all are. None if only some are booleans, since any number would become true or false."""
    import pyarrow
    from pyarrow import types

    held = [kind for kind in dict.fromkeys(kinds) if not types.is_null(kind)] or list(kinds[:1])
    if len(held) > 1 and any(map(types.is_boolean, held)):
        return None
    if len(held) > 1 and all(types.is_integer(kind) or types.is_floating(kind) for kind in held):
        return pyarrow.float64() if any(map(types.is_floating, held)) else pyarrow.int64()
    return held[0]
