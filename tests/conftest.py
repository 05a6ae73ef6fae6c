"""What the tests share: a tiny BERT with a vocabulary of its own, a folder of pairs, and the real entry point.

The cache is a fresh folder and the Hub is forbidden, so that no test reaches the network or a user's files. One thread
here and in the processes that tests start: a second is of no use here, and the last bits of a sum depend on the number.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

CACHE = tempfile.TemporaryDirectory(prefix="pairft-tests-")
os.environ.update(HF_HOME=CACHE.name, HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", TQDM_DISABLE="1")
os.environ["OMP_NUM_THREADS"] = "1"
ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / folder) for folder in ("", "tests", "tests/browser")]  # train.py is a script
pytest_plugins = ("usual_signals", "chromium")  # a conftest.py in tests/browser would hide this one

import pytest  # noqa: E402
import torch  # noqa: E402
import yaml  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

import train  # noqa: E402
from pairft.data import builtin  # noqa: E402

FLAGS = ("--epochs", 2, "--lr", "1e-3", "--log-every", 3, "--accumulate", 1)  # of a run to be stopped and resumed
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
# What differs from a BERT, in the config's own names; None: has no such setting. Some count positions from behind the
# padding's id.
OFFSET: dict[str, Any] = {"max_position_embeddings": 66}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "bert": {},
    "roberta": {"type_vocab_size": 1, **OFFSET},
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64},
    "electra": {"embedding_size": 16},
    "albert": {"embedding_size": 16, "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1},
    "mpnet": OFFSET,
    "modernbert": {"num_hidden_layers": 3, "global_attn_every_n_layers": 2, "local_attention": 16},
    "deberta-v2": {"relative_attention": True, "position_buckets": 16, "pos_att_type": ["p2c", "c2p"]},
    "xlm-roberta": {"type_vocab_size": 1, **OFFSET},
    "camembert": {"type_vocab_size": 1, **OFFSET},
    "rembert": {"input_embedding_size": 16, "output_embedding_size": 16},
    "convbert": {"embedding_size": 32},
    "funnel": {
        **{"block_sizes": [1, 1], "d_model": 32, "n_head": 2, "d_head": 16, "d_inner": 64},
        **{"num_hidden_layers": None, "architectures": ["FunnelModel"]},
    },
    "xlnet": {"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 64, "max_position_embeddings": None},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64, "pad_token_id": None},
    "qwen2": {"num_key_value_heads": 1, "head_dim": 16, "pad_token_id": None},
    "qwen3": {"num_key_value_heads": 1, "head_dim": 16, "pad_token_id": None},
    "fnet": {},
    "nystromformer": {},
}
PADDING_SECOND = ("roberta", "mpnet", "xlm-roberta", "camembert")  # its id is 1
WITH_TYPES = ("bert", "electra", "albert", "convbert", "fnet", "funnel", "rembert")  # token_type_ids


def write_tiny_model(folder: Path, architecture: str = "bert", **changes: Any) -> Path:
    """An encoder of 2 layers (ModernBERT: 3) and width 32 with random weights, whose vocabulary is the words of the
    builtin pairs."""
    from transformers import AutoConfig, AutoModel, BertTokenizer, XLNetTokenizer

    words = {
        word
        for row in builtin.draw_rows("train")
        for key in ("sentence1", "sentence2")
        for word in str(row[key]).lower().replace(".", " .").replace(",", " ,").replace("-", " - ").split()
    }
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    if architecture in PADDING_SECOND:
        special[:2] = ["[UNK]", "[PAD]"]
    vocabulary = list(dict.fromkeys([*special, *sorted(words), *"abcdefghijklmnopqrstuvwxyz0123456789"]))
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    tokenizer: Any = BertTokenizer(vocab=str(folder / "vocab.txt"), model_max_length=64)
    if architecture == "xlnet":  # pads on the left, and ends with the token that its head reads
        own = ["<unk>", "<pad>", "<cls>", "<sep>", "<s>", "</s>", "<mask>", "<eop>", "<eod>"]
        vocabulary = [*own, "\u2581", *("\u2581" + word for word in vocabulary), *vocabulary[-36:]]
        tokenizer = XLNetTokenizer(vocab=[(piece, -1.0) for piece in vocabulary], model_max_length=64)
    tokenizer.save_pretrained(folder)
    if architecture not in WITH_TYPES:  # save_pretrained keeps the names of the class
        about = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        about["model_input_names"] = ["input_ids", "attention_mask"]
        (folder / "tokenizer_config.json").write_text(json.dumps(about), encoding="utf-8")
    special_ids = {
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.cls_token_id,
        "cls_token_id": tokenizer.cls_token_id,
        "eos_token_id": tokenizer.sep_token_id,
        "sep_token_id": tokenizer.sep_token_id,
    }
    settings = {"vocab_size": len(vocabulary), "max_position_embeddings": 64, **SIZES, **special_ids}
    torch.manual_seed(0)
    settings |= ARCHITECTURES[architecture] | changes
    given = {name: value for name, value in settings.items() if value is not None}
    config = AutoConfig.for_model(architecture, **given)
    AutoModel.from_config(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny-bert")


@pytest.fixture(scope="session")
def wild_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights so large that no two pairs get the same answer."""
    return write_tiny_model(tmp_path_factory.mktemp("models") / "wild-bert", initializer_range=0.4)


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
        defaults += ["--batch-size", 8, "--no-report"]  # charts take half a second
        return train.main([str(flag) for flag in [*defaults, *flags]])

    return run


@pytest.fixture
def made(go: Callable[..., int], tmp_path: Path) -> Callable[..., Path]:
    """Train as some flags say. Returns the run directory."""

    def make(*flags: Any, name: str = "a") -> Path:
        assert go(*flags, "--run-name", name) == 0
        return tmp_path / "runs" / name

    return make


@pytest.fixture(autouse=True)
def same_random_state() -> Iterator[None]:
    torch.manual_seed(0)
    yield


def read_lines(run: Path, split: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return [line for line in lines if line["split"] == split]


@pytest.fixture
def begin(tiny_model: Path, pairs_folder: Path, tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start train.py on the tiny model and pairs as a process of its own."""

    def start(*flags: Any, runs: Path = tmp_path / "runs") -> subprocess.Popen[str]:
        command = [sys.executable, ROOT / "train.py", "--model", tiny_model, "--data", pairs_folder, "--runs-dir", runs]
        command += ["--device", "cpu", "--batch-size", 8, "--no-report", *flags]
        return subprocess.Popen([str(part) for part in command], stderr=subprocess.PIPE, text=True, cwd=tmp_path)

    return start


def wait_for(condition: Callable[[], Any], process: subprocess.Popen[str]) -> None:
    while not condition() and time.sleep(0.005) is None:
        assert process.poll() is None, process.communicate()[1]


def same_weights(one: Path, other: Path) -> bool:
    """Whether two runs ended with the same weights."""
    weights, others = (load_file(run / "last" / "model.safetensors") for run in (one, other))
    return all(torch.equal(weights[name], others[name]) for name in weights)


def undone(run: Path, copy: Path, step: int) -> None:
    """The run as a kill before the next checkpoint would have left it: lines already written stay."""
    shutil.copytree(run, copy)
    (copy / "results.json").unlink()
    shutil.rmtree(copy / "last")
    for folder in (copy / "checkpoints").iterdir():
        if folder.name > f"step-{step:08d}":
            shutil.rmtree(folder)


def comparable(run: Path, split: str) -> list[dict]:
    return [{k: v for k, v in line.items() if k != "examples_per_second"} for line in read_lines(run, split)]


def environment(hf_home: Path, endpoint: str | None, **more: str) -> dict[str, str]:
    """This process's, without what it or the user has set for the client libraries."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING", "TRANSFORMERS"))}
    address = {} if endpoint is None else {"HF_ENDPOINT": endpoint}
    return {**own, "HF_HOME": str(hf_home), "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", **address, **more}


def run_train(cwd: Path, env: dict[str, str], *flags: str, before: tuple[str, ...] = ()) -> subprocess.CompletedProcess:
    command = [*before, sys.executable, str(ROOT / "train.py"), *flags]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=env, timeout=300, check=False)


def recorded(run: Path) -> list[tuple]:
    """Model, data and fallback, as results.json and as config.yaml have them."""
    files = json.loads((run / "results.json").read_text()), yaml.safe_load((run / "config.yaml").read_text())
    return [(file["model"], file["data"], file["fallback"]) for file in files]


def lines_with(word: str, result: subprocess.CompletedProcess) -> list[str]:
    return [line for line in result.stderr.splitlines() if word in line.lower()]


@pytest.fixture(scope="session")
def closed() -> Iterator[str]:
    """An address that refuses connections: the port is taken, but nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture(scope="session")
def plain_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    changes = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "initializer_range": 0.2}
    return write_tiny_model(tmp_path_factory.mktemp("models") / "plain-bert", **changes)


@pytest.fixture
def torchrun(plain_model: Path, pairs_folder: Path, tmp_path: Path) -> Any:
    from torchrun import Torchrun

    return Torchrun(tmp_path, plain_model, pairs_folder)
