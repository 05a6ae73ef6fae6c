"""The tests of a difference, against statsmodels, SciPy and simulations."""

import itertools

import numpy
import pytest
from scipy import stats

from pairft.comparison.significance import compare_errors, compare_seeds, holm, mcnemar, pairs_needed


def answers(fixed: int, broken: int, both: int = 100, neither: int = 50) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Which of A's and of B's answers are right."""
    counts = (fixed, broken, both, neither)
    return (numpy.repeat([False, True, True, False], counts), numpy.repeat([True, False, True, False], counts))


@pytest.mark.parametrize(
    ("fixed", "broken", "p"),
    [
        (12, 3, 0.03515625),
        (3, 12, 0.03515625),
        (0, 6, 0.03125),
        (25, 24, 1.0),
        (0, 0, 1.0),
        (40, 12, 0.0001275387838557407),
        (1, 0, 1.0),
    ],
)
def test_mcnemar_equals_that_of_statsmodels(fixed, broken, p):
    """The p-values are those of statsmodels 0.14: mcnemar([[100, fixed], [broken, 50]], exact=True)."""
    found = mcnemar(*answers(fixed, broken))
    assert found.p == pytest.approx(p, rel=1e-12)
    assert (found.better, found.worse) == (fixed, broken)
    assert found.direction == numpy.sign(fixed - broken)


def test_holm_equals_that_of_statsmodels():
    """statsmodels 0.14: multipletests(p_values, method="holm")."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02], rel=1e-12)
    assert holm([0.2, 0.02, 0.02, 0.9, 0.011]) == pytest.approx([0.4, 0.08, 0.08, 0.9, 0.055], rel=1e-12)


def test_pairs_needed_equals_the_formula():
    """(1.959964 sqrt(0.1) + 0.841621 sqrt(0.1 - 0.0001))² / 0.0001, by hand."""
    assert pairs_needed(0.1) == 7847
    assert pairs_needed(0.0245) == 1921
    assert pairs_needed(0.0) == pairs_needed(0.01)  # models that differ by a point answer a share of 0.01 differently


def draw(random: numpy.random.Generator, n: int, fixed: float, broken: float) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Answers to n examples, of which B fixes and breaks these shares on average."""
    return answers(*random.multinomial(n, [fixed, broken, 0.7, 0.3 - fixed - broken]))


def test_so_many_pairs_find_a_difference_of_one_point():
    """In 80 % of the cases. The exact test keeps its level, so it finds a little less than the formula says."""
    random = numpy.random.default_rng(0)
    n = pairs_needed(0.06)
    found = [mcnemar(*draw(random, n, 0.035, 0.025)).p < 0.05 for _ in range(1000)]
    assert 0.75 < numpy.mean(found) < 0.84


def test_mcnemar_rarely_finds_what_is_not_there():
    random = numpy.random.default_rng(0)
    found = [mcnemar(*draw(random, 400, 0.05, 0.05)).p < 0.05 for _ in range(2000)]
    assert 0.015 < numpy.mean(found) < 0.055  # an exact test stays below its level


def test_errors_are_compared_by_wilcoxons_test():
    random = numpy.random.default_rng(0)
    errors, others = numpy.abs(random.normal(size=(2, 200)))
    errors += 0.4
    others[:10] = errors[:10]
    found = compare_errors(errors, others)
    assert found.p == stats.wilcoxon(errors[10:], others[10:]).pvalue
    assert found.better == (errors > others).sum() and found.worse == (errors < others).sum()
    assert found.direction == 1 and compare_errors(others, errors).direction == -1
    assert compare_errors(errors, errors).p == 1.0


def test_seeds_are_compared_by_the_paired_t_test():
    scores, others = [0.80, 0.82, 0.79, 0.85, 0.81], [0.83, 0.83, 0.80, 0.86, 0.85]
    found, reference = compare_seeds(scores, others), stats.ttest_rel(others, scores)
    assert found.p == pytest.approx(reference.pvalue, rel=1e-12) and found.p_wilcoxon is None
    assert found.interval == pytest.approx(tuple(reference.confidence_interval(0.95)), rel=1e-9)
    assert found.mean == pytest.approx(0.02) and found.differences[0] == pytest.approx(0.03)


def test_six_seeds_are_compared_by_wilcoxons_exact_test_too():
    scores, others = numpy.arange(6) / 10, numpy.arange(6) / 10 + [0.01, 0.02, 0.03, 0.04, 0.05, 0.06]
    assert compare_seeds(scores, others).p_wilcoxon == pytest.approx(2 / 2**6)


def test_wilcoxons_test_over_seeds_is_exact_with_equal_differences():
    """As accuracies have them, but for rounding. By hand: of all signs of ranks 2.5, 2.5, 2.5, 2.5, 5, 6.5, 6.5, those
    whose sum is as far from 14 as that of these."""
    scores = numpy.arange(7) / 10
    differences = numpy.array([0.01, 0.01, -0.01, 0.01, 0.02, 0.03, 0.03])
    ranks = numpy.array([2.5, 2.5, 2.5, 2.5, 5, 6.5, 6.5])
    signs = numpy.array(list(itertools.product((0, 1), repeat=7)))
    wanted = (abs(signs @ ranks - 14) >= abs(ranks[differences > 0].sum() - 14)).mean()
    assert compare_seeds(scores, scores + differences).p_wilcoxon == pytest.approx(wanted)


@pytest.mark.parametrize("seeds", [2, 6])
def test_seeds_without_any_spread(seeds):
    scores = numpy.arange(seeds) / 10
    same, shifted = compare_seeds(scores, scores), compare_seeds(scores, scores + 0.1)
    assert same.p is None and same.interval == (0.0, 0.0) and same.p_wilcoxon in (None, 1.0)
    assert shifted.p is None  # not 0, as a division by no spread would have it
