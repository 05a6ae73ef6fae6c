"""Whether an example's logits depend on the examples that share its batch, and on which side the padding belongs."""

from typing import TYPE_CHECKING

import numpy
import torch

from pairft.data.batches import Collate, collate_for
from pairft.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

TOLERANCE = 1e-4  # of the logits' norm: float32's rounding stays far below


def checked_collate(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerFast",
    dataset: "Dataset",
    device: torch.device,
    may_change: bool,
) -> tuple[Collate, str]:
    """The collate for the model, and a warning if its logits depend on padding, else "".

    If they do on the tokenizer's padding side but not on the other one, and `may_change`, the tokenizer gets that other
    side. Call it while the model is on the CPU, in float32 and as it was loaded. Leaves it in evaluation mode.
    """
    if int(tokenizer.pad_token_id) >= len(model.get_input_embeddings().weight):
        raise UserError(
            f"the tokenizer's padding token has the id {tokenizer.pad_token_id}, but the model's embedding has "
            f"{len(model.get_input_embeddings().weight)} rows: save the model after resize_token_embeddings"
        )
    if getattr(model.config, "pad_token_id", None) is None:  # decoders look for the last token that is not padding
        model.config.pad_token_id = tokenizer.pad_token_id
    error = dependence(model, collate_for(tokenizer, device), dataset)
    if error > TOLERANCE and may_change:
        given = tokenizer.padding_side
        tokenizer.padding_side = "left" if given == "right" else "right"
        if dependence(model, collate_for(tokenizer, device), dataset) <= TOLERANCE:
            error = 0.0
            tokenizer.init_kwargs["padding_side"] = tokenizer.padding_side  # which save_pretrained writes
        else:
            tokenizer.padding_side = given
    warning = (
        f"warning: logits of this {model.config.model_type} depend on padding, so on which examples share a batch: "
        f"here they differ by {error:.1e} of their norm"
    )
    return collate_for(tokenizer, device), warning if error > TOLERANCE else ""


def dependence(model: "PreTrainedModel", collate: Collate, dataset: "Dataset") -> float:
    """How far the logits of a few examples, padded in one batch, are from those of each alone, relative to these."""
    examples = dataset[unequal(dataset.with_format("numpy")["length"][:])]
    model.eval()
    with torch.no_grad():  # not inference mode: what a model caches here, training must be able to use
        batched = model(**collate(examples).inputs()).logits
        alone = []
        for number in range(len(examples["label"])):
            inputs = {
                name: torch.tensor([values[number]])
                for name, values in examples.items()
                if name in ("input_ids", "token_type_ids")
            }
            alone.append(model(**inputs, attention_mask=torch.ones_like(inputs["input_ids"])).logits)
        wanted = torch.cat(alone)
        return float((batched - wanted).norm() / wanted.norm())


def unequal(lengths: numpy.ndarray) -> list[int]:
    """Indices of up to three examples: the shortest, and those closest to two and four times as long. So they have much
    padding in one batch, yet cost little."""
    shortest = lengths.min()
    return sorted({int(numpy.abs(lengths - shortest * times).argmin()) for times in (1, 2, 4)})
