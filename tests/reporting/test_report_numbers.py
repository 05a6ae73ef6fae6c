"""The numbers of a report, against scikit-learn, SciPy or values computed by hand."""

from pathlib import Path

import numpy
import pytest
from scipy.special import softmax
from scipy.stats import norm
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score

from pairft.reporting import answers, charts, curves, outcome
from pairft.reporting.sections import duration
from pairft.runs.evaluations import Evaluated
from pairft.tasks import MULTI_LABEL, REGRESSION, SINGLE_LABEL
from pairft.training.calibration import decisions, expected_calibration_error
from pairft.training.evaluation import EvalOutput

NAMES = {SINGLE_LABEL: ("no", "maybe", "yes"), MULTI_LABEL: ("a", "b", "c"), REGRESSION: None}


def evaluated(kind, number=200, positive=None):
    """Random answers that are better than chance."""
    random = numpy.random.default_rng(0)
    logits = random.normal(size=(number, 1 if kind == REGRESSION else 3)).astype(numpy.float32)
    labels = {
        SINGLE_LABEL: lambda: numpy.where(
            random.random(number) < 0.5, logits.argmax(axis=1), random.integers(3, size=number)
        ),
        MULTI_LABEL: lambda: ((logits + random.normal(size=logits.shape)) > 0.3).astype(numpy.float32),
        REGRESSION: lambda: (logits[:, 0] + random.normal(size=number)).astype(numpy.float32),
    }[kind]()
    tokens = random.integers(8, 128, size=number).astype(numpy.int32)
    output = EvalOutput(logits, numpy.ones(number, numpy.float32), labels)
    return Evaluated(Path(), 1, numpy.arange(number) + 1, tokens, output, kind, NAMES[kind], positive, ("a", "b"))


def test_the_confusion_matrix_is_that_of_scikit_learn():
    found = evaluated(SINGLE_LABEL)
    wanted = confusion_matrix(found.output.labels, found.output.predictions())
    assert (answers.confusion(found) == wanted).all()
    label, answer, count, share = answers.confusions(found)[0]
    wrong = wanted * (1 - numpy.eye(3, dtype=int))
    place = divmod(int(wrong.argmax()), 3)
    assert (label, answer) == tuple(NAMES[SINGLE_LABEL][one] for one in place)
    assert count == wrong.max() and share == wrong.max() / wanted[place[0]].sum()


def test_a_constant_answer_has_the_scores_of_scikit_learn():
    """The best one for each metric: the most frequent class for accuracy, the positive one for F1."""
    found = evaluated(SINGLE_LABEL, positive=1)
    labels, most = found.output.labels, int(numpy.bincount(found.output.labels).argmax())
    assert most != 1
    names = ("accuracy", "f1", "matthews")
    scores = outcome.scores_of(dict.fromkeys(names, 0.5), names, found, SINGLE_LABEL, "maybe")
    wanted = accuracy_score(labels, numpy.full(200, most)), f1_score(labels == 1, numpy.full(200, True)), 0
    assert [score.baseline for score in scores] == pytest.approx(wanted)
    assert [score.constant for score in scores[:2]] == [f"“{NAMES[SINGLE_LABEL][most]}”", "“maybe”"]


def test_a_constant_answer_to_other_kinds_of_labels():
    found = evaluated(MULTI_LABEL)
    labels = found.output.labels
    most, everything = outcome.constants(found)
    names = ("accuracy", "f1", "f1_micro")
    scores = outcome.scores_of(dict.fromkeys(names, 0.5), names, found, MULTI_LABEL, None)
    counts = numpy.unique(labels, axis=0, return_counts=True)[1]
    assert (labels == most).all(axis=1).sum() == counts.max() and everything.tolist() == [1, 1, 1]
    ones = numpy.ones((200, 3))
    wanted = counts.max() / 200, f1_score(labels, ones, average="macro"), f1_score(labels, ones, average="micro")
    assert [score.baseline for score in scores] == pytest.approx(wanted)
    values = evaluated(REGRESSION)
    [mean] = outcome.constants(values)
    assert outcome.constant_output(values, mean).logits[0, 0] == pytest.approx(values.output.labels.mean())
    [score] = outcome.scores_of({"pearson": 0.5}, ("pearson",), values, REGRESSION, None)
    assert score.baseline == 0 and score.gain == score.interval


def test_a_model_no_better_than_a_constant_answer_gets_a_note():
    found = evaluated(SINGLE_LABEL)
    constant = outcome.constant_output(found, outcome.constants(found)[0])
    same = Evaluated(Path(), 1, found.rows, found.tokens, constant, SINGLE_LABEL, NAMES[SINGLE_LABEL], None, ("a",))
    for one, words in ((found, ""), (same, "no evidence that the model is better")):
        scores = outcome.scores_of({"accuracy": 0.5, "f1": 0.5}, ("accuracy", "f1"), one, SINGLE_LABEL, None)
        note = outcome.about_gain(scores[0], scores[1:])
        assert words in note and bool(note) == bool(words)
    assert "interval of the difference is +0.000 to +0.000." in note


def test_mistakes_come_by_their_confidence():
    found = evaluated(SINGLE_LABEL)
    wrong = answers.wrongness(found)
    right = found.output.predictions() == found.output.labels
    assert (wrong[right] == 0).all() and (wrong[~right] > 1 / 3).all() and (answers.is_right(found) == right).all()
    sets = evaluated(MULTI_LABEL)
    wrong, right = answers.wrongness(sets), (sets.output.predictions() == sets.output.labels).all(axis=1)
    assert (wrong[right] == 0).all() and (wrong[~right] >= 0.5).all()
    values = evaluated(REGRESSION)
    assert answers.wrongness(values) == pytest.approx(numpy.abs(values.output.logits[:, 0] - values.output.labels))


@pytest.mark.parametrize("kind", [SINGLE_LABEL, MULTI_LABEL])
def test_the_bins_of_confidence_give_the_calibration_error(kind, monkeypatch):
    """With as many bins, the differences between confidence and accuracy are those of the calibration error."""
    monkeypatch.setattr(charts, "BINS", 15)
    found = evaluated(kind)
    sure, right = charts.confidence(found)
    bins = charts.bins_of(sure, right)
    error = sum(abs(mean - share) * number for mean, share, _, number in bins) / len(sure)
    logits, labels = decisions(found.output.logits.astype(float), found.output.labels)
    assert error == pytest.approx(expected_calibration_error(softmax(logits, axis=1), labels))
    assert sum(number for *_, number in bins) == len(sure) == 200 * (3 if kind == MULTI_LABEL else 1)
    assert sum(hits for _, _, hits, _ in bins) == right.sum()


def test_a_temperature_changes_the_confidence_and_not_the_answers():
    found = evaluated(SINGLE_LABEL)
    (sure, right), (less, same) = charts.confidence(found), charts.confidence(found, 2.0)
    assert (right == same).all() and (less < sure).all()
    wanted = numpy.exp(found.output.logits / 2) / numpy.exp(found.output.logits / 2).sum(axis=1, keepdims=True)
    assert less == pytest.approx(wanted.max(axis=1), abs=1e-6)


def test_the_interval_of_a_share_is_wilsons():
    z, n, p = norm.ppf(0.975), 40, 0.75
    centre, half = (
        (p + z**2 / (2 * n)) / (1 + z**2 / n),
        z / (1 + z**2 / n) * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5,
    )
    assert charts.share_interval(30, 40) == pytest.approx((centre - half, centre + half))


@pytest.mark.parametrize(
    "tokens, sizes", [([7] * 5, [5]), (range(60), [10] * 6), ([1, 1, 1, 1, 9, 9], [4, 2]), ([3], [1])]
)
def test_groups_of_similar_length(tokens, sizes):
    groups = answers.length_groups(numpy.array(tokens))
    assert [int(group.sum()) for group in groups] == sizes
    assert (numpy.sum(groups, axis=0) == 1).all()


def test_long_curves_are_averaged():
    lines = [{"step": step, "loss": float(step), "grad_norm": None} for step in range(1, 10_001)]
    steps, values = curves.points(lines, "loss")
    assert len(steps) == curves.POINTS and (steps == values).all()
    assert steps[0] == numpy.arange(1, 35).mean() and steps[-1] == numpy.arange(9968, 10_001).mean()
    assert len(curves.points(lines, "grad_norm")[0]) == 0
    assert curves.smooth(numpy.full(50, 3.0)) == pytest.approx(3.0)
    assert curves.smooth(numpy.arange(40.0))[20] == 20


def test_the_caption_of_the_losses_says_when_they_were_lowest():
    steps = numpy.array([100.0, 200.0, 300.0])
    text = curves.about_losses(numpy.array([0.6, 0.5, 0.6]), steps)
    assert "lowest after step 200, and 20% higher at the end" in text
    assert "lowest at the end" in curves.about_losses(numpy.array([0.6, 0.5, 0.4]), steps)


@pytest.mark.parametrize(
    "seconds, words", [(3.24, "3.2 s"), (61, "1 min 1 s"), (7325, "2 h 2 min"), (59.7, "1 min 0 s")]
)
def test_durations(seconds, words):
    assert duration(seconds) == words


def test_words_of_one_sentence_alone_are_marked():
    first, second = answers.marked(["He did  sell it.", "He didn't buy it, Ana!"])
    assert first == [("He ", False), ("did  sell", True), (" it.", False)]
    assert second == [
        ("He ", False),
        ("didn", True),
        ("'", False),
        ("t buy", True),
        (" it, ", False),
        ("Ana", True),
        ("!", False),
    ]
    assert answers.marked(["One sentence."]) == [[("One sentence.", False)]]


def test_long_sentences_are_cut():
    assert answers.shortened("a" * 400) == "a" * 400
    assert answers.shortened("a" * 1500) == "a" * 400 + " … (1,100 more characters)"
