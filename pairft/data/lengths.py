"""How many tokens an example may have, and the position of its first one."""

from typing import TYPE_CHECKING

from pairft.errors import UserError

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerFast

NO_LIMIT = 2**31 - 1  # for models that state none, such as XLNet and T5, which use relative positions
# Their position ids start after the padding's id, so that the first pad_token_id + 1 positions are never used.
OFFSET_POSITIONS = ("camembert", "mpnet", "roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod")


def first_position(config: "PretrainedConfig") -> int:
    """The position id of an example's first token."""
    return (config.pad_token_id or 0) + 1 if config.model_type in OFFSET_POSITIONS else 0


def length_limit(tokenizer: "PreTrainedTokenizerFast", config: "PretrainedConfig") -> int:
    """The most tokens that the model takes."""
    positions = getattr(config, "max_position_embeddings", None) or -1
    by_model = positions - first_position(config) if positions > 0 else NO_LIMIT
    return min(int(tokenizer.model_max_length), int(by_model), NO_LIMIT)


def checked_length(
    asked: int | None, tokenizer: "PreTrainedTokenizerFast", config: "PretrainedConfig", sentences: int
) -> int:
    """--max-length, or the model's limit. Raises UserError if it is beyond that limit, or too short for one token of
    each of an example's `sentences`."""
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
