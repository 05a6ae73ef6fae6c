"""The tasks, one row each: the columns of the sentences and the label, the label names and the metrics."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

PAIR = ("sentence1", "sentence2")
NLI = ("premise", "hypothesis")
NLI_LABELS = ("entailment", "neutral", "contradiction")
# What a row's label is, in the words that a model's config has for it as its problem_type: a value, a class, a set of
# classes.
REGRESSION, SINGLE_LABEL, MULTI_LABEL = "regression", "single_label_classification", "multi_label_classification"
SPLITS = {"train": "train", "validation": "validation", "test": "test"}


@dataclass(frozen=True)
class Task:
    """A row of the task table. None: taken from the flags (columns) or from the data (label names, metrics)."""

    text_columns: tuple[str, ...] | None
    label_column: str = "label"
    label_names: tuple[str, ...] | None = None
    metrics: tuple[str, ...] | None = None  # keys of MODULES in metrics.py
    main_metric: str | None = None  # higher is better; picks the best evaluation
    glue_config: str | None = None  # the name of its configuration in the Hub's nyu-mll/glue
    regression: bool = False  # labels are values, even if all of them are whole numbers
    # The name of each split at its source. All but train and test are scored; `validation` picks the best evaluation.
    splits: Mapping[str, str] = field(default_factory=lambda: SPLITS)
    blank_allowed: bool = False  # one of the two sentences may be empty, as in a few rows of GLUE's QQP
    model_of: str | None = None  # it has no training data: the task whose models predict it

    @property
    def is_open(self) -> bool:
        """Whether the labels of the data decide what they mean: the task has neither classes nor metrics of its own."""
        return self.label_names is None and self.metrics is None and self.model_of is None


def scored_splits(names: Iterable[str]) -> list[str]:
    """The splits that each evaluation scores, in their order."""
    return [name for name in names if name not in ("train", "test")]


# The columns, classes and metrics of GLUE. Where GLUE averages two metrics, the main one is that which its leaderboard
# names first: F1 of MRPC and QQP, Pearson of STS-B (the score of the SemEval tasks that its pairs are from).
TASKS = {
    "cola": Task(
        text_columns=("sentence",),
        label_names=("unacceptable", "acceptable"),
        metrics=("matthews",),
        main_metric="matthews",
        glue_config="cola",
    ),
    "sst2": Task(
        text_columns=("sentence",),
        label_names=("negative", "positive"),
        metrics=("accuracy",),
        main_metric="accuracy",
        glue_config="sst2",
    ),
    "mrpc": Task(
        text_columns=PAIR,
        label_names=("not_equivalent", "equivalent"),
        metrics=("accuracy", "f1"),
        main_metric="f1",
        glue_config="mrpc",
    ),
    "qqp": Task(
        text_columns=("question1", "question2"),
        label_names=("not_duplicate", "duplicate"),
        metrics=("accuracy", "f1"),
        main_metric="f1",
        glue_config="qqp",
        blank_allowed=True,
    ),
    "stsb": Task(
        text_columns=PAIR, metrics=("pearson", "spearman"), main_metric="pearson", glue_config="stsb", regression=True
    ),
    "mnli": Task(
        text_columns=NLI,
        label_names=NLI_LABELS,
        metrics=("accuracy",),
        main_metric="accuracy",
        glue_config="mnli",
        splits={
            "train": "train",
            "validation": "validation_matched",  # from the genres of the training split
            "validation_mismatched": "validation_mismatched",  # from others
            "test": "test_matched",
        },
    ),
    "qnli": Task(
        text_columns=("question", "sentence"),
        label_names=("entailment", "not_entailment"),
        metrics=("accuracy",),
        main_metric="accuracy",
        glue_config="qnli",
    ),
    "rte": Task(
        text_columns=PAIR,
        label_names=("entailment", "not_entailment"),
        metrics=("accuracy",),
        main_metric="accuracy",
        glue_config="rte",
    ),
    "wnli": Task(
        text_columns=PAIR,
        label_names=("not_entailment", "entailment"),
        metrics=("accuracy",),
        main_metric="accuracy",
        glue_config="wnli",
    ),
    "ax": Task(
        text_columns=NLI,
        label_names=NLI_LABELS,
        metrics=("matthews",),
        main_metric="matthews",
        glue_config="ax",
        model_of="mnli",
    ),
    "nli": Task(text_columns=NLI),
    "sts": Task(text_columns=PAIR, regression=True),
    "custom": Task(text_columns=None),
}

CLASSIFICATION_METRICS = ("accuracy", "f1")
MULTI_LABEL_METRICS = ("accuracy", "f1", "f1_micro")
REGRESSION_METRICS = ("pearson", "spearman")
CORRELATIONS = ("matthews", *REGRESSION_METRICS)  # undefined, and 0, if all labels are equal
THRESHOLD_METRICS = ("accuracy", "f1", "matthews")  # for which a threshold is chosen, of two classes


def metrics_of(task: Task, problem_type: str) -> tuple[tuple[str, ...], str]:
    """The names of a task's metrics, and of the main one."""
    if task.metrics is not None and task.main_metric is not None:
        return task.metrics, task.main_metric
    if problem_type == REGRESSION:
        return REGRESSION_METRICS, "pearson"
    return (MULTI_LABEL_METRICS if problem_type == MULTI_LABEL else CLASSIFICATION_METRICS), "f1"


# Typical names of a positive and of a negative class, spelled as `plain` spells them.
POSITIVE = (
    *("1", "yes", "y", "true", "t", "positive", "pos", "entailment", "entailed", "entails", "duplicate", "duplicates"),
    *("equivalent", "equal", "paraphrase", "paraphrased", "similar", "same", "relevant", "related", "correct", "match"),
    *("matched", "matching", "acceptable", "supported", "supports", "valid", "agree", "good"),
)
NEGATIVE = (
    *("0", "-1", "no", "n", "false", "f", "negative", "neg", "contradiction", "contradicts", "different", "dissimilar"),
    *("mismatch", "refuted", "refutes", "wrong", "distinct", "other", "none", "neutral", "bad"),
)
NEGATION = re.compile(r"(?:never|non|not|no) ?(.+)|(?:un|in|im|ir|il|dis|mis)(.+)")


def plain(name: str) -> str:
    """A class name normalised for comparison: "Is_Duplicate" becomes "duplicate", and "1.0" becomes "1"."""
    try:
        return f"{float(name):g}"
    except ValueError:
        return re.sub(r"[\W_]+", " ", name.casefold()).strip().removeprefix("is ")


def sign_of(name: str, other: str) -> int:
    """1 if the class name `name` affirms, -1 if it negates, else 0. `other`: the other class. Both as `plain` spells
    them."""
    negated = NEGATION.fullmatch(name)
    if name in NEGATIVE or name.startswith(("not ", "no ", "non ")):
        return -1
    if negated and {other, *POSITIVE}.intersection(negated.groups()):
        return -1
    return int(name in POSITIVE and not (name == "1" and other.isdecimal() and other != "0"))  # not of 1 and 2


def positive_class(label_names: Sequence[str] | None) -> int | None:
    """The id of the positive class, whose F1 is computed: of two classes the one whose name affirms (yes, 1, duplicate,
    …) if the other's doesn't, else the second. None for regression, and for more classes, where F1 is macro F1 unless
    --positive-class names one."""
    if label_names is None or len(label_names) != 2:
        return None
    first, second = map(plain, label_names)
    return 0 if sign_of(first, second) > sign_of(second, first) else 1


def f1_of(positive: str | None) -> str:
    """Which F1 it is, for a message. `positive`: the name of the positive class; None for macro F1."""
    return "f1 macro" if positive is None else f"f1 of {positive!r}"
