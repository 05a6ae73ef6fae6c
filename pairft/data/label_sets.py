"""Multi-label data: a row's label is a set of classes, a list in one column, or 0 and 1 in a column for each class.

Either way it becomes text, a JSON list of class names such as ["spam", "ad"], so that it is checked, counted and stored
like any other label. An empty list is a row without any of the classes; null is a missing label.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from pairft.data.cache import cache_errors
from pairft.data.labels import class_names, label_texts, names_in, sorted_names, whole_text
from pairft.errors import UserError

if TYPE_CHECKING:
    import pyarrow
    from datasets import Dataset

YES, NO = ("1", "true"), ("0", "false")
UNKNOWN = ("-1", "?", "-")


def are_lists(texts: Iterable[str], where: str, column: str) -> bool:
    """Whether the labels are lists: all of them, or none. Raises UserError if only some are, and for Python's lists."""
    texts = list(texts)
    lists = [text for text in texts if names_in(text) is not None]
    other = next((text for text in texts if text not in lists), None)
    if not lists:
        if other is not None and all(text.startswith("[") and text.endswith("]") for text in texts):
            raise UserError(
                f"the label column {column!r} of {where} holds {other}, which is not a JSON list of names: write "
                '["spam", "ad"], with double quotes, or add --classification if each text is a class'
            )
        return False
    if other is not None:
        raise UserError(
            f"the label column {column!r} of {where} mixes lists and single labels: {lists[0]} and {other!r}"
        )
    return True


def set_names(texts: Iterable[str]) -> tuple[str, ...]:
    """The classes in these lists, sorted."""
    return sorted_names({name for text in texts for name in names_in(text) or ()})


def set_ids(texts: Sequence[str], names: Sequence[str], by_number: bool) -> dict[str, tuple[int, ...]]:
    """The class ids of each list, in ascending order. Its items are class names; only if none in all the lists is, and
    if `by_number` is true, they are read as class ids. A list with any other item, or with one twice, is left out."""
    found = {text: items for text in texts if (items := names_in(text)) is not None}
    index = {name: number for number, name in enumerate(names)}
    if by_number and not any(item in index for items in found.values() for item in items):
        index = {str(number): number for number in range(len(names))}
    return {
        text: tuple(sorted(index[item] for item in items))
        for text, items in found.items()
        if all(item in index for item in items) and len(set(items)) == len(items)
    }


@cache_errors()
def join_columns(rows: "Dataset", where: str, columns: Sequence[str], name: str) -> "Dataset":
    """`rows` with one column, `name`, in place of several `columns` of 0 and 1 (or false and true): the list of those
    that are 1, as text. It is null in a row that lacks one of the values. Rows without all the columns are unchanged.

    Raises UserError, which names the row, for any other value.
    """
    if len(columns) == 1 or not set(columns) <= set(rows.column_names):
        return rows
    for column in columns:
        check_column(rows, where, column)
    joined = rows.with_format("arrow").map(
        joined_rows,
        batched=True,
        fn_kwargs={"columns": tuple(columns), "name": name},
        new_fingerprint=hashlib.sha256(repr((rows._fingerprint, columns)).encode()).hexdigest()[:32],
    )
    joined.reset_format()
    return joined


def check_column(rows: "Dataset", where: str, column: str) -> None:
    """Raise UserError, which names the row, unless a column holds 0 and 1 or is missing."""
    import pyarrow
    import pyarrow.compute as pc

    if class_names(rows, column) is not None:
        raise UserError(f"the label column {column!r} of {where} has classes of its own, but should be 0 or 1")
    texts = label_texts(rows.data.column(column), None)
    for text in pc.unique(texts).to_pylist():
        if text is not None and whole_text(text.lower()) not in (*YES, *NO, *UNKNOWN):
            row = pc.index(texts, pyarrow.scalar(text)).as_py() + 1
            raise UserError(
                f"{where}, row {row}: {column!r} holds {text!r}; each of several label columns should hold 0 or 1, or "
                "false or true"
            )


def joined_rows(rows: "pyarrow.Table", columns: Sequence[str], name: str) -> "pyarrow.Table":
    """`join_columns` for a batch of rows."""
    import pyarrow
    import pyarrow.compute as pc

    names, known = [], pyarrow.scalar(True)
    for column in columns:
        texts = label_texts(rows.column(column), None)
        values = {text: whole_text(text.lower()) for text in pc.unique(texts).drop_null().to_pylist()}
        chosen = [text for text, value in values.items() if value in YES]
        held = [text for text, value in values.items() if value in (*YES, *NO)]
        is_chosen = pc.is_in(texts, pyarrow.array(chosen, pyarrow.string()))
        names.append(pc.if_else(is_chosen, ", " + json.dumps(column, ensure_ascii=False), ""))
        known = pc.and_(known, pc.is_in(texts, pyarrow.array(held, pyarrow.string())))
    # Not with null for what isn't chosen: binary_join_element_wise with "skip" leaves out rows that are all null.
    inner = pc.utf8_slice_codeunits(pc.binary_join_element_wise(*names, ""), 2)
    lists = pc.binary_join_element_wise("[", inner, "]", "")
    lists = pc.if_else(known, lists, pyarrow.scalar(None, pyarrow.string()))
    return rows.drop_columns(list(columns)).append_column(name, lists)
