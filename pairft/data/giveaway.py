"""Whether one column gives the label away: a linear model on the words of one sentence, without the other.

Gururangan et al. 2018, "Annotation Artifacts in Natural Language Inference Data", and Poliak et al. 2018 have found so
that the hypotheses of SNLI predict the label alone. A model of pairs may then learn to ignore the other sentence.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pairft.data.findings import Finding

if TYPE_CHECKING:
    import numpy
    from datasets import Dataset

MOST = 20_000  # training examples that are looked at; more hardly change the score
HELD_OUT = 0.2
FEATURES = 2**18
LEAST_GAIN = 0.05  # over chance: less is of no use to a model
STANDARD_ERRORS = 3  # of the gain, by which it must exceed 0


def giveaways(rows: "Dataset", text_columns: Sequence[str], tokens: "Dataset", regression: bool) -> Iterator[Finding]:
    """A finding for each column that predicts the label alone: better than the most frequent class or, in a regression,
    than the mean; on held-out examples, none of whose sentences is among the others'."""
    import numpy

    chosen = numpy.sort(numpy.random.default_rng(0).permutation(len(rows))[:MOST])
    some = rows.select(chosen).select_columns(list(text_columns)).with_format("arrow")[:]
    labels = tokens.select(chosen).with_format("numpy")["label"][:]
    for column in text_columns:
        texts = some.column(column).to_pylist()
        numbers = {text: number for number, text in enumerate(dict.fromkeys(texts))}
        sentence = numpy.array([numbers[text] for text in texts])
        groups = numpy.random.default_rng(1).permutation(len(numbers))
        held_out = groups[sentence] < HELD_OUT * len(groups)
        if 0 < held_out.sum() < len(texts):
            found = score(texts, labels, held_out, regression)
            if found is not None:
                more = {"column": column, **found}
                yield Finding("giveaway", "train", len(rows), 1.0, more=more)


def score(
    texts: Sequence[str], labels: "numpy.ndarray", held_out: "numpy.ndarray", regression: bool
) -> dict[str, Any] | None:
    """The score of the words in `texts` on the examples `held_out` (bool), and that of chance; None if the former isn't
    clearly the better one. `labels`: int64 class ids, float32 values, or 0 and 1 for each class."""
    import numpy
    from sklearn.feature_extraction.text import HashingVectorizer
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.multiclass import OneVsRestClassifier

    words = HashingVectorizer(n_features=FEATURES, binary=True).transform(texts)
    train, test = labels[~held_out], labels[held_out]
    if regression:
        predicted = Ridge().fit(words[~held_out], train).predict(words[held_out])
        errors = (test - predicted) ** 2, (test - train.mean()) ** 2
        spread = errors[1].mean()
        if not spread:
            return None
        gains, baseline, metric = (errors[1] - errors[0]) / spread, 0.0, "R²"
    else:
        known = [numpy.unique(column) for column in (train.T if train.ndim == 2 else [train])]
        if all(len(values) < 2 for values in known):
            return None
        model = LogisticRegression(max_iter=200)
        model = OneVsRestClassifier(model) if train.ndim == 2 else model
        right = model.fit(words[~held_out], train).predict(words[held_out]) == test
        often = train.mean(axis=0) > 0.5 if train.ndim == 2 else numpy.bincount(train).argmax()
        chance = test == often
        gains, baseline, metric = right.astype(float) - chance, float(chance.mean()), "accuracy"
    gain, error = float(gains.mean()), float(gains.std() / numpy.sqrt(len(test)))
    if gain < max(LEAST_GAIN, STANDARD_ERRORS * error):
        return None
    return {"metric": metric, "score": baseline + gain, "baseline": baseline}
