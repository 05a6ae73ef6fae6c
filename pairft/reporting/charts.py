"""Charts of a model's answers: confidence, calibration, length, and values against predictions."""

from typing import Any

import numpy

from pairft.reporting.answers import is_right, length_groups
from pairft.reporting.curves import DASHES
from pairft.reporting.svg import INK, LINE, MUTED, ONE, TWO, Canvas, Chart, canvas, legend, whole_numbers
from pairft.runs.evaluations import Evaluated
from pairft.tasks import REGRESSION
from pairft.training.calibration import decisions

BINS = 10  # of confidence
DOTS = 600  # examples of a scatter plot; of more, their number in each square is drawn
SQUARES = 30  # on each side


def share_interval(hits: int, number: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share."""
    from scipy.stats import binomtest

    found = binomtest(hits, number).proportion_ci(method="wilson")
    return float(found.low), float(found.high)


def confidence(found: Evaluated, temperature: float = 1.0) -> tuple[numpy.ndarray, numpy.ndarray]:
    """The probability of each answer and whether it is right, [decisions]. Each label of a multi-label example is a
    decision of its own."""
    from scipy.special import softmax

    logits, labels = decisions(found.output.logits.astype(numpy.float64), found.output.labels)
    probabilities = softmax(logits / temperature, axis=1)
    return probabilities.max(axis=1), probabilities.argmax(axis=1) == labels


def bins_of(sure: numpy.ndarray, right: numpy.ndarray) -> list[tuple[float, float, int, int]]:
    """Mean confidence, accuracy, right answers and number of each bin of confidence that has any."""
    places = numpy.minimum((sure * BINS).astype(int), BINS - 1)
    rows = [(sure[places == place], right[places == place]) for place in range(BINS)]
    return [(float(s.mean()), float(r.mean()), int(r.sum()), len(r)) for s, r in rows if len(s)]


def reliability(found: Evaluated, temperature: float | None) -> Chart:
    """Accuracy against confidence, as they are and at the temperature of calibration.json."""
    with canvas("reliability", "Accuracy against confidence, before and after the temperature", height=3.2) as drawn:
        drawn.axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=":", label="perfect")
        before = bins_of(*confidence(found))
        draw_bins(drawn, before, ONE, "o", DASHES[0], "as they are")
        if temperature is not None:
            draw_bins(drawn, bins_of(*confidence(found, temperature)), TWO, "s", DASHES[1], f"T = {temperature:.2f}")
        low = min(0.5, *(sure for sure, *_ in before))
        drawn.axes.set_xlim(low - 0.02, 1.01)
        drawn.axes.set_ylim(0, 1.02)
        drawn.axes.set_xlabel("confidence: probability of the answer")
        legend(drawn.axes)
    caption = (
        "Of answers given with a confidence of 80 %, 80 % should be right: points below the dotted line are too sure, "
        "points above it not sure enough. Bars: Wilson's 95 % interval of the accuracy."
    )
    rows = [[f"{sure:.3f}", f"{share:.3f}", f"{number:,}"] for sure, share, _, number in before]
    return Chart("reliability", "Accuracy by confidence", drawn.svg, caption, ("confidence", "accuracy", "n"), rows)


def draw_bins(drawn: Canvas, rows: list[Any], colour: str, marker: str, dash: Any, label: str) -> None:
    sure, share, hits, numbers = zip(*rows, strict=True)
    bounds = [share_interval(*counts) for counts in zip(hits, numbers, strict=True)]
    drawn.axes.vlines(sure, *zip(*bounds, strict=True), color=colour, alpha=0.45, linewidth=1.4)
    drawn.axes.plot(sure, share, color=colour, marker=marker, markersize=5, linestyle=dash, label=label)


def confidences(found: Evaluated) -> Chart:
    """How many right and wrong answers there are at each confidence."""
    sure, right = confidence(found)
    low = 1 / max(found.output.logits.shape[1], 2) if found.output.labels.ndim == 1 else 0.5
    edges = numpy.linspace(low - 1e-9, 1 + 1e-9, BINS + 1)  # whatever the rounding of equal probabilities
    hits, misses = numpy.histogram(sure[right], edges)[0], numpy.histogram(sure[~right], edges)[0]
    width = (edges[1] - edges[0]) * 0.9
    with canvas("confidence", "Number of right and wrong answers by confidence", height=3.2) as drawn:
        centres = (edges[:-1] + edges[1:]) / 2
        drawn.axes.bar(centres, hits, width, color=ONE, alpha=0.75, label="right")
        drawn.axes.bar(centres, misses, width, bottom=hits, color=TWO, label="wrong")
        drawn.axes.set_xlabel("confidence: probability of the answer")
        whole_numbers(drawn.axes.yaxis)
        legend(drawn.axes)
    caption = (
        "A useful confidence puts the wrong answers to the left. To leave doubtful ones to a person, choose a "
        "confidence below which few right answers lie."
    )
    rows = [
        [f"{a:.2f} to {b:.2f}", f"{hit:,}", f"{miss:,}"]
        for a, b, hit, miss in zip(edges[:-1], edges[1:], hits, misses, strict=True)
    ]
    return Chart("confidence", "Right and wrong answers", drawn.svg, caption, ("confidence", "right", "wrong"), rows)


def by_length(found: Evaluated) -> Chart:
    """Accuracy, or the mean absolute error, of short and long examples."""
    is_regression = found.problem_type == REGRESSION
    values = numpy.abs(found.output.predictions() - found.output.labels) if is_regression else is_right(found)
    what = "mean absolute error" if is_regression else "accuracy"
    rows = []
    with canvas("length", f"{what} by the number of tokens") as drawn:
        groups = length_groups(found.tokens)
        for place, group in enumerate(groups):
            number, mean = int(group.sum()), float(values[group].mean())
            half = 1.96 * float(values[group].std(ddof=1)) / number**0.5 if is_regression and number > 1 else 0.0
            low, high = max(mean - half, 0.0), mean + half
            if not is_regression:
                low, high = share_interval(int(values[group].sum()), number)
            drawn.axes.vlines(place, low, high, color=ONE, alpha=0.45, linewidth=1.6)
            drawn.axes.plot([place], [mean], color=ONE, marker="o", markersize=6)
            rows.append([span(found.tokens[group]), f"{mean:.3f}", f"{low:.3f} to {high:.3f}", f"{number:,}"])
        drawn.axes.set_xticks(range(len(groups)), [row[0] for row in rows])
        drawn.axes.axhline(float(values.mean()), color=MUTED, linestyle=":", linewidth=1.2)
        drawn.axes.margins(x=0.08, y=0.15)
        drawn.axes.set_xlabel("tokens")
    caption = f"The {what} in groups of similar length, with 95 % intervals; the dotted line is that of all."
    title = f"{what.capitalize()} by length"
    return Chart("length", title, drawn.svg, caption, ("tokens", what, "95 % interval", "n"), rows)


def span(tokens: numpy.ndarray) -> str:
    low, high = int(tokens.min()), int(tokens.max())
    return f"{low}" if low == high else f"{low}–{high}"


def values(found: Evaluated) -> Chart:
    """Predicted against true values."""
    true, predicted = found.output.labels.astype(float), found.output.predictions().astype(float)
    ends = true.min(), true.max()
    with canvas("values", "Predicted against true values", height=3.4) as drawn:
        drawn.axes.plot(ends, ends, color=MUTED, linewidth=1, linestyle=":", label="perfect")
        if len(true) <= DOTS:
            drawn.axes.plot(true, predicted, "o", color=ONE, markersize=4, alpha=0.5, markeredgewidth=0)
        else:
            draw_squares(drawn, true, predicted)
        drawn.axes.set_xlabel("label")
        drawn.axes.set_ylabel("prediction")
        drawn.axes.grid(True, axis="both", color=LINE)
    error = predicted - true
    caption = (
        f"On the dotted line a prediction equals its label. Mean error {error.mean():+.3f}, mean absolute error "
        f"{numpy.abs(error).mean():.3f}."
    )
    return Chart("values", "Predicted against true", drawn.svg, caption)


def draw_squares(drawn: Canvas, true: numpy.ndarray, predicted: numpy.ndarray) -> None:
    """The number of examples in each square of the plane, as the opacity of a square."""
    counts, across, up = numpy.histogram2d(true, predicted, bins=SQUARES)
    width, height = across[1] - across[0], up[1] - up[0]
    shades = numpy.sqrt(counts / counts.max())
    for level in numpy.unique(numpy.ceil(shades[counts > 0] * 8)):
        chosen = (counts > 0) & (numpy.ceil(shades * 8) == level)
        xs, ys = numpy.nonzero(chosen)
        drawn.axes.bar(
            across[xs], numpy.full(len(xs), height), width, up[ys], align="edge", color=ONE, alpha=float(level / 8)
        )


def errors(found: Evaluated) -> Chart:
    """The distribution of a regression's errors."""
    error = found.output.predictions().astype(float) - found.output.labels
    counts, edges = numpy.histogram(error, 2 * BINS)
    with canvas("errors", "Number of examples by error", height=3.4) as drawn:
        drawn.axes.bar(edges[:-1], counts, numpy.diff(edges) * 0.92, align="edge", color=ONE, alpha=0.75)
        drawn.axes.axvline(0, color=INK, linewidth=1, linestyle=":")
        drawn.axes.set_xlabel("prediction minus label")
        whole_numbers(drawn.axes.yaxis)
    rows = [[f"{a:+.2f} to {b:+.2f}", f"{n:,}"] for a, b, n in zip(edges[:-1], edges[1:], counts, strict=True)]
    caption = "Errors that lean to one side are a bias, which a constant would correct."
    return Chart("errors", "Errors", drawn.svg, caption, ("error", "n"), rows)
