"""Checks of the Arrow types of text columns and label columns."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pairft.errors import UserError

if TYPE_CHECKING:
    import pyarrow


def plain_kind(kind: "pyarrow.DataType") -> "pyarrow.DataType":
    """The type of a column's values regardless of their layout: a dictionary's value type, a list for any list, and
    string for string_view. So it is for binary: Impala, Hive and old versions of Spark don't mark text as such."""
    import pyarrow
    from pyarrow import types

    if types.is_dictionary(kind):
        kind = kind.value_type
    if is_list(kind):
        return pyarrow.list_(plain_kind(kind.value_type))
    if types.is_large_binary(kind):
        return pyarrow.large_string()
    is_text = types.is_string_view(kind) or types.is_binary(kind) or types.is_binary_view(kind)
    return pyarrow.string() if is_text else kind


def is_list(kind: "pyarrow.DataType") -> bool:
    """Whether it is the type of a list of any layout."""
    from pyarrow import types

    views = types.is_list_view(kind) or types.is_large_list_view(kind)
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind) or views)


def names_of(feature: Any) -> list[str] | None:
    """The names of a ClassLabel, or of a list of them; None for any other feature of `datasets`."""
    return getattr(getattr(feature, "feature", feature), "names", None)


def check_kinds(where: str, schema: "pyarrow.Schema", text_columns: Sequence[str], labels: Sequence[str]) -> None:
    """Raise UserError unless the text columns hold text and the label columns, if there are any, names, numbers or
    lists of them."""
    from pyarrow import types

    def is_text(kind: "pyarrow.DataType") -> bool:
        return bool(types.is_string(kind) or types.is_large_string(kind))

    for column in text_columns:
        kind = plain_kind(schema.field(column).type)
        if not is_text(kind):
            raise UserError(f"the column {column!r} of {where} holds {kind}, not text")
    scalar = (types.is_integer, types.is_floating, types.is_decimal, types.is_boolean, types.is_null, is_text)
    for label in (label for label in labels if label in schema.names):
        kind = plain_kind(schema.field(label).type)
        held = plain_kind(kind.value_type) if is_list(kind) else kind
        if not any(is_it(held) for is_it in scalar):
            raise UserError(f"the label column {label!r} of {where} holds {kind}, not names or numbers")
