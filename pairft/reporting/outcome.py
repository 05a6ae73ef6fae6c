"""The outcome of a run in words: its scores, how uncertain they are, and what a model that learnt nothing would get."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy

from pairft.runs import bootstrap
from pairft.runs.evaluations import Evaluated
from pairft.tasks import MULTI_LABEL, REGRESSION, SINGLE_LABEL
from pairft.training.evaluation import EvalOutput

SEED = 0  # of the bootstrap
TITLES = {
    "accuracy": "Accuracy",
    "f1_micro": "Micro F1",
    "matthews": "Matthews correlation",
    "pearson": "Pearson correlation",
    "spearman": "Spearman correlation",
}


@dataclass(frozen=True)
class Score:
    """A metric of the best model. The interval and the baseline need the answers of the evaluation."""

    title: str
    value: float
    interval: tuple[float, float] | None = None
    resamples: int = 0
    baseline: float | None = None  # of the best answer that is always the same
    constant: str = ""  # that answer
    gain: tuple[float, float] | None = None  # interval of the difference to it, in the same resamples

    def difference(self) -> str:
        """The interval of the difference to a constant answer, in words."""
        return "" if self.gain is None else " to ".join(f"{round(end, 3) + 0.0:+.3f}" for end in self.gain)

    def strip(self) -> dict[str, str]:
        """Where the parts of a strip from 0 to 1 are, in percent of its width."""
        assert self.interval is not None and self.baseline is not None, self.title
        low, high = self.interval
        places = {"low": low, "width": high - low, "at": self.value, "base": self.baseline}
        return {name: f"{100 * min(max(place, 0.0), 1.0):.1f}%" for name, place in places.items()}


def title_of(metric: str, problem_type: str, positive: str | None) -> str:
    """A metric's name in words. `positive`: the name of the positive class."""
    if metric == "f1":
        mean = "Mean F1 of the labels" if problem_type == MULTI_LABEL else "Macro F1"
        return mean if positive is None else f"F1 of “{positive}”"
    return TITLES[metric]


def scores_of(
    values: Mapping[str, float],
    names: Sequence[str],
    found: Evaluated | None,
    problem_type: str,
    positive: str | None,
    split: str = "validation",
) -> list[Score]:
    """The scores of the best model on a split, in the order of `names`. `values`: by metric, from results.json.
    `found`: its answers, if they are there. `positive`: the name of the positive class."""
    where = "" if split == "validation" else f", {split.removeprefix('validation_')}"
    titles = {name: title_of(name, problem_type, positive) + where for name in names}
    if found is None:
        return [Score(titles[name], values[name]) for name in names]
    answers = constants(found)
    outputs = [constant_output(found, answer) for answer in answers]
    fixed = [baseline(names, output, found.positive) for output in outputs]
    others = [] if problem_type == REGRESSION else outputs  # whose correlation is 0 in every resample
    resampled = bootstrap.resampled_scores(names, [found.output, *others], seed=SEED, positive=found.positive)
    scores = []
    for name, (own, *rest) in resampled.items():
        best = max(range(len(answers)), key=lambda place: fixed[place][name])
        gain = bootstrap.interval(own - rest[best] if rest else own)
        about = len(own), fixed[best][name], answer_text(found, answers[best]), gain
        scores.append(Score(titles[name], values[name], bootstrap.interval(own), *about))
    return scores


def constants(found: Evaluated) -> list[numpy.ndarray]:
    """Answers that don't look at the sentences, each of the shape of one label: the most frequent class or set of
    labels, which has the highest accuracy, and the positive class or all labels, which has the highest F1; of a
    regression, the mean."""
    labels = found.output.labels
    if found.problem_type == REGRESSION:
        return [numpy.asarray(labels.mean())]
    distinct, counts = numpy.unique(labels, axis=0, return_counts=True)
    most = numpy.asarray(distinct[counts.argmax()])
    if found.problem_type == MULTI_LABEL:
        return [most, numpy.ones_like(most)]
    return [most] if found.positive is None else [most, numpy.asarray(found.positive)]


def constant_output(found: Evaluated, answer: numpy.ndarray) -> EvalOutput:
    """What a model would give that always answers `answer`."""
    output = found.output
    row = answer.reshape(-1) if found.problem_type == REGRESSION else answer - 0.5
    if found.problem_type == SINGLE_LABEL:
        row = numpy.arange(output.logits.shape[1]) == answer
    logits = numpy.broadcast_to(row.astype(numpy.float32), output.logits.shape)
    return EvalOutput(logits, numpy.zeros_like(output.losses), output.labels)


def baseline(names: Sequence[str], constant: EvalOutput, positive: int | None) -> dict[str, float]:
    """The metrics of an answer that is always the same."""
    number = len(constant.labels)
    labels, answers = (
        values.astype(numpy.float64).reshape(number, -1) for values in (constant.labels, constant.predictions())
    )
    once = numpy.ones((1, number))
    return {name: float(bootstrap.score(name, labels, answers, once, positive)[0]) for name in names}


def sentence(score: Score, found: Evaluated | None, examples: str) -> str:
    """The outcome in one sentence. `score`: of the main metric. `examples`: what was evaluated, in words."""
    text = f"{score.title} is {score.value:.3f} on {examples}"
    if found is None or score.interval is None:
        return f"{text}."
    low, high = score.interval
    text += f" (95 % interval {low:.3f} to {high:.3f})"
    if found.problem_type == REGRESSION:
        return f"{text}; a prediction that is always the same would give 0."
    return f"{text}; always answering {score.constant} would give {score.baseline:.3f}."


def answer_text(found: Evaluated, answer: numpy.ndarray) -> str:
    """A constant answer in words."""
    text = found.label_text(answer)
    return f"“{text}”" if text else "with no label"


def about_gain(score: Score, others: Sequence[Score]) -> str:
    """A warning if the score is no evidence that the model has learnt something; else ""."""
    if score.gain is None or score.gain[0] > 0:
        return ""
    better = [other.title for other in others if other.gain is not None and other.gain[0] > 0]
    return (
        f"By {score.title} there is no evidence that the model is better than an answer that is always the same: the "
        f"95 % interval of the difference is {score.difference()}."
        + (f" By {' and '.join(better)} there is." if better else "")
    )


def about_interval(score: Score) -> str:
    return (
        f"The interval is a percentile bootstrap over the examples ({score.resamples:,} resamples). It says how far "
        "the score may differ on other examples of the same kind; another seed (--seeds) or other data may change more."
    )


def about_choice(evaluations: int, main_metric: str) -> str:
    """That the best model was chosen on the examples that it is scored on. `evaluations`: their number; 0 if it isn't
    known."""
    if evaluations == 0:
        return f"Of several evaluations the best by {main_metric} was chosen, on these same examples."
    if evaluations == 1:
        return "The model was evaluated once, so no choice among models makes this score too good."
    return (
        f"This model was chosen as the best of {evaluations} evaluations, by {main_metric} on these same examples, so "
        "its score is a little too good. A test split that nothing was chosen on gives an unbiased one."
    )
