"""Charts of the training: losses, metrics, learning rate and gradient norm over the steps."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy

from pairft.reporting.svg import INK, MUTED, ONE, TWO, Canvas, Chart, canvas, legend, whole_numbers

POINTS = 300  # of a curve; more are averaged in groups
MARKED = 40  # points of a curve that have markers
MARKERS: tuple[str | None, ...] = ("o", "s", "^", "D")
DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)), "-.")

Lines = Sequence[Mapping[str, Any]]  # of metrics.jsonl


def curves(training: Lines, evaluations: Lines, metrics: Sequence[str], best: int, max_grad_norm: float) -> list[Chart]:
    """The charts of a run. `training`, `evaluations`: its lines of metrics.jsonl. `best`: the step of the best
    evaluation."""
    charts = [losses(training, evaluations, best)] if training or evaluations else []
    if evaluations:
        charts.append(scores(evaluations, metrics, best))
    if training:
        charts += [learning_rate(training), gradient_norm(training, max_grad_norm)]
    return charts


def points(lines: Lines, name: str) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Steps and values of a curve, without missing values. Of more than POINTS, groups of neighbours are averaged."""
    pairs = [(line["step"], line[name]) for line in lines if isinstance(line.get(name), (int, float))]
    table = numpy.array(pairs, numpy.float64).reshape(-1, 2)
    if len(table) > POINTS:
        table = numpy.array([group.mean(axis=0) for group in numpy.array_split(table, POINTS)])
    return table[:, 0], table[:, 1]


def smooth(values: numpy.ndarray) -> numpy.ndarray:
    """The mean over a centred window of a tenth of the curve; shorter at its ends."""
    half = len(values) // 20
    sums = numpy.concatenate([[0.0], numpy.cumsum(values)])
    places = numpy.arange(len(values))
    first, last = numpy.maximum(places - half, 0), numpy.minimum(places + half + 1, len(values))
    return numpy.asarray((sums[last] - sums[first]) / (last - first))


def losses(training: Lines, evaluations: Lines, best: int) -> Chart:
    """Training and validation loss in one chart."""
    with canvas("loss", "Training and validation loss over the steps") as drawn:
        steps, values = points(training, "loss")
        drawn.axes.plot(steps, values, color=ONE, alpha=0.3, linewidth=1)
        drawn.axes.plot(steps, smooth(values), color=ONE, label="training (smoothed)")
        steps, values = points(evaluations, "loss")
        marker = "o" if len(steps) <= MARKED else None
        drawn.axes.plot(steps, values, color=TWO, marker=marker, markersize=5, linestyle=DASHES[1], label="validation")
        mark_best(drawn, best)
        drawn.axes.set_ylim(bottom=0)
        step_axis(drawn)
        legend(drawn.axes)
    return Chart("loss", "Loss", drawn.svg, about_losses(values, steps))


def about_losses(values: numpy.ndarray, steps: numpy.ndarray) -> str:
    """What the validation losses say, in words."""
    general = "Where it rises while the training loss falls, the model learns its training data by heart."
    if len(values) < 2:
        return f"Watch the validation loss. {general}"
    lowest = int(values.argmin())
    if lowest == len(values) - 1:
        return f"The validation loss was lowest at the end: more training may still help. {general}"
    rise = values[-1] / values[lowest] - 1
    if rise < 0.005:
        return (
            f"The validation loss was lowest after step {steps[lowest]:,.0f}, and hardly higher at the end. {general}"
        )
    return (
        f"The validation loss was lowest after step {steps[lowest]:,.0f}, and {rise:.0%} higher at the end. {general}"
    )


def scores(evaluations: Lines, metrics: Sequence[str], best: int) -> Chart:
    """The metrics of each evaluation."""
    with canvas("metrics", "Validation metrics over the steps") as drawn:
        for number, name in enumerate(metrics):
            marker, dash, colour = MARKERS[number % 4], DASHES[number % 4], (ONE, TWO, INK, MUTED)[number % 4]
            steps, values = points(evaluations, name)
            marker = marker if len(steps) <= MARKED else None
            drawn.axes.plot(steps, values, color=colour, marker=marker, markersize=5, linestyle=dash, label=name)
        mark_best(drawn, best)
        drawn.axes.margins(y=0.15)
        step_axis(drawn)
        legend(drawn.axes)
    caption = (
        f"Each point is an evaluation of the validation split; the dotted line marks the best one by {metrics[0]}."
    )
    return Chart("metrics", "Metrics", drawn.svg, caption)


def learning_rate(training: Lines) -> Chart:
    with canvas("lr", "Learning rate over the steps") as drawn:
        drawn.axes.plot(*points(training, "lr"), color=ONE)
        drawn.axes.set_ylim(bottom=0)
        drawn.axes.yaxis.set_major_formatter(lambda value, _: f"{value:.1e}".replace("e-0", "e-") if value else "0")
        step_axis(drawn)
    return Chart("lr", "Learning rate", drawn.svg, "AdamW's learning rate in each logged step.")


def gradient_norm(training: Lines, limit: float) -> Chart:
    """The norm of the gradient, and the one it is clipped to."""
    steps, values = points(training, "grad_norm")
    with canvas("grad_norm", "Gradient norm over the steps") as drawn:
        drawn.axes.plot(steps, values, color=ONE, alpha=0.3, linewidth=1)
        drawn.axes.plot(steps, smooth(values), color=ONE, label="norm (smoothed)")
        drawn.axes.axhline(limit, color=TWO, linestyle=DASHES[1], linewidth=1.4, label=f"clipped to {limit:g}")
        drawn.axes.set_ylim(bottom=0)
        step_axis(drawn)
        legend(drawn.axes)
    norms = [line["grad_norm"] for line in training if isinstance(line.get("grad_norm"), (int, float))]
    clipped = sum(norm > limit for norm in norms) / max(len(norms), 1)
    caption = f"Before clipping, which scaled down the gradient of {clipped:.0%} of the logged steps."
    return Chart("grad_norm", "Gradient norm", drawn.svg, caption)


def step_axis(drawn: Canvas) -> None:
    whole_numbers(drawn.axes.xaxis)
    drawn.axes.set_xlabel("step")


def mark_best(drawn: Canvas, best: int) -> None:
    drawn.axes.axvline(best, color=MUTED, linestyle=":", linewidth=1.2, zorder=0)
