"""The tasks, one row each: which columns hold the sentences and the label, the labels' names, what is scored."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """A row of the task table. None means: from the flags (columns) or from the data (label names, metrics)."""

    text_columns: tuple[str, ...] | None
    label_column: str
    label_names: tuple[str, ...] | None
    metrics: tuple[str, ...] | None  # functions of metrics.py
    main_metric: str | None  # higher is better; picks the best evaluation
    glue_config: str | None  # the name of its configuration in the Hub's nyu-mll/glue


TASKS = {
    "mrpc": Task(
        text_columns=("sentence1", "sentence2"),
        label_column="label",
        label_names=("not_equivalent", "equivalent"),
        metrics=("accuracy", "f1"),
        main_metric="f1",
        glue_config="mrpc",
    ),
    "custom": Task(
        text_columns=None, label_column="label", label_names=None, metrics=None, main_metric=None, glue_config=None
    ),
}

CLASSIFICATION_METRICS = ("accuracy", "f1")
REGRESSION_METRICS = ("pearson", "spearman")


def metrics_of(task: Task, label_names: tuple[str, ...] | None) -> tuple[tuple[str, ...], str]:
    """The names of a task's metrics, and of the main one. `label_names` is None for regression."""
    if task.metrics is not None and task.main_metric is not None:
        return task.metrics, task.main_metric
    return (REGRESSION_METRICS, "pearson") if label_names is None else (CLASSIFICATION_METRICS, "f1")
