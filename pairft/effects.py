"""Which of the given settings have no effect: a flag is never without effect and without a word."""

from typing import Any

from pairft.config import Config
from pairft.parsing import flag_of


def without_effect(given: dict[str, Any], config: Config) -> list[str]:
    """A line for each setting in `given` that has no effect because of another setting."""
    unused = []
    if "shuffle_buffer" in given and not config.streaming:
        unused = [f"note: --shuffle-buffer {given['shuffle_buffer']} has no effect without --streaming"]
    if config.dry_run and config.profile:
        unused.append("note: --profile has no effect with --dry-run")
    winners = {"epochs": "max_steps", "seed": "seeds", "batch_size": "max_tokens", "validation_share": "folds"}
    return unused + [
        f"note: {flag_of(name)} {given[name]} has no effect: {flag_of(winner)} is given"
        for name, winner in winners.items()
        if name in given and getattr(config, winner) is not None
    ]


def without_effect_here(given: dict[str, Any], config: Config, device: str, total_steps: int) -> list[str]:
    """A line for each setting in `given` that has no effect on this device (its type), or in so short a run."""
    names = [name for name in ("tf32", "capture") if name in given and device != "cuda"]
    unused = [f"note: {flag_of(name)} has no effect on {device}" for name in names]
    number = evaluations_of(config, total_steps)
    if "patience" in given and config.patience is not None and number is not None and number <= config.patience + 1:
        # The first evaluation is the best so far, and after the last one the run ends anyway.
        times = "once" if number == 1 else f"{number} times"
        unused.append(f"note: --patience {config.patience} has no effect: the run is evaluated only {times}")
    return unused


def evaluations_of(config: Config, total_steps: int) -> int | None:
    """How many evaluations the run has at most; None if that depends on the data."""
    if config.eval_every == "epoch":
        return config.epochs if config.max_steps is None else None
    return 1 if config.eval_every == "never" else -(-total_steps // int(config.eval_every))
