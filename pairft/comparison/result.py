"""The whole comparison as plain values: what --format json writes, and what text and page show."""

from collections.abc import Sequence
from typing import Any

from pairft.comparison.alignment import Examples
from pairft.comparison.differences import differences
from pairft.comparison.flips import errors_of, flips, right_of
from pairft.comparison.scores import Estimate, MetricScores, metric_scores
from pairft.comparison.sides import Side
from pairft.comparison.significance import ALPHA, ExampleTest, SeedTest, compare_errors, compare_seeds, holm, mcnemar
from pairft.comparison.words import verdict, verdict_over_seeds
from pairft.runs.bootstrap import CONFIDENCE, RESAMPLES
from pairft.tasks import REGRESSION
from pairft.training.evaluation import EvalOutput

Outputs = Sequence[Sequence[EvalOutput]]  # the answers of each run of each side
Tests = ExampleTest | dict[str, SeedTest]  # on the same examples or, of each metric, over seeds


def result_of(
    sides: Sequence[Side], examples: Examples, outputs: Outputs, metrics: Sequence[str], about: dict[str, Any]
) -> dict[str, Any]:
    """The comparison of each further side with the first one. `about`: "which" models answered what "rows", and
    "notes"."""
    scores = metric_scores(outputs, metrics, examples.positive)
    positive = examples.names[examples.positive] if examples.names and examples.positive is not None else None
    return {
        **about,
        "num_rows": len(examples.rows),
        "unit": unit_of(examples),
        "problem_type": examples.problem_type,
        "positive_class": positive,
        "confidence": CONFIDENCE,
        "resamples": RESAMPLES,
        "sides": [
            {
                "letter": side.letter,
                "name": side.name,
                "seeds": side.seeds if side.is_group else None,
                "scores": {one.name: scored(one.sides[number], one.runs[number]) for one in scores},
            }
            for number, side in enumerate(sides)
        ],
        "settings": [row._asdict() for row in differences(sides)],
        "comparisons": comparisons(sides, examples, outputs, scores),
    }


def scored(estimate: Estimate, runs: Sequence[float]) -> dict[str, Any]:
    return {"value": estimate.value, "interval": list(estimate.interval), "runs": list(runs)}


def comparisons(
    sides: Sequence[Side], examples: Examples, outputs: Outputs, scores: Sequence[MetricScores]
) -> list[dict[str, Any]]:
    """A comparison for each side but the first. Several are corrected by Holm's method."""
    tests: list[Tests] = [
        seed_tests(scores, number) if sides[0].is_group else example_test(examples, outputs[0][0], outputs[number][0])
        for number in range(1, len(sides))
    ]
    p_values = holm([p_of(test) for test in tests])
    correction = f" (after Holm's correction for {len(tests)} comparisons)" if len(tests) > 1 else ""
    found = []
    for number, (side, test, p) in enumerate(zip(sides[1:], tests, p_values, strict=True)):
        if isinstance(test, dict):
            said = verdict_over_seeds(side.letter, scores[0].name, test[scores[0].name], p, correction)
        else:
            said = verdict(side.letter, test, p, correction, len(examples.rows), unit_of(examples))
        found.append(
            {
                "first": sides[0].letter,
                "second": side.letter,
                "verdict": said,
                "notes": [] if isinstance(test, dict) else notes(test, p, scores, number),
                "test": None if isinstance(test, dict) else test._asdict(),
                "seed_tests": {name: one._asdict() for name, one in test.items()} if isinstance(test, dict) else None,
                "p_corrected": p if correction else None,
                "differences": {metric.name: difference(metric.differences[number]) for metric in scores},
                "flips": flips(examples, outputs[0], outputs[number + 1]),
            }
        )
    return found


def unit_of(examples: Examples) -> str:
    """What the examples are called."""
    return "pairs" if len(examples.text_columns) == 2 else "sentences"


def difference(estimate: Estimate) -> dict[str, Any]:
    return {"value": estimate.value, "interval": list(estimate.interval)}


def p_of(test: Tests) -> float:
    """The p-value that decides: over seeds, that of the first metric, or 1 if it can't be tested."""
    p = next(iter(test.values())).p if isinstance(test, dict) else test.p
    return 1.0 if p is None else p


def example_test(examples: Examples, output: EvalOutput, other: EvalOutput) -> ExampleTest:
    if examples.problem_type == REGRESSION:
        return compare_errors(errors_of(output), errors_of(other))
    return mcnemar(right_of(output), right_of(other))


def seed_tests(scores: Sequence[MetricScores], number: int) -> dict[str, SeedTest]:
    """Of each metric, side `number` against the first."""
    return {one.name: compare_seeds(one.runs[0], one.runs[number]) for one in scores}


def notes(test: ExampleTest, p: float, scores: Sequence[MetricScores], number: int) -> list[str]:
    """A note if the interval of some metric says another thing than the test."""
    found = test.direction if p < ALPHA else 0
    better = {one.name: one.differences[number].sign * (-1 if one.name == "loss" else 1) for one in scores}
    names = [name for name, sign in better.items() if sign and sign != found]
    if not names:
        return []
    intervals = "intervals of the differences" if len(names) > 1 else "interval of the difference"
    about = "the absolute errors" if test.pairs_needed is None else "accuracy"
    if found:
        return [
            f"the test is about {about}; the {intervals} in {' and '.join(names)} say{'s' * (len(names) == 1)} the "
            "opposite, so it depends on what matters to you which model is better"
        ]
    return [
        f"the test finds no evidence of a difference in {about}, but 0 is not in the {intervals} in "
        f"{' and '.join(names)}: of several metrics, one may do so by chance, so look at it with other data or seeds"
    ]
