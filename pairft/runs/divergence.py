"""What to tell the user when the training diverged."""

from collections.abc import Sequence
from pathlib import Path

from pairft.config import Config
from pairft.data import order
from pairft.data.row_numbers import row_numbers
from pairft.errors import Diverged
from pairft.runs.opening import Sources


def divergence(error: Diverged, config: Config, sources: Sources, checkpoints: Sequence[Path]) -> str:
    """The message for a run that diverged: the step, its rows in their source, the last good checkpoint, and what to
    try. With --streaming the rows aren't known."""
    good = f"the last good checkpoint is {checkpoints[-1]}" if checkpoints else "there was no checkpoint yet"
    which, lengths = "", sources.lengths
    if lengths is not None:
        examples = order.examples_of_step(lengths, order.step_size(config), config.seed, error.step)
        more = f" and {len(examples) - 32} more" if len(examples) > 32 else ""
        listed = ", ".join(map(str, row_numbers(sources.pairs.splits["train"], examples[:32])))
        which = f", which trains on the rows {listed}{more} of the training split (counted from 1)"
    return (
        f"error: the training diverged: {error}{which}; {good}. Start a new run with a smaller --lr, a longer "
        "--warmup-ratio or --precision fp32"
    )
