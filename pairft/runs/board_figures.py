"""The images of TensorBoard's board, drawn with matplotlib after an evaluation."""

import io
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_NAMES = 20  # of classes that are written beside a figure
MAX_POINTS = 2_000  # of a scatter plot, evenly spaced over the examples
MAX_BINS = 6  # of lengths
LABEL_LENGTH = 24  # of a class name, in characters


def png(draw: Callable[["Axes"], None], width: float = 6.0, height: float = 4.8) -> bytes:
    """A figure as PNG. `draw` draws it; `width` and `height` are in inches of 100 pixels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # without pyplot, which would keep the figure

    figure = Figure(figsize=(width, height), dpi=100, layout="constrained")
    draw(figure.add_subplot())
    image = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)  # a name in another script
        FigureCanvasAgg(figure).print_png(image)
    return image.getvalue()


def short(names: Sequence[str]) -> list[str]:
    return [name if len(name) <= LABEL_LENGTH else name[: LABEL_LENGTH - 1] + "…" for name in names]


def confusion_matrix(counts: numpy.ndarray, names: Sequence[str]) -> bytes:
    """Labels by row, predictions by column. The colour is the share of the label's examples. `counts`: int64 [classes,
    classes]."""
    shares = counts / numpy.maximum(counts.sum(axis=1, keepdims=True), 1)

    def draw(axes: "Axes") -> None:
        axes.figure.colorbar(axes.imshow(shares, cmap="Blues", vmin=0, vmax=1), ax=axes, label="share of the label")
        axes.set(xlabel="predicted", ylabel="label", title="Confusion matrix")
        if len(names) <= MAX_NAMES:
            ticks = range(len(names))
            axes.set_xticks(ticks, short(names), rotation=45 if len(names) > 3 else 0, parse_math=False)
            axes.set_yticks(ticks, short(names), parse_math=False)
            for (row, column), count in numpy.ndenumerate(counts):
                colour = "white" if shares[row, column] > 0.5 else "black"
                axes.text(column, row, str(count), ha="center", va="center", color=colour)

    side = min(12.0, 4.2 + 0.35 * min(len(names), MAX_NAMES))
    return png(draw, side + 1.0, side)


def length_bins(tokens: numpy.ndarray) -> list[tuple[str, numpy.ndarray]]:
    """Bins of about as many examples each: their lengths as text, and which examples they hold, bool [examples]."""
    edges = numpy.unique(numpy.quantile(tokens, numpy.linspace(0, 1, MAX_BINS + 1), method="nearest"))
    if len(edges) == 1:
        return [(str(edges[0]), numpy.ones(len(tokens), bool))]
    place = numpy.clip(numpy.searchsorted(edges, tokens, side="right") - 1, 0, len(edges) - 2)
    bins = []
    for index in range(len(edges) - 1):
        chosen = place == index
        first, last = tokens[chosen].min(), tokens[chosen].max()
        bins.append((f"{first}" if first == last else f"{first} to {last}", chosen))
    return bins


def accuracy_by_length(right: numpy.ndarray, tokens: numpy.ndarray, what: str) -> bytes:
    """The share of right answers among examples of about one length, with Wilson's 95 % intervals (SciPy). `right`:
    bool [examples]. `tokens`: int [examples]. `what`: "accuracy", or what else the share is called."""
    from scipy.stats import binomtest

    bins = length_bins(tokens)
    counts = [(int(right[chosen].sum()), int(chosen.sum())) for _, chosen in bins]
    intervals = [binomtest(k, n).proportion_ci(method="wilson") for k, n in counts]
    values = numpy.array([k / n for k, n in counts])
    reach = numpy.abs(numpy.array([[ci.low for ci in intervals], [ci.high for ci in intervals]]) - values)
    labels = [f"{text}\n({n})" for (text, _), (_, n) in zip(bins, counts, strict=True)]

    def draw(axes: "Axes") -> None:
        axes.errorbar(range(len(bins)), values, reach, fmt="o", capsize=4)
        axes.set_xticks(range(len(bins)), labels)
        axes.set(xlabel="tokens of an example (number of examples)", ylabel=what, ylim=(0, 1.02))
        axes.set_title(f"{what.capitalize()} by length, with 95 % intervals")

    return png(draw)


def error_by_length(errors: numpy.ndarray, tokens: numpy.ndarray) -> bytes:
    """Box plots of the errors of a regression, predicted minus true. `errors`: float [examples]."""
    bins = length_bins(tokens)

    def draw(axes: "Axes") -> None:
        labels = [f"{text}\n({chosen.sum()})" for text, chosen in bins]
        axes.axhline(0, color="grey", linewidth=1)
        axes.boxplot([errors[chosen] for _, chosen in bins], tick_labels=labels)
        axes.set(xlabel="tokens of an example (number of examples)", ylabel="predicted minus true")
        axes.set_title("Errors by length")

    return png(draw)


def predicted_against_true(predicted: numpy.ndarray, true: numpy.ndarray) -> bytes:
    """A scatter plot of a regression. `predicted`, `true`: float [examples]."""
    chosen = slice(None, None, -(-len(true) // MAX_POINTS))

    def draw(axes: "Axes") -> None:
        axes.axline((float(true.mean()), float(true.mean())), slope=1, color="grey", linewidth=1)
        axes.scatter(true[chosen], predicted[chosen], s=12, alpha=0.5)
        axes.set(xlabel="true value", ylabel="predicted value", title="Predicted against true")

    return png(draw, 5.4, 5.0)


def by_label(predicted: numpy.ndarray, true: numpy.ndarray, names: Sequence[str]) -> bytes:
    """Precision, recall and F1 of each label of a multi-label task, the worst F1 on top, of at most 20 labels.
    `predicted`, `true`: 0 and 1 [examples, labels]."""
    hits, found, wanted = (predicted * true).sum(axis=0), predicted.sum(axis=0), true.sum(axis=0)
    scores = {
        "precision": hits / numpy.maximum(found, 1),
        "recall": hits / numpy.maximum(wanted, 1),
        "F1": 2 * hits / numpy.maximum(found + wanted, 1),
    }
    worst = numpy.argsort(scores["F1"], kind="stable")[:MAX_NAMES]

    def draw(axes: "Axes") -> None:
        for (name, values), marker in zip(scores.items(), "<>o", strict=True):
            axes.plot(values[worst], range(len(worst)), marker, label=name)
        labels = [
            f"{name} ({int(wanted[at])})" for at, name in zip(worst, short([names[at] for at in worst]), strict=True)
        ]
        axes.set_yticks(range(len(worst)), labels, parse_math=False)
        axes.set(xlim=(-0.02, 1.02), title="Labels, worst F1 first (number of examples that have it)")
        axes.invert_yaxis()
        axes.grid(axis="x")
        axes.legend()

    return png(draw, 6.5, 1.8 + 0.3 * len(worst))
