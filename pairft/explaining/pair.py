"""The pair on its way to the model: tokens, truncation, and a batch of two pairs, padded and packed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from pairft.data.batches import Batch, collate_for
from pairft.data.lengths import NO_LIMIT, first_position
from pairft.data.tokens import encode_sentences
from pairft.data.truncation import gaps
from pairft.speed.packing import Packed, pack

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerFast

COMPANION = ("Yes.", "No.")  # the second pair of the batch: short, so that there is something to pad
TRUNCATION = "longest"


@dataclass(frozen=True)
class EncodedPair:
    """The tokens of a pair, whole and after truncation."""

    whole: list[str]  # before truncation
    tokens: list[str]  # after it
    ids: list[int]
    segments: list[int] | None  # token_type_ids; None if the model has none
    max_length: int
    trial_length: int  # a shorter maximum, to show what it would cut; the length itself if there is none
    cut: list[str]  # the tokens that truncation takes away at max_length or, if it takes none, at trial_length

    @property
    def is_cut(self) -> bool:
        return len(self.whole) > len(self.tokens)


def encode_pair(sentences: Sequence[str], tokenizer: "PreTrainedTokenizerFast", max_length: int) -> EncodedPair:
    columns = [[sentence] for sentence in sentences]
    whole = encode_sentences(columns, tokenizer, NO_LIMIT)
    short = encode_sentences(columns, tokenizer, max_length, TRUNCATION)
    names = tokenizer.convert_ids_to_tokens(whole["input_ids"][0])
    length = len(names)
    least = tokenizer.num_special_tokens_to_add(pair=True) + len(sentences)
    trial = max_length if length > max_length else max(least, length - max(2, length // 4))
    return EncodedPair(
        whole=names,
        tokens=tokenizer.convert_ids_to_tokens(short["input_ids"][0]),
        ids=short["input_ids"][0],
        segments=short["token_type_ids"][0] if "token_type_ids" in short else None,
        max_length=max_length,
        trial_length=min(trial, length),
        cut=cut_tokens(sentences, tokenizer, names, trial) if trial < length else [],
    )


def cut_tokens(
    sentences: Sequence[str], tokenizer: "PreTrainedTokenizerFast", names: list[str], max_length: int
) -> list[str]:
    """Which of the tokens (`names`) truncation to `max_length` takes away."""
    layout = tokenizer.backend_tokenizer.encode(*sentences).sequence_ids
    found = gaps(layout, len(sentences), max_length, TRUNCATION, tokenizer.truncation_side) or []
    return [name for gap in reversed(found) for name in names[gap]]


def batch_of(
    pairs: Sequence[Sequence[str]], labels: list[int], tokenizer: "PreTrainedTokenizerFast", max_length: int
) -> Batch:
    """A batch of these pairs, padded to the longest of them."""
    first, second = ([pair[side] for pair in pairs] for side in (0, 1))
    columns: dict[str, Any] = encode_sentences([first, second], tokenizer, max_length, TRUNCATION)
    batch = collate_for(tokenizer, torch.device("cpu"))({**columns, "label": labels})
    assert isinstance(batch, Batch), type(batch)
    return batch


def packed_of(batch: Batch, config: "PretrainedConfig") -> Packed:
    return pack(batch, first_position(config))
