"""The maximum number of tokens per example, and the position id of the first."""

from typing import TYPE_CHECKING

from pairft.errors import UserError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerFast

NO_LIMIT = 2**31 - 1  # for models without a limit, such as XLNet and T5, which use relative positions
# Models whose position ids start at pad_token_id + 1, so that the positions before it are never used.
OFFSET_POSITIONS = ("camembert", "mpnet", "roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod")


def first_position(config: "PretrainedConfig") -> int:
    """The position id of an example's first token."""
    return (config.pad_token_id or 0) + 1 if config.model_type in OFFSET_POSITIONS else 0


def length_limit(tokenizer: "PreTrainedTokenizerFast", config: "PretrainedConfig") -> int:
    """The maximum number of tokens that the model takes."""
    positions = getattr(config, "max_position_embeddings", None) or -1
    by_model = positions - first_position(config) if positions > 0 else NO_LIMIT
    return min(int(tokenizer.model_max_length), int(by_model), NO_LIMIT)


def checked_length(
    asked: int | None, tokenizer: "PreTrainedTokenizerFast", config: "PretrainedConfig", sentences: int
) -> int:
    """--max-length (`asked`) or, if it is None, the model's limit. Raises UserError if it exceeds the limit, or is too
    short for one token of each sentence. `sentences`: sentences per example, 1 or 2."""
    limit = length_limit(tokenizer, config)
    special = tokenizer.num_special_tokens_to_add(pair=sentences == 2)
    if asked is None:
        return limit
    if not special + sentences <= asked <= limit:
        raise UserError(
            f"--max-length is {asked}, but this model takes {special + sentences} (a token of each sentence and "
            f"{special} special ones) to {limit} tokens"
        )
    return asked
