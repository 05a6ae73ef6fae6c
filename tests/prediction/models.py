"""A small classifier from elsewhere, its answers by transformers alone, and the real entry point."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy
import torch
from conftest import write_tiny_model
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from pairft import predict

NAMES = ("no", "yes", "maybe")
COLUMNS = ("--text-columns", "sentence1,sentence2")


def classifier(folder: Path, names: Sequence[str] = NAMES, problem_type: str | None = None) -> Path:
    """Weights so large that no two pairs get the same answer; without what train.py notes beside its own."""
    encoder = write_tiny_model(folder / "encoder", initializer_range=0.4)
    torch.manual_seed(1)
    made = AutoModelForSequenceClassification.from_pretrained(
        encoder, num_labels=len(names), id2label=dict(enumerate(names)), problem_type=problem_type
    )
    made.save_pretrained(folder / "model")
    AutoTokenizer.from_pretrained(encoder).save_pretrained(folder / "model")
    return folder / "model"


def logits_of(model: Path, rows: Sequence[dict[str, Any]]) -> numpy.ndarray:
    """One row after another."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    loaded = AutoModelForSequenceClassification.from_pretrained(model).eval()
    with torch.no_grad():
        pairs = [tokenizer(row["sentence1"], row["sentence2"], return_tensors="pt") for row in rows]
        return torch.cat([loaded(**pair).logits for pair in pairs]).double().numpy()


def run(model: Path, *flags: Any) -> int:
    return predict.main(["--model", str(model), "--device", "cpu", *COLUMNS, *map(str, flags)])
