"""Multi-label data: a row's label is a set of classes, a list in one column, or 0 and 1 in a column for each class.

Either way it becomes text, a JSON list of class names such as ["spam", "ad"], so that it is checked, counted and stored
like any other label. An empty list is a row without any of the classes; null is a missing label.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal

from pairft.data.labels import names_in, numbers_of
from pairft.errors import UserError


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
    """The classes in these lists, sorted by number, then by text."""
    names = {name for text in texts for name in names_in(text) or ()}
    numbers = numbers_of(names)
    return tuple(sorted(names, key=lambda name: (numbers.get(name, Decimal(0)), name)))


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
