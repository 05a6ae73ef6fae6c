"""Is the difference between two models more than chance? Tests on their answers to the same examples, and over seeds.

Nothing here knows of runs or files: everything is computed from arrays.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy
from scipy.stats import binomtest, norm, t, ttest_rel, wilcoxon

ALPHA, POWER = 0.05, 0.8
ONE_POINT = 0.01  # the difference in accuracy for which `pairs_needed` is said
FEWEST_FOR_WILCOXON = 6  # seeds: with five the smallest possible p-value is 0.0625


class ExampleTest(NamedTuple):
    """A two-sided test of two models, A and B, on the same examples."""

    name: str
    p: float
    better: int  # examples on which B is better: right where A is wrong, or with a smaller error
    worse: int
    direction: int  # 1: B is better, -1: A is, 0: neither
    pairs_needed: int | None  # to see a difference of one point; None for a regression


class SeedTest(NamedTuple):
    """A paired test of a metric over seeds: B minus A of each seed."""

    differences: tuple[float, ...]
    mean: float
    interval: tuple[float, float]  # of the mean, 95 %, Student's t
    p: float | None  # of the paired t-test; None if the differences are all the same, and so have no spread
    p_wilcoxon: (
        float | None
    )  # exact up to 13 seeds, or if no two differences are equal; None with fewer than FEWEST_FOR_WILCOXON seeds


def mcnemar(right: numpy.ndarray, other_right: numpy.ndarray) -> ExampleTest:
    """McNemar's exact test (1947) of which model is right more often. `right`, `other_right`: bool [examples], of A and
    of B.

    Only the examples count that one model gets right and the other wrong. If both are equally good, each of them is as
    likely to be the one as the other, so that their number is binomial with 1/2.
    """
    fixed, broken = int((~right & other_right).sum()), int((right & ~other_right).sum())
    discordant = fixed + broken
    p = float(binomtest(fixed, discordant).pvalue) if discordant else 1.0
    needed = pairs_needed(discordant / len(right))
    return ExampleTest("McNemar's exact test", p, fixed, broken, sign(fixed - broken), needed)


def pairs_needed(discordant: float, difference: float = ONE_POINT) -> int:
    """How many examples McNemar's test needs to find a difference in accuracy with a probability of 80 %, at a level of
    5 %. `discordant`: the share of examples that exactly one of both models gets right, which is at least
    `difference`.

    Connor, "Sample size for testing differences in proportions for the paired-sample design", Biometrics 43 (1987).
    """
    share = max(discordant, difference)
    at_level = norm.ppf(1 - ALPHA / 2) * math.sqrt(share)
    at_power = norm.ppf(POWER) * math.sqrt(share - difference**2)
    return math.ceil(float((at_level + at_power) / difference) ** 2)


def compare_errors(errors: numpy.ndarray, other_errors: numpy.ndarray) -> ExampleTest:
    """Wilcoxon's signed-rank test of the absolute errors of a regression, float [examples], of A and of B. Examples
    with equal errors are left out."""
    gains = (errors - other_errors).astype(numpy.float64)
    gains = gains[gains != 0]
    name = "Wilcoxon's signed-rank test of the absolute errors"
    if not len(gains):
        return ExampleTest(name, 1.0, 0, 0, 0, None)
    p = float(wilcoxon(gains).pvalue)
    ranks_better = float(wilcoxon(gains, alternative="greater").statistic)  # the sum of ranks of the positive ones
    direction = sign(ranks_better - len(gains) * (len(gains) + 1) / 4)
    return ExampleTest(name, p, int((gains > 0).sum()), int((gains < 0).sum()), direction, None)


def compare_seeds(scores: Sequence[float], other_scores: Sequence[float]) -> SeedTest:
    """The paired t-test of a metric of A and B, [seeds] each, in the same order of seeds, two or more."""
    assert len(scores) == len(other_scores) > 1, (scores, other_scores)
    differences = numpy.subtract(other_scores, scores, dtype=numpy.float64)
    mean = float(differences.mean())
    half = float(t.ppf(1 - ALPHA / 2, len(differences) - 1) * differences.std(ddof=1) / math.sqrt(len(differences)))
    has_spread = numpy.ptp(differences) > 1e-12  # more than rounding
    p = float(ttest_rel(other_scores, scores).pvalue) if has_spread else None
    exact = None
    if len(differences) >= FEWEST_FOR_WILCOXON:
        plain = numpy.round(differences, 12)  # differences that are equal but for rounding share a rank
        exact = float(wilcoxon(plain).pvalue) if plain.any() else 1.0
    return SeedTest(tuple(differences.tolist()), mean, (mean - half, mean + half), p, exact)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values after Holm's correction for several tests (1979): the smallest is multiplied by their number, the
    next by one less, and so on; none is smaller than one before it."""
    order = numpy.argsort(p_values, kind="stable")
    factors = numpy.arange(len(order), 0, -1)
    corrected = numpy.empty(len(order))
    corrected[order] = numpy.minimum(numpy.maximum.accumulate(numpy.asarray(p_values)[order] * factors), 1.0)
    return corrected.tolist()


def sign(value: float) -> int:
    return (value > 0) - (value < 0)
