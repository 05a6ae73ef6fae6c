"""What to tell the user when the training diverged."""

from collections.abc import Sequence
from pathlib import Path

import numpy

from pairft.config import Config
from pairft.data import order
from pairft.errors import Diverged


def divergence(error: Diverged, config: Config, lengths: numpy.ndarray | None, checkpoints: Sequence[Path]) -> str:
    """The message for a run that diverged: the step, its examples, the last good checkpoint, and what to try.
    `lengths`: int [examples], the tokens of each training example; None if they aren't known."""
    good = f"the last good checkpoint is {checkpoints[-1]}" if checkpoints else "there was no checkpoint yet"
    which = ""
    if lengths is not None:
        examples = order.examples_of_step(lengths, order.step_size(config), config.seed, error.step)
        more = f" and {len(examples) - 32} more" if len(examples) > 32 else ""
        listed = ", ".join(map(str, examples[:32]))
        which = f", which trains on the examples {listed}{more} of the training split (counted from 0)"
    return (
        f"error: the training diverged: {error}{which}; {good}. Start a new run with a smaller --lr, a longer "
        "--warmup-ratio or --precision fp32"
    )
