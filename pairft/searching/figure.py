"""The winner's curse as a figure: the best recipe's score in the search, beside its scores on fresh seeds and those of
the defaults."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

WINNER, DEFAULTS, OTHERS = "#0072B2", "#D55E00", "#999999"  # of Okabe and Ito's palette


def draw(path: Path, found: Mapping[str, Any], trials: Sequence[Mapping[str, Any]], title: str) -> None:
    """Write the figure as SVG. `found`: from `winner.compared`. `trials`: those of sweep.json."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 2.6), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    scores = [trial["score"] for trial in trials if trial["score"] is not None]
    axes.plot(scores, [2] * len(scores), "o", color=OTHERS, alpha=0.7)
    axes.plot([found["in_search"]], [2], "D", color=WINNER)
    names = [f"defaults,\n{len(found['defaults']['seeds'])} fresh seeds"]
    names += [f"best recipe,\n{len(found['winner']['seeds'])} fresh seeds", "search,\none seed"]
    for height, which, colour in ((1, "winner", WINNER), (0, "defaults", DEFAULTS)):
        about = found[which]
        axes.plot(about["scores"], [height] * len(about["scores"]), "o", color=colour, alpha=0.5)
        if about["mean"] is not None:
            axes.plot([about["mean"]], [height], "|", color=colour, markersize=18, markeredgewidth=2.5)
        if about["interval"]:
            axes.plot(about["interval"], [height] * 2, "-", color=colour, linewidth=1.5)
    axes.axvline(found["in_search"], color=WINNER, linestyle=":", linewidth=1)
    axes.set_yticks([0, 1, 2], names)
    axes.set_ylim(-0.6, 2.6)
    axes.set_xlabel(f"{found['metric']} on the validation split; bar: mean, line: its 95 % confidence interval")
    axes.set_title(title, fontsize=9, wrap=True, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    part = path.with_name(f".{path.name}.part")
    figure.savefig(part, format="svg", metadata={"Date": None})
    os.replace(part, path)
