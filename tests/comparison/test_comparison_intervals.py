"""The intervals of scores and of differences hold in simulation: the 95 % interval holds the true value in about 95 %
of many data sets."""

import functools

import numpy
import pytest
from scipy.special import expit

from pairft.comparison.scores import metric_scores
from pairft.training.evaluation import EvalOutput
from pairft.training.metrics import compute

METRICS = ("accuracy", "f1", "matthews", "loss")


def simulated(random: numpy.random.Generator, number: int, noises: tuple[float, ...]) -> list[EvalOutput]:
    """Two models' answers to the same examples of two classes, a third of them positive. How hard an example is, is the
    same for both, so that their answers depend on each other as those of real models do."""
    labels = (random.random(number) < 1 / 3).astype(numpy.int64)
    signal = labels * 2 - 1 + random.normal(size=number)
    outputs = []
    for noise in noises:
        score = signal + noise * random.normal(size=number)
        logits = numpy.stack([numpy.zeros(number), score], axis=1).astype(numpy.float32)
        probability = expit(numpy.where(labels == 1, score, -score))
        outputs.append(EvalOutput(logits, -numpy.log(probability).astype(numpy.float32), labels))
    return outputs


@functools.cache
def truth(noises: tuple[float, ...]) -> list[dict[str, float]]:
    """Each model's scores on a million examples."""
    outputs = simulated(numpy.random.default_rng(1), 1_000_000, noises)
    names = METRICS[:-1]
    return [
        {**compute(names, one.predictions(), one.labels, 1), "loss": float(one.losses.mean(dtype=float))}
        for one in outputs
    ]


@pytest.mark.slow
@pytest.mark.parametrize("noises", [(0.7, 0.7), (0.6, 1.2)], ids=["alike", "different"])
def test_intervals_hold_the_true_values(noises):
    random, true = numpy.random.default_rng(0), truth(noises)
    held = {(name, what): 0 for name in METRICS for what in ("score", "difference")}
    rounds = 400
    for _ in range(rounds):
        for found in metric_scores([[one] for one in simulated(random, 300, noises)], METRICS, 1, resamples=500):
            name = found.name
            for what, estimate, value in (
                ("score", found.sides[0], true[0][name]),
                ("difference", found.differences[0], true[1][name] - true[0][name]),
            ):
                low, high = estimate.interval
                held[name, what] += low <= value <= high
    for key, number in held.items():  # 0.95 ± 3.3 standard errors of a share of 400, and a little for the bootstrap
        assert 0.905 <= number / rounds <= 0.985, (key, number / rounds)


def test_intervals_of_differences_are_paired():
    """The same answers twice: each score is uncertain, the difference isn't."""
    [one] = simulated(numpy.random.default_rng(0), 300, (0.7,))
    for found in metric_scores([[one], [one]], METRICS, 1, resamples=200):
        assert found.differences[0].value == 0 and found.differences[0].interval == (0, 0)
        low, high = found.sides[0].interval
        assert high - low > 0.05 and low < found.sides[0].value < high


def test_the_loss_is_resampled_as_a_mean():
    """Its interval is that of the normal approximation, as good as equal for a mean of 2,000."""
    outputs = simulated(numpy.random.default_rng(0), 2000, (0.7, 1.2))
    [found] = metric_scores([[one] for one in outputs], ["loss"], 1)
    change = (outputs[1].losses - outputs[0].losses).astype(numpy.float64)
    half = 1.959964 * change.std() / 2000**0.5
    assert found.differences[0].interval == pytest.approx((change.mean() - half, change.mean() + half), abs=half / 8)


def test_a_group_has_the_mean_of_its_runs():
    outputs = simulated(numpy.random.default_rng(0), 300, (0.7, 1.2, 0.9))
    [found] = metric_scores([outputs[:2], outputs[2:]], ["accuracy"], 1, resamples=50)
    scores = [float((one.predictions() == one.labels).mean()) for one in outputs]
    assert found.runs == [scores[:2], scores[2:]]
    assert found.sides[0].value == pytest.approx(sum(scores[:2]) / 2)
    assert found.differences[0].value == pytest.approx(scores[2] - sum(scores[:2]) / 2)
