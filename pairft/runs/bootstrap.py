"""How uncertain a score is: the percentile bootstrap over the examples of an evaluation.

A resample draws as many examples as there are, with replacement (Efron and Tibshirani 1993, chapters 6 and 13). It is
kept as counts: how often each example, or each group of examples with equal labels and predictions, was drawn.
Accuracy, F1 and Matthews' correlation depend on the sizes of such groups alone, which one multinomial draw gives for
any number of examples.
"""

from collections.abc import Iterator, Sequence

import numpy
from scipy import sparse
from scipy.stats import rankdata

from pairft.training.evaluation import EvalOutput

RESAMPLES = 2000
FEWEST = 200  # resamples, however many examples there are
DRAWS = 50_000_000  # examples drawn in all resamples together: some seconds
CHUNK = 4_000_000  # counts in memory at a time
CONFIDENCE = 0.95

Counts = numpy.ndarray  # float64 [resamples, groups]


def resampled_scores(
    names: Sequence[str],
    outputs: Sequence[EvalOutput],
    n: int = RESAMPLES,
    seed: int = 0,
    positive: int | None = None,
) -> dict[str, numpy.ndarray]:
    """The named metrics (keys of MODULES in pairft/training/metrics.py) in `n` resamples, float64 [outputs, resamples]
    each. `positive`: id of the positive class for F1; None for macro F1.

    All outputs are answers to the same examples, and a resample draws the same examples for each, so that differences
    between them are paired. Where `n` would draw more than DRAWS examples there are fewer resamples, FEWEST at least.
    """
    answers = [outputs[0].labels, *(output.predictions() for output in outputs)]
    table = numpy.column_stack([answer.astype(numpy.float64) for answer in answers])
    groups, sizes = numpy.unique(table, axis=0, return_counts=True)
    width = table.shape[1] // (1 + len(outputs))
    labels, *predicted = (groups[:, start : start + width] for start in range(0, table.shape[1], width))
    found: dict[str, list[list[numpy.ndarray]]] = {name: [[] for _ in outputs] for name in names}
    for counts in resampled(sizes, n, numpy.random.default_rng(seed)):
        for name in names:
            for scores, predictions in zip(found[name], predicted, strict=True):
                scores.append(score(name, labels, predictions, counts, positive))
    return {name: numpy.array([numpy.concatenate(scores) for scores in each]) for name, each in found.items()}


def interval(scores: numpy.ndarray, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The percentile interval of a metric's scores in all resamples."""
    tail = (1 - confidence) / 2
    low, high = numpy.quantile(scores, (tail, 1 - tail))
    return float(low), float(high)


def resampled(sizes: numpy.ndarray, n: int, random: numpy.random.Generator) -> Iterator[Counts]:
    """How often each group of examples is drawn, a chunk of resamples at a time. `sizes`: of the groups, int [groups].

    If there are far fewer groups than examples, the counts are multinomial draws; else the examples are drawn.
    """
    number, few = int(sizes.sum()), len(sizes) * 10 < sizes.sum()
    left = n if few else min(n, max(FEWEST, DRAWS // number))
    group_of = None if few else numpy.repeat(numpy.arange(len(sizes), dtype=numpy.int32), sizes)
    while left > 0:
        chunk = min(left, max(1, CHUNK // len(sizes)))
        if group_of is None:
            yield random.multinomial(number, sizes / number, size=chunk).astype(numpy.float64)
        else:
            draws = (group_of[random.integers(number, size=number, dtype=numpy.int32)] for _ in range(chunk))
            yield numpy.array([numpy.bincount(drawn, minlength=len(sizes)) for drawn in draws], numpy.float64)
        left -= chunk


def score(
    name: str, labels: numpy.ndarray, predictions: numpy.ndarray, counts: Counts, positive: int | None = None
) -> numpy.ndarray:
    """A metric in each resample, float64 [resamples], as `compute` of metrics.py would give it for the examples drawn.
    `labels`, `predictions`: of each group, float64 [groups, 1], or [groups, classes] if multi-label."""
    if name == "pearson":
        return correlations(labels[:, 0], predictions[:, 0], counts)
    if name == "spearman":
        one, other = (rankdata(values[:, 0], method="dense") - 1 for values in (labels, predictions))
        return numpy.concatenate([correlations(ranks(one, row), ranks(other, row), row[None]) for row in counts])
    if name == "accuracy":
        return ratio(counts @ (labels == predictions).all(axis=1), counts.sum(axis=1))
    if labels.shape[1] > 1:  # multi-label
        hits, true, predicted = (counts @ marked for marked in (labels * predictions, labels, predictions))
        if name == "f1_micro":
            return ratio(2 * hits.sum(axis=1), true.sum(axis=1) + predicted.sum(axis=1))
        return numpy.asarray(ratio(2 * hits, true + predicted).mean(axis=1))
    hits, true, predicted = class_counts(labels[:, 0], predictions[:, 0], counts)
    if name == "matthews":
        return matthews(hits.sum(axis=1), true, predicted)
    assert name == "f1", name
    if positive is not None:
        is_true, is_predicted = labels[:, 0] == positive, predictions[:, 0] == positive
        return ratio(2 * (counts @ (is_true & is_predicted)), counts @ is_true + counts @ is_predicted)
    occurs = (true + predicted) > 0
    return ratio(ratio(2 * hits, true + predicted).sum(axis=1), occurs.sum(axis=1))


def class_counts(labels: numpy.ndarray, predictions: numpy.ndarray, counts: Counts) -> Sequence[numpy.ndarray]:
    """Of each class in each resample, [resamples, classes]: examples of the class that are predicted right, examples of
    it, examples predicted to be of it."""
    classes, ids = numpy.unique(numpy.concatenate([labels, predictions]), return_inverse=True)
    true, predicted = ids[: len(labels)], ids[len(labels) :]

    def summed(ids: numpy.ndarray, weights: numpy.ndarray) -> numpy.ndarray:
        marked = sparse.csr_array((weights, (ids, numpy.arange(len(ids)))), shape=(len(classes), len(ids)))
        return numpy.asarray(marked @ counts.T).T

    one = numpy.ones(len(labels))
    return summed(true, (true == predicted).astype(numpy.float64)), summed(true, one), summed(predicted, one)


def matthews(hits: numpy.ndarray, true: numpy.ndarray, predicted: numpy.ndarray) -> numpy.ndarray:
    """Matthews' correlation for any number of classes (Gorodkin 2004, as in scikit-learn); 0 where a side is
    constant."""
    number = true.sum(axis=1)
    covariance = hits * number - (true * predicted).sum(axis=1)
    spread = (number**2 - (true**2).sum(axis=1)) * (number**2 - (predicted**2).sum(axis=1))
    return ratio(covariance, numpy.sqrt(spread))


def correlations(one: numpy.ndarray, other: numpy.ndarray, counts: Counts) -> numpy.ndarray:
    """Pearson correlation of two values of each group, [groups], in each resample; 0 where one is constant."""
    number = counts.sum(axis=1)
    one, other = one - one.mean(), other - other.mean()  # less cancellation in the differences below
    sum_one, sum_other = counts @ one, counts @ other
    spread_one, spread_other = (counts @ x**2 - (counts @ x) ** 2 / number for x in (one, other))
    tiny = 1e-12 * number * max(one.var() * other.var(), 1e-300) ** 0.5
    spread = numpy.sqrt(numpy.maximum(spread_one, 0) * numpy.maximum(spread_other, 0))
    return ratio(counts @ (one * other) - sum_one * sum_other / number, numpy.where(spread > tiny, spread, 0))


def ranks(places: numpy.ndarray, counts: numpy.ndarray) -> numpy.ndarray:
    """The average ranks of values, [groups], of which each occurs as often as `counts` [groups] says. `places`: of each
    value among the distinct ones, int [groups]."""
    sizes = numpy.bincount(places, weights=counts)
    return numpy.asarray((numpy.cumsum(sizes) - (sizes - 1) / 2)[places])


def ratio(part: numpy.ndarray, whole: numpy.ndarray) -> numpy.ndarray:
    """part / whole; 0 where the whole is 0."""
    divided: numpy.ndarray = numpy.divide(part, whole, out=numpy.zeros(part.shape), where=whole > 0)
    return divided
