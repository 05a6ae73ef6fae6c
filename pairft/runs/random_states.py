"""Save the random states of a process as tensors, and restore them."""

import random

import numpy
import torch
from torch import Tensor


def random_states(device: str = "cpu") -> dict[str, Tensor]:
    """The states of torch's, numpy's and Python's global generators, and of the device's, as tensors."""
    kind, keys, *rest = numpy.random.get_state(legacy=True)
    assert kind == "MT19937", kind
    version, words, gauss = random.getstate()
    states = {
        "torch": torch.get_rng_state(),
        "numpy_keys": torch.from_numpy(numpy.asarray(keys).astype(numpy.int64)),
        "numpy_rest": torch.tensor(rest, dtype=torch.float64),  # position, has_gauss, cached_gaussian
        "python_words": torch.tensor(words, dtype=torch.int64),
        "python_rest": torch.tensor([version, gauss is not None, gauss or 0.0], dtype=torch.float64),
    }
    if device == "cuda":
        states["cuda"] = torch.cuda.get_rng_state()
    elif device == "mps":
        states["mps"] = torch.mps.get_rng_state()
    return states


def restore_random_states(states: dict[str, Tensor]) -> None:
    """The inverse of `random_states`."""
    torch.set_rng_state(states["torch"])
    position, has_gauss, gauss = states["numpy_rest"].tolist()
    numpy.random.set_state(
        ("MT19937", states["numpy_keys"].numpy().astype(numpy.uint32), int(position), int(has_gauss), gauss)
    )
    version, has_next, following = states["python_rest"].tolist()
    random.setstate((int(version), tuple(states["python_words"].tolist()), following if has_next else None))
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
    if "mps" in states and torch.backends.mps.is_available():
        torch.mps.set_rng_state(states["mps"])
