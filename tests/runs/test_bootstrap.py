"""The bootstrap: scores from counts equal those of the metrics on the examples drawn."""

import numpy
import pytest
from scipy.stats import beta

from pairft.runs import bootstrap
from pairft.runs.bootstrap import interval, resampled, resampled_scores
from pairft.training.evaluation import EvalOutput
from pairft.training.metrics import compute


def answered(labels, predictions, classes):
    """An evaluation that gives these answers."""
    labels = numpy.asarray(labels)
    if classes == 1:
        logits = numpy.asarray(predictions, numpy.float32)[:, None]
    elif labels.ndim == 2:
        logits = numpy.asarray(predictions, numpy.float32) - 0.5
    else:
        logits = numpy.eye(classes, dtype=numpy.float32)[numpy.asarray(predictions)]
    return EvalOutput(logits, numpy.zeros(len(labels), numpy.float32), labels)


def random_classes(number, classes, random):
    labels = random.integers(classes, size=number)
    return answered(
        labels, numpy.where(random.random(number) < 0.6, labels, random.integers(classes, size=number)), classes
    )


def random_sets(number, classes, random):
    labels = (random.random((number, classes)) < 0.3).astype(numpy.float32)
    flipped = random.random(labels.shape) < 0.2
    return answered(labels, numpy.where(flipped, 1 - labels, labels), classes)


def random_values(number, random, steps=8):
    labels = numpy.round(random.random(number) * steps) / 2  # with ties, as STS-B
    return answered(labels.astype(numpy.float32), labels + random.normal(size=number), 1)


def check_against_metrics(names, output, positive, number=25):
    """Each resample's scores are those of `compute` on the very examples that its counts say."""
    scores = resampled_scores(names, [output], number, 3, positive)
    table = numpy.column_stack([output.labels, output.predictions()]).astype(numpy.float64)
    _, first, sizes = numpy.unique(table, axis=0, return_index=True, return_counts=True)
    counts = numpy.concatenate([*resampled(sizes, number, numpy.random.default_rng(3))])
    assert counts.shape == (number, len(sizes)) and (counts.sum(axis=1) == len(table)).all()
    for place, row in enumerate(counts.astype(int)):
        drawn = numpy.repeat(first, row)
        expected = compute(names, output.predictions()[drawn], output.labels[drawn], positive)
        for name in names:
            assert scores[name][0, place] == pytest.approx(expected[name], abs=1e-6), name


@pytest.mark.parametrize(
    "classes, number, positive", [(2, 300, 1), (2, 300, 0), (3, 40, None), (7, 30, None), (5, 8, 2)]
)
def test_scores_of_classes_are_those_of_the_examples_drawn(classes, number, positive):
    output = random_classes(number, classes, numpy.random.default_rng(classes))
    check_against_metrics(("accuracy", "f1", "matthews"), output, positive)


def test_scores_of_sets_of_labels_are_those_of_the_examples_drawn():
    output = random_sets(50, 4, numpy.random.default_rng(0))
    check_against_metrics(("accuracy", "f1", "f1_micro"), output, None)


@pytest.mark.parametrize("number", [12, 200])
def test_correlations_are_those_of_the_examples_drawn(number):
    check_against_metrics(("pearson", "spearman"), random_values(number, numpy.random.default_rng(number)), None)


def test_a_model_that_answers_one_thing_has_no_correlation():
    same = answered([0, 1, 1, 0, 1], [1, 1, 1, 1, 1], 2)
    assert (resampled_scores(["matthews"], [same], 50)["matthews"] == 0).all()
    constant = answered(numpy.float32([1, 2, 3.5, 4]), [0.1, 0.1, 0.1, 0.1], 1)
    for name in ("pearson", "spearman"):
        assert (resampled_scores([name], [constant], 50)[name] == 0).all()


def test_interval_of_accuracy_agrees_with_the_exact_one():
    """With 2,000 examples, accuracy's interval is near that of Clopper and Pearson."""
    labels = numpy.zeros(2000, int)
    output = answered(labels, (numpy.arange(2000) < 300).astype(int), 2)
    low, high = interval(resampled_scores(["accuracy"], [output], 20_000)["accuracy"][0])
    assert low == pytest.approx(beta.ppf(0.025, 1700, 301), abs=0.0015)
    assert high == pytest.approx(beta.ppf(0.975, 1701, 300), abs=0.0015)


def test_the_same_seed_gives_the_same_interval_and_another_one_nearly():
    output = random_classes(200, 2, numpy.random.default_rng(1))
    one, same, other = (resampled_scores(["f1"], [output], seed=seed, positive=1)["f1"][0] for seed in (5, 5, 6))
    assert (one == same).all() and (one != other).any()
    assert interval(one) == pytest.approx(interval(other), abs=0.01)


def test_outputs_are_resampled_together():
    """An output beside itself has no difference in any resample; beside another, its scores stay paired."""
    random = numpy.random.default_rng(2)
    one = random_classes(100, 2, random)
    worse = answered(one.labels, numpy.where(numpy.arange(100) < 10, 1 - one.labels, one.predictions()), 2)
    scores = resampled_scores(["accuracy"], [one, one, worse])["accuracy"]
    assert (scores[0] == scores[1]).all()
    difference = scores[0] - scores[2]
    alone = numpy.std(scores[0]) ** 2 + numpy.std(scores[2]) ** 2
    assert numpy.var(difference) < 0.5 * alone


def test_large_evaluations_are_resampled_in_pieces(monkeypatch):
    """Of many distinct values there are fewer resamples, and no more counts in memory than CHUNK."""
    monkeypatch.setattr(bootstrap, "DRAWS", 100_000)
    monkeypatch.setattr(bootstrap, "CHUNK", 5_000)
    output = random_values(400, numpy.random.default_rng(0), steps=1000)
    assert resampled_scores(["pearson"], [output], 2000)["pearson"].shape == (1, 250)
    chunks = [*resampled(numpy.ones(400, int), 2000, numpy.random.default_rng(0))]
    assert max(chunk.size for chunk in chunks) <= 5_000 and sum(len(chunk) for chunk in chunks) == 250
