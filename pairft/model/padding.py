"""Check whether an example's logits depend on padding, and choose the padding side."""

from typing import TYPE_CHECKING

import numpy
import torch

from pairft.data.batches import Collate, collate_for, lengths_of
from pairft.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

TOLERANCE = 1e-4  # relative to the norm of the logits; float32 rounding errors are far smaller


def checked_collate(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerFast",
    dataset: "Dataset",
    device: torch.device,
    may_change: bool,
) -> tuple[Collate, str]:
    """The collate function for the model, and a warning if its logits depend on padding, else "".

    If `may_change`, and the logits depend on padding on the tokenizer's padding side but not on the other side, the
    tokenizer's padding side is changed. Call it while the model is on the CPU in float32, before training. Leaves the
    model in evaluation mode.
    """
    if int(tokenizer.pad_token_id) >= len(model.get_input_embeddings().weight):
        raise UserError(
            f"the tokenizer's padding token has the id {tokenizer.pad_token_id}, but the model's embedding has "
            f"{len(model.get_input_embeddings().weight)} rows: save the model after resize_token_embeddings"
        )
    if getattr(model.config, "pad_token_id", None) is None:  # decoders read the last token that is not padding
        model.config.pad_token_id = tokenizer.pad_token_id
    error = first_dependence(model, collate_for(tokenizer, device), dataset)
    if error > TOLERANCE and may_change:
        given = tokenizer.padding_side
        tokenizer.padding_side = "left" if given == "right" else "right"
        if dependence(model, collate_for(tokenizer, device), dataset) <= TOLERANCE:
            error = 0.0
            tokenizer.init_kwargs["padding_side"] = tokenizer.padding_side  # so that save_pretrained writes it
        else:
            tokenizer.padding_side = given
    warning = (
        f"warning: the logits of this {model.config.model_type} depend on padding, and so on the other examples in the "
        f"batch: they differ by {error:.1e} of their norm"
    )
    return collate_for(tokenizer, device), warning if error > TOLERANCE else ""


def first_dependence(model: "PreTrainedModel", collate: Collate, dataset: "Dataset") -> float:
    """`dependence`, the first time that the model computes anything. Raises UserError if it can't: some kinds of
    models need other inputs than text, or inputs of certain lengths, or don't fit their own config."""
    kind = model.config.model_type
    few = [collate(dataset[[index]]).inputs() for index in unequal(lengths_of(dataset))]  # an error in here is ours
    try:
        error = dependence(model, collate, dataset)
        model.train()  # then Reformer takes only some lengths
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            for inputs in few:
                model(**inputs)
    except Exception as error:  # transformers' code for a kind of model may raise anything
        reason = (str(error).strip().splitlines() or [""])[0]
        raise UserError(
            f"this {kind} can't compute a few examples of the data ({type(error).__name__}: {reason}): choose another "
            "encoder, such as a BERT, RoBERTa, DeBERTa or ModernBERT"
        ) from error
    finally:
        model.eval()
    return error


def dependence(model: "PreTrainedModel", collate: Collate, dataset: "Dataset") -> float:
    """The relative difference between the logits of a few examples in one padded batch and of each example alone."""
    examples = dataset[unequal(lengths_of(dataset))]
    model.eval()
    with torch.no_grad():  # not inference_mode: training must be able to use what the model caches here
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
    """Indices of up to three examples: the shortest, and those closest to two and four times its length. In one batch
    they have much padding, but are cheap to compute."""
    shortest = lengths.min()
    return sorted({int(numpy.abs(lengths - shortest * times).argmin()) for times in (1, 2, 4)})
