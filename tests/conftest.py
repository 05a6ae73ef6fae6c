"""What the tests share: a tiny BERT with a vocabulary of its own, a folder of pairs, and the real entry point.

The cache is a fresh folder and the Hub is forbidden, so that no test reaches the network or a user's files.
"""

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

CACHE = tempfile.TemporaryDirectory(prefix="pairft-tests-")
os.environ.update(HF_HOME=CACHE.name, HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", TQDM_DISABLE="1")
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # train.py is a script, not a module of the package

import pytest  # noqa: E402
import torch  # noqa: E402

import train  # noqa: E402
from pairft import builtin  # noqa: E402

torch.set_num_threads(1)  # for tensors as tiny as these, a second one only gets in the way


def write_tiny_model(folder: Path, **changes: Any) -> Path:
    """A 2-layer BERT of width 32 with random weights, whose vocabulary is the words of the builtin pairs."""
    from transformers import BertConfig, BertModel, BertTokenizer

    words = {
        word
        for row in builtin.draw_rows("train")
        for key in ("sentence1", "sentence2")
        for word in str(row[key]).lower().replace(".", " .").replace(",", " ,").replace("-", " - ").split()
    }
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted(words), *"abcdefghijklmnopqrstuvwxyz0123456789"]
    vocabulary = list(dict.fromkeys(vocabulary))
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    tokenizer = BertTokenizer(vocab=str(folder / "vocab.txt"), model_max_length=64)
    tokenizer.save_pretrained(folder)
    sizes = {
        "vocab_size": len(vocabulary),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 64,
    }
    torch.manual_seed(0)
    BertModel(BertConfig(**{**sizes, **changes})).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny-bert")


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def some_pairs(split: str, number: int) -> list[dict[str, Any]]:
    return [row for row, _ in zip(builtin.draw_rows(split), range(number), strict=False)]


@pytest.fixture(scope="session")
def pairs_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60, 20 and 10 of the builtin pairs as jsonl."""
    folder = tmp_path_factory.mktemp("pairs")
    for split, number in (("train", 60), ("validation", 20), ("test", 10)):
        write_rows(folder / f"{split}.jsonl", some_pairs(split, number))
    return folder


@pytest.fixture
def go(tiny_model: Path, pairs_folder: Path, tmp_path: Path) -> Callable[..., int]:
    """Run train.py's main on the tiny model and pairs; more flags beat these. The runs lie in tmp_path/runs."""

    def run(*flags: Any) -> int:
        defaults = ["--model", tiny_model, "--data", pairs_folder, "--runs-dir", tmp_path / "runs", "--device", "cpu"]
        return train.main([str(flag) for flag in [*defaults, *flags]])

    return run


@pytest.fixture(autouse=True)
def same_random_state() -> Iterator[None]:
    torch.manual_seed(0)
    yield


def read_lines(run: Path, split: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line["split"] == split]
