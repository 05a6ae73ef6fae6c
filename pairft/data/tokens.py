"""From checked sentences to tokens: once, by the fast tokenizer, kept by `datasets` as an Arrow file."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pairft.data.cache import cache_errors
from pairft.data.labels import class_names, label_texts
from pairft.data.pairs import Data
from pairft.errors import UserError

if TYPE_CHECKING:
    import numpy
    import pyarrow
    from datasets import Dataset
    from transformers import PretrainedConfig, PreTrainedTokenizerFast

TOKENS_VERSION = 2  # part of the cache's key: raise it when the tokens made from the same rows change
NO_LIMIT = 2**31 - 1  # of a model that states none, such as XLNet and T5, which count positions from token to token
UNLABELLED = -100  # class id of a row without a label, as cross entropy has it; in a regression it is NaN
# Their position ids start behind the padding's id, so that the first pad_token_id + 1 positions are never used.
OFFSET_POSITIONS = ("camembert", "mpnet", "roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod")


def first_position(config: "PretrainedConfig") -> int:
    """The position id of a row's first token."""
    return (config.pad_token_id or 0) + 1 if config.model_type in OFFSET_POSITIONS else 0


def length_limit(tokenizer: "PreTrainedTokenizerFast", config: "PretrainedConfig") -> int:
    """Tokens that the model takes at most."""
    positions = getattr(config, "max_position_embeddings", None) or -1
    by_model = positions - first_position(config) if positions > 0 else NO_LIMIT
    return min(int(tokenizer.model_max_length), int(by_model), NO_LIMIT)


def checked_length(
    asked: int | None, tokenizer: "PreTrainedTokenizerFast", config: "PretrainedConfig", sentences: int
) -> int:
    """--max-length, or the model's limit; UserError beyond the limit or where not a word of each of a row's `sentences`
    would fit."""
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


def identity(tokenizer: "PreTrainedTokenizerFast") -> str:
    """What makes this tokenizer split text as it does; without the padding and truncation of its last call."""
    rules = json.loads(tokenizer.backend_tokenizer.to_str())
    rules.pop("padding"), rules.pop("truncation")
    return hashlib.sha256(json.dumps([type(tokenizer).__name__, rules]).encode()).hexdigest()


@cache_errors()
def tokenise(data: Data, tokenizer: "PreTrainedTokenizerFast", max_length: int) -> dict[str, "Dataset"]:
    """Each split with the columns input_ids (list of int), token_type_ids where the model uses them, length (int32,
    tokens) and label (int64 class id, or float32; UNLABELLED or NaN where there is none).

    A pair longer than `max_length` tokens loses them from the end of its longer sentence. A second call with the same
    rows, tokenizer and length reads the first one's result.
    """
    made, wanted = identity(tokenizer), "token_type_ids" in tokenizer.model_input_names
    what = (
        TOKENS_VERSION,
        made,
        wanted,
        max_length,
        data.text_columns,
        data.label_column,
        data.label_names,
        data.label_ids,
    )
    key = repr(what).encode()
    splits = {}
    for split, rows in data.splits.items():
        classes = class_names(rows, data.label_column)
        splits[split] = rows.with_format("arrow").map(
            tokenise_rows,
            batched=True,
            remove_columns=rows.column_names,
            fn_kwargs={"data": data, "classes": classes, "tokenizer": tokenizer, "max_length": max_length},
            new_fingerprint=hashlib.sha256(key + repr((classes, rows._fingerprint)).encode()).hexdigest()[:32],
        )
        splits[split].reset_format()
    return splits


def tokenise_rows(
    rows: "pyarrow.Table",
    data: Data,
    classes: Sequence[str] | None,
    tokenizer: "PreTrainedTokenizerFast",
    max_length: int,
) -> dict[str, Any]:
    """The columns of `tokenise` for some rows. `classes`: what the ids of their label column stand for."""
    import numpy
    import pyarrow
    import pyarrow.compute as pc

    sentences = [rows.column(name).to_pylist() for name in data.text_columns]
    wanted = "token_type_ids" in tokenizer.model_input_names
    encoded = tokenizer(
        *sentences,
        truncation="longest_first",
        max_length=max_length,
        return_attention_mask=False,  # all ones until a batch is padded
        return_token_type_ids=wanted,
    )
    columns: dict[str, Any] = {"input_ids": encoded["input_ids"]}
    if wanted:
        columns["token_type_ids"] = encoded["token_type_ids"]
    columns["length"] = numpy.array([len(ids) for ids in encoded["input_ids"]], numpy.int32)
    kind, missing = (pyarrow.float32(), float("nan")) if data.label_names is None else (pyarrow.int64(), UNLABELLED)
    if data.label_column in rows.column_names and data.label_ids:
        texts = pyarrow.array(list(data.label_ids), pyarrow.string())
        found = pc.index_in(label_texts(rows.column(data.label_column), classes), texts)
        labels = pc.take(pyarrow.array(list(data.label_ids.values()), kind), found)
    else:
        labels = pyarrow.nulls(len(rows), kind)
    columns["label"] = pc.fill_null(labels, pyarrow.scalar(missing, kind)).to_numpy(zero_copy_only=False)
    return columns


def fingerprint(splits: Mapping[str, "Dataset"]) -> str:
    """A digest of the token ids that the training reads; the same for the same text and rules of the tokenizer."""
    import numpy

    digest = hashlib.sha256()
    for split in ("train", "validation"):
        for name in ("length", "input_ids"):
            for chunk in splits[split].data.column(name).chunks:
                values = chunk.flatten() if name == "input_ids" else chunk
                digest.update(values.to_numpy().astype(numpy.int32))
    return digest.hexdigest()


def check_ids(splits: Mapping[str, "Dataset"], num_embeddings: int, model: str) -> None:
    """Raise UserError where a row has a token id beyond the model's embedding of so many rows."""
    import pyarrow.compute as pc

    largest = max(pc.max(pc.list_flatten(rows.data.column("input_ids"))).as_py() for rows in splits.values())
    if largest >= num_embeddings:
        raise UserError(
            f"--model {model}: its tokenizer makes the token id {largest} of the data, but its embedding has "
            f"{num_embeddings} rows: take the tokenizer that the model was saved with"
        )


def has_label(labels: "numpy.ndarray") -> "numpy.ndarray":
    """Which rows have one, bool [rows]. labels: int64 class ids, or float32 values."""
    import numpy

    of_values = numpy.issubdtype(labels.dtype, numpy.floating)  # among which any number is a value
    labelled: numpy.ndarray = ~numpy.isnan(labels) if of_values else labels != UNLABELLED
    return labelled
