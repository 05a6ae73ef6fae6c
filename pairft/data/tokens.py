"""Tokenise the checked sentences once, with the fast tokenizer. `datasets` caches the result as an Arrow file."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pairft.data.cache import cache_errors
from pairft.data.labels import class_names
from pairft.data.pairs import Pairs
from pairft.data.targets import encode_labels
from pairft.errors import UserError
from pairft.tasks import scored_splits

if TYPE_CHECKING:
    import pyarrow
    from datasets import Dataset
    from transformers import PreTrainedTokenizerFast

TOKENS_VERSION = 2  # part of the cache key: raise it when the same rows are to give other tokens


def tokenizer_digest(tokenizer: "PreTrainedTokenizerFast") -> str:
    """A sha256 of the rules by which this tokenizer splits text, without the padding and truncation that its last call
    set."""
    rules = json.loads(tokenizer.backend_tokenizer.to_str())
    rules.pop("padding"), rules.pop("truncation")
    return hashlib.sha256(json.dumps([type(tokenizer).__name__, rules]).encode()).hexdigest()


@cache_errors()
def tokenise(pairs: Pairs, tokenizer: "PreTrainedTokenizerFast", max_length: int) -> dict[str, "Dataset"]:
    """Tokenise each split. Its columns are then input_ids (list of int), token_type_ids if the model uses them, length
    (int32, the number of tokens) and label (int64 class id, float32 value, or a list of float32 0 and 1; see
    `encode_labels`).

    Pairs longer than `max_length` tokens are truncated, the longer sentence first. The result is cached: a second call
    with the same rows, tokenizer and length reads it.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")  # otherwise it warns after a fork
    has_types = "token_type_ids" in tokenizer.model_input_names
    names = (pairs.text_columns, pairs.label_column, pairs.label_names, pairs.label_ids)
    key = repr((TOKENS_VERSION, tokenizer_digest(tokenizer), has_types, max_length, *names))
    splits = {}
    for split, rows in pairs.splits.items():
        classes = class_names(rows, pairs.label_column)
        splits[split] = rows.with_format("arrow").map(
            encode_rows,
            batched=True,
            remove_columns=rows.column_names,
            fn_kwargs={"pairs": pairs, "classes": classes, "tokenizer": tokenizer, "max_length": max_length},
            new_fingerprint=hashlib.sha256((key + repr((classes, rows._fingerprint))).encode()).hexdigest()[:32],
        )
        splits[split].reset_format()
    return splits


def encode_rows(
    rows: "pyarrow.Table",
    pairs: Pairs,
    classes: Sequence[str] | None,
    tokenizer: "PreTrainedTokenizerFast",
    max_length: int,
) -> dict[str, Any]:
    """The columns of `tokenise` for a batch of rows."""
    sentences = [rows.column(name).to_pylist() for name in pairs.text_columns]
    return {
        **encode_sentences(sentences, tokenizer, max_length),
        "label": encode_labels(rows, pairs, classes),
    }


def encode_sentences(
    sentences: Sequence[list[str]], tokenizer: "PreTrainedTokenizerFast", max_length: int
) -> dict[str, Any]:
    """input_ids, token_type_ids if the model uses them, and length. `sentences`: one or two columns of text."""
    import numpy

    has_types = "token_type_ids" in tokenizer.model_input_names
    encoded = tokenizer(
        *sentences,
        truncation="longest_first",
        max_length=max_length,
        return_attention_mask=False,  # all ones until a batch is padded
        return_token_type_ids=has_types,
    )
    columns: dict[str, Any] = {"input_ids": encoded["input_ids"]}
    if has_types:
        columns["token_type_ids"] = encoded["token_type_ids"]
    columns["length"] = numpy.array([len(ids) for ids in encoded["input_ids"]], numpy.int32)
    return columns


def fingerprint(splits: Mapping[str, "Dataset"]) -> str:
    """A sha256 of the token ids in train and the scored splits. The same text and tokenizer rules give the same
    digest."""
    import numpy

    digest = hashlib.sha256()
    for split in ("train", *scored_splits(splits)):
        for name in ("length", "input_ids"):
            for chunk in splits[split].data.column(name).chunks:
                values = chunk.flatten() if name == "input_ids" else chunk
                digest.update(values.to_numpy().astype(numpy.int32))
    return digest.hexdigest()


def check_ids(splits: Mapping[str, "Dataset"], num_embeddings: int, model: str) -> None:
    """Raise UserError if a token id has no row in the model's embedding, which has `num_embeddings` rows."""
    import pyarrow.compute as pc

    largest = max(pc.max(pc.list_flatten(rows.data.column("input_ids"))).as_py() for rows in splits.values())
    if largest >= num_embeddings:
        raise UserError(
            f"--model {model}: the data has the token id {largest}, but the model's embedding has "
            f"{num_embeddings} rows: use the tokenizer that the model was saved with"
        )
