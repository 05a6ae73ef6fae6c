"""Cut examples that are too long. The tokenizer's own truncation doesn't say how much it cuts, and takes up to three
times as long for long pairs, because it also builds every combination of what it cuts off."""

from collections.abc import Sequence

HEAD_SHARE = 4  # a quarter of what is kept: 128 of 510 tokens in Sun et al. 2019


def budgets(lengths: Sequence[int], room: int, truncation: str) -> list[int] | None:
    """How many tokens each sentence keeps, of `lengths` tokens that exceed `room` (all but the special ones). None if
    the sentence to cut would lose all of its tokens. The same numbers as the tokenizers library gives for longest_first
    ("longest" and "head-tail"), only_first and only_second."""
    if len(lengths) == 1:
        return [room]
    first, second = lengths
    if truncation == "first":
        return [room - second, second] if second < room else None
    if truncation == "second":
        return [first, room - first] if first < room else None
    shorter = min(*lengths, room // 2)  # if it is one's own length, only the other is cut
    kept = shorter, room - shorter
    return [*kept] if first <= second else [*reversed(kept)]


def ends(budget: int, truncation: str, side: str) -> tuple[int, int]:
    """How many tokens a sentence keeps from its beginning and from its end. `side`: where the tokenizer truncates.

    head-tail keeps a quarter from the beginning and the rest from the end, as Sun et al. 2019, "How to Fine-Tune BERT
    for Text Classification?", section 5.3.1, with 128 and 382 tokens.
    """
    if truncation == "head-tail":
        head = (budget + HEAD_SHARE // 2) // HEAD_SHARE
        return head, budget - head
    return (0, budget) if side == "left" else (budget, 0)


def gaps(
    sequence_ids: Sequence[int | None], sentences: int, max_length: int, truncation: str, side: str
) -> list[slice] | None:
    """Which of an example's tokens to leave out, the last ones first; None if that isn't possible (see `budgets`).

    `sequence_ids`: for each token, which of the `sentences` it belongs to, or None for a special token. There are more
    than `max_length`.
    """
    lengths = [sequence_ids.count(number) for number in range(sentences)]
    kept = budgets(lengths, max_length - sequence_ids.count(None), truncation)
    if kept is None:
        return None
    found = []
    for number, (length, budget) in enumerate(zip(lengths, kept, strict=True)):
        if budget < length:
            start = sequence_ids.index(number)
            head, tail = ends(budget, truncation, side)
            found.append(slice(start + head, start + length - tail))
    return sorted(found, key=lambda gap: -gap.start)
