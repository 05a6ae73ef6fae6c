"""The results of a finished run: results.json and the table at the end."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pairft.config import Config
from pairft.runs import early_stopping
from pairft.runs.log import table
from pairft.runs.writer import Writer
from pairft.tasks import TASKS, f1_of, scored_splits
from pairft.training.state import TrainState


def results_of(config: Config, state: TrainState, writer: Writer, positive: str | None) -> dict[str, Any]:
    """The content of results.json. `positive`: the name of the positive class for F1, or None."""
    return {
        "best": state.best,
        "last": state.last,
        "lost_best": state.lost_best,
        "stopped_early": early_stopping.about(state),
        "train": {
            "steps": state.step,
            "seconds": state.seconds,  # without evaluation and saving
            "examples_per_second": state.examples / state.seconds,
        },
        "saving": {"waited_seconds": writer.waited, "beside_seconds": writer.beside},  # of this process
        "model": config.model,
        "data": config.data,
        "task": config.task,
        "positive_class": positive,
        "fallback": config.fallback,
        "seed": config.seed,
    }


def show(results: dict[str, Any], evaluations: Sequence[dict[str, Any]], run_dir: Path) -> None:
    """Print the evaluations as a table in which the best one is marked, the scores of the best and the last model on
    each further split, and the path of the best model."""
    print(table(evaluations, results["best"]["step"]))
    for split in scored_splits(TASKS[results["task"]].splits):
        if split != "validation" and split in results["last"]:
            shown = (
                f"{which} " + "  ".join(f"{name} {value:.4f}" for name, value in results[which][split].items())
                for which in ("best", "last")
            )
            print(f"{split}: {', '.join(shown)}")
    if "f1" in results["last"]["validation"]:
        print(f1_of(results["positive_class"]))
    if results["lost_best"] is not None:
        step = results["lost_best"]["step"]
        print(f"warning: the evaluation after step {step} was the best, but its model was damaged")
    print(f"best: {run_dir / 'best'}  (tensorboard --logdir {run_dir.parent} shows the run)")
