"""Labels that often stand for no label at all, such as SNLI's "-"."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from pairft.data.labels import as_number, is_whole

NO_GOLD_LABEL = ("-", "?")  # SNLI's if annotators disagreed; often used for unknown values


def without_gold_label(
    counts: Mapping[str, int], numbers: Mapping[str, Decimal], asked: str | None, regression: bool
) -> list[str]:
    """Those of a split's distinct labels that look like missing ones. The arguments are those of `check_values`;
    `regression`: the task is one."""
    dashes = [text for text in counts if text in NO_GOLD_LABEL and "+" not in counts]
    others = [text for text in counts if text not in numbers and text not in dashes]
    minus_one = asked is None and not may_be_class(numbers, others, regression)
    return [text for text in counts if text in dashes or (minus_one and numbers.get(text) == -1)]


def may_be_class(numbers: Mapping[str, Decimal], others: Sequence[str], regression: bool) -> bool:
    """Whether -1 is a class or a value: not beside names, and not where the other labels are ids from 0, except for -1,
    0 and 1. Beside fractions it is a value. In a task that is a regression (`regression`) it is one only beside other
    negative numbers, or among -1, 0 and 1."""
    rest = [number for number in numbers.values() if number != -1]
    if others or not rest or min(rest) < 0:
        return not others
    if regression:
        return max(rest) <= 1 and all(map(is_whole, rest))
    return min(rest) > 0 or max(rest) <= 1 or not all(map(is_whole, rest))


def is_unlabelled(text: str | None) -> bool:
    """Whether a text that isn't a class name marks a row without a label."""
    return text is None or text in NO_GOLD_LABEL or as_number(text) == -1
