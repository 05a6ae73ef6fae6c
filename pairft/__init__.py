"""pairft: fine-tune BERT-like encoders on pairs of sentences, in a loop that can be read in one sitting."""

import importlib
import os
from typing import Any

__version__ = "0.1.0"


def load(model: str | os.PathLike[str], device: str = "auto", precision: str = "auto") -> Any:
    """A trained model that predicts: `pairft.load(folder_or_hub_id).predict(pairs)`. `device`: auto, cpu, cuda or mps;
    `precision`: auto, fp32, bf16 or fp16. Raises ValueError, which says what to do, if it can't be loaded. Its types
    are in __init__.pyi."""
    # By name and here, since every module imports this package, and this one imports torch.
    return importlib.import_module("pairft.prediction.predictor").load(model, device, precision)
