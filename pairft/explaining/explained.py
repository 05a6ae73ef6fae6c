"""What the explanation is about: one pair, and everything that was computed for it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pairft.config import Config
from pairft.data.batches import Batch
from pairft.explaining.pair import EncodedPair
from pairft.explaining.watched import Watched
from pairft.speed.packing import Packed

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class Explained:
    sentences: tuple[str, str]
    names: tuple[str, ...]  # of the classes, by id
    label: int
    by_default: bool  # no --label was given
    new_head: bool
    config: Config
    lr: float  # of the first step
    tokenizer: "PreTrainedTokenizerFast"
    vocabulary: int  # rows of the embedding
    pair: EncodedPair
    batch: Batch  # of the pair and the companion
    packed: Packed
    step: Watched
    adamw: dict[str, Any]  # the optimizer's settings for the weight that is followed

    @property
    def label_name(self) -> str:
        return self.names[self.label]
