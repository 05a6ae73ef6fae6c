"""Tokenise the checked sentences once, with the fast tokenizer. `datasets` caches the result as an Arrow file."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pairft.data.cache import cache_errors
from pairft.data.labels import class_names
from pairft.data.pairs import Pairs
from pairft.data.row_numbers import row_numbers
from pairft.data.targets import encode_labels
from pairft.data.truncation import gaps
from pairft.errors import UserError
from pairft.output import datasets_progress, say
from pairft.tasks import scored_splits

if TYPE_CHECKING:
    import pyarrow
    from datasets import Dataset
    from transformers import PreTrainedTokenizerFast

TOKENS_VERSION = 5  # part of the cache key: raise it when the same rows are to give other tokens
NO_ROOM = -1  # in the column `lost`
ROWS_AT_ONCE = 1000  # tokenised together
ROWS_OF_A_BATCH = 4000  # of the Arrow file: its metadata, 3 KiB per batch, is in memory


def tokenizer_digest(tokenizer: "PreTrainedTokenizerFast") -> str:
    """A sha256 of the rules by which this tokenizer splits text, without the padding and truncation that its last call
    set."""
    rules = json.loads(tokenizer.backend_tokenizer.to_str())
    rules.pop("padding"), rules.pop("truncation")
    return hashlib.sha256(json.dumps([type(tokenizer).__name__, rules]).encode()).hexdigest()


@cache_errors()
def tokenise(
    pairs: Pairs, tokenizer: "PreTrainedTokenizerFast", max_length: int, truncation: str = "longest"
) -> dict[str, "Dataset"]:
    """Tokenise each split. Its columns are then input_ids (list of int), token_type_ids if the model uses them, length
    (int32, the number of tokens), lost (int32, the number of tokens cut off) and label (int64 class id, float32 value,
    or a list of float32 0 and 1; see `encode_labels`).

    Pairs longer than `max_length` tokens are cut as `truncation` says (--truncation). Raises UserError if the sentence
    to cut would lose all of its tokens. The result is cached: a second call with the same rows, tokenizer, length and
    truncation reads it. The tokenizer uses all cores, in threads.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")  # otherwise it warns after a fork
    has_types = "token_type_ids" in tokenizer.model_input_names
    names = (pairs.text_columns, pairs.label_column, pairs.problem_type, pairs.label_names, pairs.label_ids)
    rules = (tokenizer_digest(tokenizer), tokenizer.truncation_side, truncation, max_length)
    key = repr((TOKENS_VERSION, has_types, *rules, *names))
    arguments = {"pairs": pairs, "tokenizer": tokenizer, "max_length": max_length, "truncation": truncation}
    splits = {}
    for split, rows in pairs.splits.items():
        classes = class_names(rows, pairs.label_column)
        with datasets_progress(len(rows)):
            splits[split] = rows.with_format("arrow").map(
                encode_rows,
                batched=True,
                batch_size=ROWS_OF_A_BATCH,
                writer_batch_size=ROWS_OF_A_BATCH,
                remove_columns=rows.column_names,
                fn_kwargs={**arguments, "classes": classes},
                new_fingerprint=hashlib.sha256((key + repr((classes, rows._fingerprint))).encode()).hexdigest()[:32],
                try_original_type=False,  # labels of type large_string would stay text
                desc=f"tokenising the {split} split",
            )
        splits[split].reset_format()
        check_cut(splits[split], rows, split, max_length, truncation)
    return splits


def encode_rows(
    rows: "pyarrow.Table",
    pairs: Pairs,
    classes: Sequence[str] | None,
    tokenizer: "PreTrainedTokenizerFast",
    max_length: int,
    truncation: str = "longest",
) -> dict[str, Any]:
    """The columns of `tokenise` for a batch of rows."""
    sentences = [rows.column(name).to_pylist() for name in pairs.text_columns]
    return {
        **encode_sentences(sentences, tokenizer, max_length, truncation),
        "label": encode_labels(rows, pairs, classes),
    }


def encode_sentences(
    sentences: Sequence[list[str]],
    tokenizer: "PreTrainedTokenizerFast",
    max_length: int,
    truncation: str = "longest",
) -> dict[str, Any]:
    """input_ids, token_type_ids if the model uses them, length and lost. `sentences`: one or two columns of text.

    `lost` is NO_ROOM for an example whose sentence to cut would lose all of its tokens: it is cut as with "longest".
    """
    import numpy

    backend = tokenizer.backend_tokenizer
    backend.no_truncation(), backend.no_padding()
    texts = sentences[0] if len(sentences) == 1 else list(zip(*sentences, strict=True))
    # Without offsets in the text, which nobody reads. Not all at once: before they are cut, encodings may be long.
    pieces = (texts[start : start + ROWS_AT_ONCE] for start in range(0, len(texts), ROWS_AT_ONCE))
    ids, types, lost = [], [], []
    for encoding in (encoding for some in pieces for encoding in backend.encode_batch_fast(some)):
        tokens, sentence = encoding.ids, encoding.type_ids
        lost.append(max(0, len(tokens) - max_length))
        if lost[-1]:
            layout = encoding.sequence_ids, len(sentences), max_length
            left_out = gaps(*layout, truncation, tokenizer.truncation_side)
            if left_out is None:  # an error in the splits that training uses (`check_cut`)
                left_out, lost[-1] = gaps(*layout, "longest", tokenizer.truncation_side) or [], NO_ROOM
            for gap in left_out:
                del tokens[gap], sentence[gap]
        ids.append(tokens)
        types.append(sentence)
    columns: dict[str, Any] = {"input_ids": ids}
    if "token_type_ids" in tokenizer.model_input_names:
        columns["token_type_ids"] = types
    columns["length"] = numpy.array([len(tokens) for tokens in ids], numpy.int32)
    columns["lost"] = numpy.array(lost, numpy.int32)
    return columns


def check_cut(tokens: "Dataset", rows: "Dataset", split: str, max_length: int, truncation: str) -> None:
    """Raise UserError if, in one of the `rows` (`tokens`: the same tokenised), the sentence that --truncation keeps
    whole leaves no room for the other one. In rows that are only predicted, such pairs are cut as with "longest", which
    a line says."""
    import pyarrow
    import pyarrow.compute as pc

    row = pc.index(tokens.data.column("lost"), pyarrow.scalar(NO_ROOM, pyarrow.int32())).as_py()
    if row >= 0 and split == "test":
        number = row_numbers(rows, [row])[0]
        say(f"warning: rows such as {number} are cut as by --truncation longest: {truncation} leaves no room")
    elif row >= 0:
        raise no_room(f"row {row_numbers(rows, [row])[0]} of the {split} split", max_length, truncation)


def no_room(where: str, max_length: int, truncation: str) -> UserError:
    """The error for a row whose sentence that --truncation keeps whole leaves no room for the other one."""
    other = {"first": "second", "second": "first"}[truncation]
    return UserError(
        f"--truncation {truncation}: in {where} the {other} sentence alone fills the {max_length} tokens: choose "
        "--truncation longest or head-tail, a greater --max-length, or shorten it"
    )


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
        raise unknown_id(largest, num_embeddings, model)


def unknown_id(token_id: int, num_embeddings: int, model: str) -> UserError:
    return UserError(
        f"--model {model}: the data has the token id {token_id}, but the model's embedding has {num_embeddings} rows: "
        "use the tokenizer that the model was saved with"
    )
