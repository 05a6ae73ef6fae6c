"""The meaning of a label column: class names and ids, or the values of a regression.

Labels are compared as text: 01 and 1 are two classes, and a class name is never converted to a float and back. Whole
floats in a typed column or in JSON are integers, since pandas converts integers with missing values to floats. Labels
stay in Arrow; only the distinct ones become Python objects.
"""

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING

from pairft.errors import UserError

if TYPE_CHECKING:
    import pyarrow
    from datasets import Dataset

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+", re.ASCII)
NO_GOLD_LABEL = ("-", "?")  # SNLI's if annotators disagreed; often used for unknown values


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


def class_names(rows: "Dataset", column: str) -> list[str] | None:
    """The names of a label column that is a ClassLabel; None for any other column."""
    return getattr(rows.features.get(column), "names", None)


def label_texts(values: "pyarrow.ChunkedArray", classes: Sequence[str] | None) -> "pyarrow.ChunkedArray":
    """Labels as text, with null for missing ones. `classes`: the class names by id if the column is a ClassLabel."""
    import pyarrow
    import pyarrow.compute as pc

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


def label_names(rows: "Dataset", where: str, column: str, known: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """The class names by id: those of the task (`known`), those of the source, or the distinct labels of the training
    split, sorted by number, then by text. None if any label is fractional: then the task is regression."""
    own = class_names(rows, column)
    given = known if known is not None else own
    if given is not None:
        return tuple(given)
    counts = label_counts(rows, column)
    if not counts:
        raise UserError(f"the label column {column!r} of {where} is empty")
    numbers = numbers_of(counts)
    check_values(counts, numbers, where, column)
    others = counts.keys() - numbers.keys()
    if others and numbers:
        raise UserError(
            f"the label column {column!r} of {where} mixes numbers and names: {min(others)!r} is not a finite number"
        )
    if any(not is_whole(number) for number in numbers.values()):
        return None
    return tuple(sorted(counts, key=lambda text: (numbers.get(text, Decimal(0)), text)))


def label_counts(rows: "Dataset", column: str) -> dict[str, int]:
    """How often each distinct label occurs; missing ones are left out."""
    import pyarrow.compute as pc

    texts = label_texts(rows.data.column(column), class_names(rows, column))
    counts = {item["values"].as_py(): item["counts"].as_py() for item in pc.value_counts(texts)}
    counts.pop(None, None)
    return counts


def numbers_of(texts: Iterable[str]) -> dict[str, Decimal]:
    """The values of the labels that are numbers."""
    return {text: number for text in texts if (number := as_number(text)) is not None}


def check_scores(splits: Mapping[str, "Dataset"], where: Mapping[str, str], column: str) -> None:
    """Raise UserError if a split of a regression task holds what looks like a missing label, or a decimal comma."""
    counts = {split: label_counts(rows, column) for split, rows in splits.items()}
    numbers = numbers_of(text for texts in counts.values() for text in texts)
    for split in splits:
        check_values(counts[split], numbers, where[split], column, regression=True)


def check_values(
    counts: Mapping[str, int], numbers: Mapping[str, Decimal], where: str, column: str, regression: bool = False
) -> None:
    """Raise UserError if one of a split's distinct labels looks like a missing one, or if they have a decimal comma.

    `numbers`: the values of those that are numbers; with `regression`, of all splits.
    """
    others = [text for text in counts if text not in numbers]
    for text, count in counts.items():
        dash = text in NO_GOLD_LABEL and "+" not in counts
        if dash or (numbers.get(text) == -1 and not may_be_class(numbers, others, regression)):
            remedy = " or, if it is a class, give it another name"
            if regression:
                remedy = "" if dash else " or, if it is a value, add 1 to every label: it changes no correlation"
            raise UserError(
                f"the column {column!r} of {where} has the label {text!r} (count: {count}), which often means that "
                f"there is no gold label: remove these rows{remedy}"
            )
    commas = [text for text in others if DECIMAL_COMMA.fullmatch(text)]
    if commas and len(commas) == len(others):
        raise UserError(
            f"the label column {column!r} of {where} holds {commas[0]!r}, with a comma: write numbers with a point, "
            f"{commas[0].replace(',', '.')}"
        )


def may_be_class(numbers: Mapping[str, Decimal], others: Sequence[str], regression: bool) -> bool:
    """Whether -1 is a class or a value: among -1, 0 and 1, or beside other negative numbers; but not beside names, or
    beside 0, 1 and 2. Beside fractions it is a value, unless the task is a regression (`regression`)."""
    rest = [number for number in numbers.values() if number != -1]
    if others or not rest or min(rest) < 0:
        return not others
    if regression:
        return max(rest) <= 1 and all(map(is_whole, rest))
    return len(rest) < 2 or max(rest) <= 1 or not all(map(is_whole, rest))


def read_labels(
    rows: "Dataset", where: str, column: str, names: tuple[str, ...] | None, by_number: bool, label_needed: bool
) -> dict[str, float]:
    """The class id, or the value of a regression, of each distinct label, by its text.

    If labels aren't needed, rows may be unlabelled (`is_unlabelled`), and so is a column that only repeats one unknown
    text. Raises UserError, which names the row, for any other unknown or missing label.
    """
    import pyarrow
    import pyarrow.compute as pc

    if column not in rows.column_names:  # if it is needed, check_columns has raised an error
        return {}
    own = class_names(rows, column)
    numbered = [str(index) for index in range(len(names or ()))]
    if own is not None and names is not None and set(own) != set(names) and not (by_number and own == numbered):
        raise UserError(
            f"the label column {column!r} of {where} numbers its classes as {', '.join(own)}, but they should be "
            f"{', '.join(names)}"
        )
    texts = label_texts(rows.data.column(column), own)
    distinct = pc.unique(texts).to_pylist()
    ids = label_ids([text for text in distinct if text is not None], names, by_number)
    if label_needed:
        unknown = [text for text in distinct if text not in ids]
    else:
        if names is None and {as_number(text) for text in ids} == {-1}:
            ids = {}
        unknown = [text for text in distinct if text not in ids and not is_unlabelled(text)]
        if not ids and len(unknown) == 1:
            return {}
    for text in unknown:
        alike = pc.is_null(texts) if text is None else pc.fill_null(pc.equal(texts, text), False)
        row = pc.index(alike, pyarrow.scalar(True)).as_py() + 1
        what = "has no label" if text is None else f"has the label {text!r}"
        wanted = "a finite number, with a point" if names is None else f"one of: {', '.join(names[:20])}"
        more = pc.sum(alike).as_py() - 1
        also = f" (and {more} more)" if more else ""
        raise UserError(f"{where}, row {row} {what} in the column {column!r}{also}; it should be {wanted}")
    return ids


def is_unlabelled(text: str | None) -> bool:
    """Whether a text that isn't a class name marks a row without a label."""
    return text is None or text in NO_GOLD_LABEL or as_number(text) == -1


def label_ids(texts: Sequence[str], names: tuple[str, ...] | None, by_number: bool) -> dict[str, float]:
    """The class id, or the value of a regression, of each label that has one. Labels are class names; only if none of
    them is, and if `by_number` is true, they are read as class ids."""
    if names is None:
        values = {text: float(text) for text in texts if as_number(text) is not None}
        return {text: value for text, value in values.items() if math.isfinite(value)}
    index = {name: number for number, name in enumerate(names)}
    named: dict[str, float] = {text: index[text] for text in texts if text in index}
    if named or not by_number:
        return named
    whole = {text: number for text in texts if (number := as_number(text)) is not None and is_whole(number)}
    return {text: int(number) for text, number in whole.items() if 0 <= number < len(names)}


def near_equal(names: Sequence[str]) -> list[list[str]]:
    """Groups of names that differ only in case, spaces, dashes or the way a number is written."""
    groups: dict[Decimal | str, list[str]] = {}
    for name in names:
        number = as_number(name)
        plain = " ".join(re.split(r"[\s_-]+", unicodedata.normalize("NFKC", name).casefold()))
        groups.setdefault(plain if number is None else number, []).append(name)
    return [group for group in groups.values() if len(group) > 1]
