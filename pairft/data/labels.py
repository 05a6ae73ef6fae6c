"""Labels as text, and the numbers and names in it.

Labels are compared as text: 01 and 1 are two classes, and a class name is never converted to a float and back. Whole
floats in a typed column or in JSON are integers, since pandas converts integers with missing values to floats. Labels
stay in Arrow; only the distinct ones become Python objects.

A list of labels (multi-label) is the text of a JSON list of class names, such as ["spam", "ad"].
"""

import json
import re
from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

from pairft.data.kinds import is_list, names_of

if TYPE_CHECKING:
    import pyarrow
    from datasets import Dataset

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+", re.ASCII)


def as_number(text: str) -> Decimal | None:
    """The exact value of a label if it is a number, else None."""
    try:
        return Decimal(text) if NUMBER.fullmatch(text) else None
    except InvalidOperation:  # the exponent is too large
        return None


def is_whole(number: Decimal) -> bool:
    return number == number.to_integral_value()


def whole_text(text: str) -> str:
    """A whole number as an integer: "1" for "1.0". Other text is returned unchanged."""
    number = as_number(text)
    return str(int(number)) if number is not None and is_whole(number) and number.adjusted() < 309 else text


def numbers_of(texts: Iterable[str], comma: bool = False) -> dict[str, Decimal]:
    """The values of the labels that are numbers. `comma`: those that are not whole have a decimal comma."""
    held = {text: as_number(text) for text in texts}
    if comma:
        held = {
            text: as_number(text.replace(",", ".")) for text in held if DECIMAL_COMMA.fullmatch(text) or "." not in text
        }
    return {text: number for text, number in held.items() if number is not None}


def sorted_names(names: Iterable[str]) -> tuple[str, ...]:
    """Class names in order: numbers by their values, then text."""
    numbers = numbers_of(held := list(names))
    return tuple(sorted(held, key=lambda name: (name not in numbers, numbers.get(name, Decimal(0)), name)))


def decimal_comma(texts: Iterable[str]) -> str | None:
    """A label with a decimal comma, such as 1,25, if all labels are numbers and all that are not whole have one."""
    others = [text for text in texts if (number := as_number(text)) is None or not is_whole(number)]
    return others[0] if others and all(map(DECIMAL_COMMA.fullmatch, others)) else None


def class_names(rows: "Dataset", column: str) -> list[str] | None:
    """The names of a label column of ClassLabels, or of lists of them; None for any other column."""
    return names_of(rows.features.get(column))


def label_texts(values: "pyarrow.ChunkedArray", classes: Sequence[str] | None) -> "pyarrow.ChunkedArray":
    """Labels as text, with null for missing ones. `classes`: the class names by id if the column is a ClassLabel."""
    import pyarrow
    import pyarrow.compute as pc

    if is_list(values.type):
        return list_texts(values, classes)

    none = pyarrow.scalar(None, pyarrow.string())
    if pyarrow.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    kind = values.type
    if classes is not None:
        known = pc.and_(pc.greater_equal(values, 0), pc.less(values, len(classes)))
        names = pc.take(pyarrow.array(classes, pyarrow.string()), pc.if_else(known, values, pyarrow.scalar(None, kind)))
        other = pc.binary_join_element_wise("class id", values.cast(pyarrow.string()), " ")
        return pc.if_else(known, names, pc.if_else(pc.equal(values, -1), none, other))
    if pyarrow.types.is_floating(kind):
        if pyarrow.types.is_float16(kind):
            values = values.cast(pyarrow.float32())
        whole = pc.and_(pc.equal(pc.trunc(values), values), pc.less(pc.abs(values), 2.0**63))
        integers = pc.if_else(whole, values, pyarrow.scalar(0, values.type)).cast(pyarrow.int64())
        texts = pc.if_else(whole, integers.cast(pyarrow.string()), values.cast(pyarrow.string()))
        return pc.if_else(pc.is_nan(values), none, texts)
    if pyarrow.types.is_decimal(kind):
        if kind.scale <= 0:
            return values.cast(pyarrow.decimal256(76, 0)).cast(pyarrow.string())
        texts = pc.replace_substring_regex(values.cast(pyarrow.string()), r"^(-?\d+)\.0+$", r"\1")
        return pc.replace_substring_regex(texts, r"^-?0E-\d+$", "0")
    texts = pc.utf8_trim_whitespace(values.cast(pyarrow.string()))
    return pc.if_else(pc.equal(texts, ""), none, texts)


def label_counts(rows: "Dataset", column: str) -> dict[str, int]:
    """How often each distinct label occurs; missing ones are left out."""
    import pyarrow.compute as pc

    texts = label_texts(rows.data.column(column), class_names(rows, column))
    counts = {item["values"].as_py(): item["counts"].as_py() for item in pc.value_counts(texts)}
    counts.pop(None, None)
    return counts


def list_texts(values: "pyarrow.ChunkedArray", classes: Sequence[str] | None) -> "pyarrow.ChunkedArray":
    """A column of lists as JSON text; null for a list that is missing or holds a missing name. `classes`: the class
    names by id if its elements are ClassLabels."""
    import pyarrow
    import pyarrow.compute as pc

    chunks = []
    for chunk in values.chunks:
        names = label_texts(pyarrow.chunked_array([chunk.flatten()]), classes).combine_chunks()
        for character in ("\\", '"'):
            names = pc.replace_substring(names, character, "\\" + character)
        lengths = pc.fill_null(pc.list_value_length(chunk).cast(pyarrow.int64()), 0)
        offsets = pyarrow.concat_arrays([pyarrow.array([0], pyarrow.int64()), pc.cumulative_sum(lengths)])
        lists = pyarrow.LargeListArray.from_arrays(offsets, pc.binary_join_element_wise('"', names, '"', ""))
        texts = pc.binary_join_element_wise("[", pc.binary_join(lists, ", "), "]", "")
        chunks.append(pc.if_else(chunk.is_null(), pyarrow.scalar(None, pyarrow.string()), texts))
    return pyarrow.chunked_array(chunks, pyarrow.string())


def names_in(text: str) -> list[str] | None:
    """The class names in a JSON list; None if the text is anything else."""
    if not (text.startswith("[") and text.endswith("]")):
        return None
    try:
        items = json.loads(text, strict=False, parse_int=str, parse_float=whole_text)
    except (ValueError, RecursionError):
        return None
    names = [str(item).lower() if isinstance(item, bool) else item for item in items]
    return [name.strip() for name in names] if all(isinstance(name, str) and name.strip() for name in names) else None
