"""The metrics of each side and their differences, with bootstrap intervals over the same examples."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy

from pairft.errors import UserError
from pairft.parsing import closest
from pairft.runs import bootstrap
from pairft.tasks import MULTI_LABEL, MULTI_LABEL_METRICS, REGRESSION, REGRESSION_METRICS, SINGLE_LABEL
from pairft.training.evaluation import EvalOutput, compute_metrics

METRICS = {
    SINGLE_LABEL: ("accuracy", "f1", "matthews", "loss"),
    MULTI_LABEL: (*MULTI_LABEL_METRICS, "loss"),
    REGRESSION: (*REGRESSION_METRICS, "loss"),
}


@dataclass(frozen=True)
class Estimate:
    """A score, or a difference of scores, and its 95 % interval over the examples."""

    value: float
    interval: tuple[float, float]

    @property
    def sign(self) -> int:
        """1 or -1 if the whole interval is above or below 0, else 0."""
        low, high = self.interval
        return (low > 0) - (high < 0)


@dataclass(frozen=True)
class MetricScores:
    """One metric: of each side, and of each further side minus the first."""

    name: str
    runs: list[list[float]]  # of each run of each side
    sides: list[Estimate]  # a group: the mean over its runs
    differences: list[Estimate]


def metric_scores(
    sides: Sequence[Sequence[EvalOutput]],
    metrics: Sequence[str],
    positive: int | None,
    resamples: int = bootstrap.RESAMPLES,
) -> list[MetricScores]:
    """The scores of all sides, each of which is the answers of one or more runs to the same examples. `positive`: id of
    the positive class for F1; None for macro F1.

    Each resample draws the same examples for all runs, so the interval of a difference is paired. It says how much the
    difference would change with other examples, not with other seeds.
    """
    outputs = [output for side in sides for output in side]
    drawn = resampled(outputs, metrics, positive, resamples)
    values = [compute_metrics(output, [name for name in metrics if name != "loss"], positive) for output in outputs]
    ends = numpy.cumsum([len(side) for side in sides])[:-1]
    found = []
    for name in metrics:
        runs = numpy.split(numpy.array([one[name] for one in values]), ends)
        means = [float(one.mean()) for one in runs]
        resampled_means = [one.mean(axis=0) for one in numpy.split(drawn[name], ends)]
        first, first_drawn = means[0], resampled_means[0]
        pairs = list(zip(means, resampled_means, strict=True))
        found.append(
            MetricScores(
                name,
                [one.tolist() for one in runs],
                [Estimate(mean, bootstrap.interval(some)) for mean, some in pairs],
                [Estimate(mean - first, bootstrap.interval(some - first_drawn)) for mean, some in pairs[1:]],
            )
        )
    return found


def resampled(
    outputs: Sequence[EvalOutput], metrics: Sequence[str], positive: int | None, resamples: int
) -> dict[str, numpy.ndarray]:
    """Each metric in each resample, float64 [outputs, resamples]."""
    others = [name for name in metrics if name != "loss"]
    found = bootstrap.resampled_scores(others, outputs, resamples, positive=positive) if others else {}
    if "loss" in metrics:
        losses = numpy.array([output.losses for output in outputs], numpy.float64)
        number = losses.shape[1]
        random = numpy.random.default_rng(0)
        counts = bootstrap.resampled(numpy.ones(number, numpy.int64), resamples, random)
        found["loss"] = numpy.concatenate([losses @ some.T for some in counts], axis=1) / number
    return found


def chosen_metrics(asked: Sequence[str] | None, own: Sequence[str], problem_type: str, has_losses: bool) -> list[str]:
    """The metrics to compare: those that --metric names, else the task's own and the loss. `has_losses`: the loss of
    each example is known. Raises UserError for others than the problem type has."""
    known = METRICS[problem_type]
    for name in asked or ():
        if name not in known:
            raise UserError(f"--metric is {name!r}, but should be of: {', '.join(known)}{closest(name, list(known))}")
    if asked and "loss" in asked and not has_losses:
        raise UserError(
            "--metric loss: with --preset trainer the loss of an example is that of its batch, which can't be "
            "resampled: leave it out"
        )
    return list(dict.fromkeys(asked)) if asked else [*own, *(["loss"] if has_losses else [])]
