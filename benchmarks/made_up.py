"""An encoder with random weights, and made-up token ids of MRPC's lengths: for benchmarks and tests that need neither
files, nor `datasets`, nor a network."""

from typing import Any

import numpy
import torch

TRAIN_ROWS, VALIDATION_ROWS = 3668, 408  # MRPC's
IDS_IN_USE = 11_563  # of BERT's 30,522, in MRPC
CLS, SEP, PAD = 101, 102, 0


def classifier(shape: dict[str, int]) -> Any:
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(42)
    return BertForSequenceClassification(BertConfig(**shape))


class Rows:
    """Columns as lists, indexed like a datasets.Dataset: by a column's name or by a list of rows."""

    def __init__(self, number: int, seed: int) -> None:
        draw = numpy.random.default_rng(seed)
        # MRPC's training part: mean 53.2, standard deviation 15.1, from 17 to 103 tokens.
        lengths = draw.normal(53.2, 15.1, number).round().clip(17, 103).astype(int)
        words = numpy.random.default_rng(0).permutation(numpy.arange(1000, 30522))[:IDS_IN_USE]
        first = (lengths // 2).tolist()
        self.columns: dict[str, Any] = {
            "input_ids": [[CLS, *draw.choice(words, n - 2).tolist(), SEP] for n in lengths],
            "token_type_ids": [[0] * a + [1] * (n - a) for a, n in zip(first, lengths.tolist(), strict=True)],
            "label": draw.integers(0, 2, number).tolist(),
            "length": lengths,
        }

    def __len__(self) -> int:
        return len(self.columns["label"])

    def __getitem__(self, what: str | list[int]) -> Any:
        if isinstance(what, str):
            return self.columns[what]
        return {name: [column[row] for row in what] for name, column in self.columns.items() if name != "length"}

    @property
    def data(self) -> Any:
        """The lengths, as an Arrow table."""
        import pyarrow

        return pyarrow.table({"length": self.columns["length"].astype(numpy.int32)})

    def used_ids(self, number: int) -> torch.Tensor:
        used = torch.zeros(number, dtype=torch.bool)
        used[torch.tensor(sorted({PAD, *(i for row in self.columns["input_ids"] for i in row)}))] = True
        return used
