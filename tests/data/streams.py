"""Streams over small files, and what their steps contain."""

import csv

import pyarrow
import torch
from conftest import write_rows
from pyarrow import parquet
from transformers import AutoTokenizer

from pairft.config import Config
from pairft.data import pairs, streaming
from pairft.data.batches import Position, collate_for
from pairft.data.order import Share

ALONE = Share()
ENOUGH = 10**6  # embedding rows


def write(folder, kind, rows):
    """The rows in three shards of unequal size; the row groups of parquet are small and unequal, too."""
    for shard, (begin, end) in enumerate(((0, 20), (20, 21), (21, len(rows)))):
        path, some = folder / f"train-{shard:05d}-of-00003.{kind}", rows[begin:end]
        if kind == "parquet":
            parquet.write_table(pyarrow.Table.from_pylist(some), path, row_group_size=7)
        elif kind == "csv":
            with path.open("w", newline="") as file:
                writer = csv.DictWriter(file, some[0].keys())
                writer.writeheader()
                writer.writerows(some)
        else:
            write_rows(path, some)


def numbered(number):
    """Rows whose first sentence is their number, spelled in letters of the tiny vocabulary."""
    return [
        {"sentence1": " ".join(str(row)), "sentence2": "a b " * (row % 6 + 1), "label": row % 2}
        for row in range(number)
    ]


def opened(tmp_path, model, kind, rows, block, num_embeddings=ENOUGH, **more):
    """A stream over rows in files of a kind, with blocks of `block` rows, and a collate function."""
    folder, tokenizer = tmp_path / f"{kind}-{block}", AutoTokenizer.from_pretrained(model)
    if not folder.exists():
        folder.mkdir()
        write(folder, kind, rows)
        write_rows(folder / "validation.jsonl", numbered(6))
    config = Config(data=str(folder), streaming=True, max_steps=1, shuffle_buffer=block, **more)
    stream = streaming.open_stream(config, pairs.load_pairs(config), tokenizer, 64, num_embeddings)
    assert stream is not None
    return stream, collate_for(tokenizer, torch.device("cpu"))


def content(step):
    """The token ids of each example, by micro-batch."""
    return [
        [tuple(row[mask.bool()].tolist()) for row, mask in zip(batch.input_ids, batch.attention_mask, strict=True)]
        for batch in step.micro_batches
    ]


def epochs_of(stream, collate, size, number=2, share=ALONE):
    steps = streaming.steps(stream, collate, 7, size, Position(), share)
    found = [next(steps)]
    while found[-1].after != (number, 0):
        found.append(next(steps))
    return found
