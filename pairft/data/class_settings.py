"""What the settings say about the classes: --positive-class, --class-weights and --label-smoothing."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pairft.config import Config
from pairft.data.labels import label_counts
from pairft.data.meaning import Target
from pairft.errors import UserError
from pairft.output import say
from pairft.parsing import closest
from pairft.tasks import MULTI_LABEL, SINGLE_LABEL, TASKS, metrics_of, positive_class

if TYPE_CHECKING:
    from datasets import Dataset


def positive_of(config: Config, problem_type: str, names: tuple[str, ...] | None) -> int | None:
    """The id of the class that F1 is about: --positive-class or, of two classes, the one whose name affirms. None for
    macro F1. Raises UserError for an unknown name; if no metric is F1 of a class, a line says so."""
    name = config.positive_class
    if name is not None:
        metrics, _ = metrics_of(TASKS[config.task], problem_type)
        if ("f1" in metrics or config.one_logit) and problem_type == SINGLE_LABEL and names is not None:
            if name not in names:
                shown = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
                raise UserError(
                    f"--positive-class is {name!r}, but should be one of the classes: {shown}{closest(name, names)}"
                )
            return names.index(name)
        why = f"the metrics are {', '.join(metrics)}"
        if problem_type == MULTI_LABEL:
            why = "F1 is the mean over the labels"
        say(f"note: --positive-class {name} has no effect: {why}")
    return positive_class(names) if problem_type == SINGLE_LABEL else None


def one_logit_of(config: Config, problem_type: str, names: tuple[str, ...] | None, positive: int | None) -> int | None:
    """With --one-logit, the id of the class that the model has the logit of: the positive one. Raises UserError unless
    there are two classes."""
    if not config.one_logit:
        return None
    if positive is None or names is None or len(names) != 2:
        many = f"has {len(names or ())} classes" if problem_type == SINGLE_LABEL else "is multi-label"
        what = "is a regression" if names is None else many
        raise UserError(f"--one-logit is for two classes, but the data {what}: leave it out")
    return positive


def check_loss(config: Config, problem_type: str) -> None:
    """Raise UserError if a setting of the loss is only for classification, and this is none."""
    for flag, value in (("--class-weights", config.class_weights), ("--label-smoothing", config.label_smoothing)):
        if value and problem_type != SINGLE_LABEL:
            what = "multi-label" if problem_type == MULTI_LABEL else "a regression"
            raise UserError(f"{flag} is {value}, but the data is {what}, and it is for classification: leave it out")


def target_counts(rows: "Dataset", column: str, ids: Mapping[str, Target]) -> dict[Target, int]:
    """How many rows have each target."""
    found: dict[Target, int] = {}
    for text, count in label_counts(rows, column).items():
        found[ids[text]] = found.get(ids[text], 0) + count
    return found


def balanced_weights(counts: Mapping[Target, int], num_classes: int) -> tuple[float, ...]:
    """The weight of each class by which all count the same in the training loss: n / (k * n_c) for n examples of k
    classes, n_c of this one, as in scikit-learn's compute_class_weight. Their mean over the examples is 1. A class
    without an example has weight 1."""
    held = {target: count for target, count in counts.items() if count}
    total = sum(held.values())
    return tuple(total / (len(held) * held[index]) if index in held else 1.0 for index in range(num_classes))
