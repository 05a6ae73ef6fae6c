"""Is the best recipe better? The comparison on fresh seeds against SciPy, by hand, and in simulation."""

import numpy
import pytest
from scipy.stats import t, ttest_rel

from pairft.searching import figure, records, winner

BEST = {"trial": 3, "run": "trial-0003", "metric": "f1", "score": 0.9}
TRIALS = [{"score": 0.8}, {"score": None}, {"score": 0.9}]


def found(ours, theirs):
    scores = {"winner": dict(enumerate(ours, 43)), "defaults": dict(enumerate(theirs, 43))}
    return winner.compared(BEST, scores)


def test_the_paired_test_is_scipys_and_that_of_the_textbook():
    ours, theirs = [0.85, 0.86, 0.84, 0.88], [0.83, 0.85, 0.84, 0.85]
    about = found(ours, theirs)
    assert about["p"] == ttest_rel(ours, theirs).pvalue
    differences = numpy.subtract(ours, theirs)
    statistic = differences.mean() / (differences.std(ddof=1) / 2)
    assert about["p"] == pytest.approx(2 * t.sf(statistic, 3))
    assert about["difference"]["mean"] == pytest.approx(0.015)
    assert about["winner"]["interval"] == pytest.approx(
        t.interval(0.95, 3, loc=numpy.mean(ours), scale=numpy.std(ours, ddof=1) / 2)
    )
    assert about["winner"]["seeds"] == [43, 44, 45, 46] and about["in_search"] == 0.9


@pytest.mark.parametrize(
    ("ours", "theirs", "better", "said"),
    [
        ([0.9, 0.91, 0.9], [0.8, 0.8, 0.81], True, "the best recipe is better than the defaults (p = "),
        ([0.8, 0.8, 0.81], [0.9, 0.91, 0.9], False, "the best recipe is worse than the defaults (p = "),
        (
            [0.9, 0.7, 0.8],
            [0.8, 0.8, 0.81],
            False,
            "no evidence that the best recipe is better than the defaults (p = ",
        ),
        ([0.9, 0.9, 0.9], [0.8, 0.8, 0.8], False, "no evidence"),  # without a spread there is no test
        ([0.8, 0.8], [0.8, 0.8], False, "no evidence"),
        ([], [0.8, 0.9], False, "on 0 fresh seeds no score: all runs diverged"),
        ([0.9], [0.8], False, "on 1 fresh seeds 0.9000; of the defaults 0.8000: no evidence"),
    ],
)
def test_what_is_said(ours, theirs, better, said, tmp_path):
    about = found(ours, theirs)
    assert about["better"] is better
    assert said in winner.sentence(about)
    figure.draw(tmp_path / "winner.svg", about, TRIALS, "title")
    assert (tmp_path / "winner.svg").read_text().rstrip().endswith("</svg>")


def test_the_sentence():
    about = found([0.85, 0.86, 0.84], [0.83, 0.88, 0.84])
    assert winner.sentence(about) == (
        "f1 of the best recipe: 0.9000 in the search; on 3 fresh seeds 0.8500 (0.8252 to 0.8748); "
        "of the defaults 0.8500 (0.7843 to 0.9157): "
        "no evidence that the best recipe is better than the defaults (p = 1, paired by seed)"
    )


def test_a_seed_that_diverged_is_left_out_of_the_pairs():
    scores = {"winner": {43: 0.8, 45: 0.9, 46: 0.85}, "defaults": {43: 0.7, 44: 0.99, 45: 0.75, 46: 0.8}}
    about = winner.compared(BEST, scores)
    assert about["p"] == ttest_rel([0.8, 0.9, 0.85], [0.7, 0.75, 0.8]).pvalue
    assert about["difference"]["mean"] == pytest.approx(0.1)


def test_the_winners_curse_in_simulation():
    """20 recipes that are all as good as the defaults, one seed each: the best looks two standard deviations better in
    the search, as normal order statistics say, and not on fresh seeds."""
    draw = numpy.random.default_rng(0)
    searched, fresh, better = [], [], 0
    for _ in range(500):
        scores = draw.normal(0.85, 0.01, 20)
        about = found(draw.normal(0.85, 0.01, 3).tolist(), draw.normal(0.85, 0.01, 3).tolist())
        searched.append(scores.max())
        fresh.append(about["winner"]["mean"])
        better += about["better"]
    assert numpy.mean(searched) == pytest.approx(0.85 + 1.867 * 0.01, abs=0.001)
    assert numpy.mean(fresh) == pytest.approx(0.85, abs=0.001)
    assert 0.005 <= better / 500 <= 0.05  # 0.025 is expected: 5 % on both sides


@pytest.mark.parametrize(("seed", "seeds"), [(42, (43, 44, 45)), (2**32 - 2, (2**32 - 1, 0, 1))])
def test_fresh_seeds_are_not_the_searchs(seed, seeds):
    assert winner.fresh_seeds(seed, 3) == seeds


def test_the_table_of_trials():
    trials = [
        {"trial": 0, "state": "finished", "metric": "f1", "score": 0.8, "settings": {"lr": 1e-5}, "evaluations": [0.8]},
        {
            "trial": 1,
            "state": "pruned",
            "metric": "f1",
            "score": None,
            "settings": {"lr": 2e-5},
            "evaluations": [0.7, 0.6],
        },
        {"trial": 2, "state": "finished", "metric": "f1", "score": 0.9, "settings": {"lr": 0.5}, "evaluations": [0.9]},
        {"trial": 3, "state": "failed", "metric": None, "score": None, "settings": {"lr": 1.0}, "evaluations": []},
    ]
    assert records.table(trials) == (
        "trial     state      f1     lr\n"
        "    0  finished  0.8000  1e-05\n"
        "    1    pruned  0.7000  2e-05\n"
        "    2  finished  0.9000    0.5  <- best\n"
        "    3    failed       -      1"
    )
    assert records.best_of(trials)["trial"] == 2 and records.best_of(trials[1:2]) is None
