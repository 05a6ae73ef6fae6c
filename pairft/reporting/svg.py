"""Charts as SVG inside the page: drawn by matplotlib, coloured by the page's CSS.

Each colour of a chart stands for a CSS variable of style.css, so that a chart follows the reader's light or dark mode.
Text stays text: it can be selected, and takes the page's font. The same data give the same bytes.
"""

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

# Colours that stand for CSS variables. ONE and TWO (blue and orange of Okabe and Ito's palette) are told apart by
# colour-blind people, too; lines also differ in their dashes or markers.
VARIABLES = {
    "#010101": "--ink",
    "#020202": "--muted",
    "#030303": "--line",
    "#040404": "--one",
    "#050505": "--two",
    "#060606": "--paper",
}
INK, MUTED, LINE, ONE, TWO, PAPER = VARIABLES
WIDTH, HEIGHT = 4.2, 2.6  # inches of 72 points; a phone shows the width on about 350 pixels: text stays readable
STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.5,
    "text.parse_math": False,  # a $ in a name is a $
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "xtick.major.width": 0.8,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.fontsize": 9.5,
    "legend.handlelength": 1.8,
    "legend.borderpad": 0.0,
    "figure.facecolor": "none",
    "figure.constrained_layout.use": True,
    "savefig.facecolor": "none",
    "path.simplify": True,
}
SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"


@dataclass(frozen=True)
class Chart:
    """A chart of the page."""

    name: str  # of its element, for links and tests
    title: str
    svg: str  # the element <svg>, without text of the user's
    caption: str  # what to look for
    head: Sequence[str] = ()  # the same values as a table, for readers who can't see the chart
    rows: Sequence[Sequence[Any]] = ()


@dataclass
class Canvas:
    """What a chart is drawn on, and its element <svg> when it is done."""

    figure: "Figure"
    axes: Any  # matplotlib's Axes; an array of them if there are several rows
    svg: str = ""


@contextmanager
def canvas(name: str, label: str, rows: int = 1, height: float = HEIGHT, **layout: Any) -> Iterator[Canvas]:
    """Within the context, draw on the canvas; afterwards it has the SVG. `label`: what a screen reader says. `height`:
    in inches. `layout`: of the rows, for matplotlib's GridSpec."""
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # a cache of fonts that can't be written, for example
    import matplotlib
    from matplotlib.figure import Figure

    settings: Any = {key: value for key, value in matplotlib.rcParamsDefault.items() if not key.startswith("backend")}
    settings |= {**STYLE, "svg.hashsalt": f"pairft-{name}"}
    with matplotlib.rc_context(settings):  # whatever the user's matplotlibrc says
        figure = Figure(figsize=(WIDTH, height))
        drawn = Canvas(figure, figure.subplots(rows, sharex=rows > 1, gridspec_kw=layout))
        yield drawn
        file = StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    drawn.svg = inline(file.getvalue(), label)


def inline(document: str, label: str) -> str:
    """matplotlib's SVG document as an element of a page: without header, metadata and unused ids, with CSS variables
    for colours."""
    root = ElementTree.fromstring(document)
    for parent in list(root.iter()):
        for child in [child for child in parent if child.tag in (f"{{{SVG}}}metadata", f"{{{SVG}}}style")]:
            parent.remove(child)  # the rule in <style> would concern the whole page
    used_ids = set(re.findall(r"#(\w+)[\")]", document))
    for element in root.iter():
        element.tag = element.tag.removeprefix(f"{{{SVG}}}")
        if element.get("id") not in used_ids:
            element.attrib.pop("id", None)
        if (link := element.attrib.pop(f"{{{XLINK}}}href", None)) is not None:
            element.set("href", link)
        if style := element.get("style"):
            element.set("style", themed(style))
        for name in element.attrib.keys() & {"d", "x", "y", "transform"}:
            element.set(name, re.sub(r"(\.\d\d)\d+", r"\1", element.attrib[name]))  # hundredths of a point
        for name in ("text", "tail"):
            if (getattr(element, name) or "x").isspace():
                setattr(element, name, None)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.set("role", "img")
    root.set("aria-label", label)
    return ElementTree.tostring(root, encoding="unicode")


def themed(style: str) -> str:
    """A style attribute with the page's font, and CSS variables for the colours that stand for them."""
    style = re.sub(r"font-family: [^;]*;? ?", "", style)
    return re.sub("|".join(VARIABLES), lambda colour: f"var({VARIABLES[colour[0]]})", style)


def whole_numbers(axis: "Axis") -> None:
    """Ticks at whole numbers only."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def legend(axes: "Axes") -> None:
    """A legend in a line above the axes."""
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, borderaxespad=0.3, columnspacing=1.4)
