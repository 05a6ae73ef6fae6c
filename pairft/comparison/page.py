"""A comparison as one HTML file that needs nothing else: no script, no request, every text escaped."""

from pathlib import Path
from typing import Any

from pairft.comparison.text import HEADS, answer, estimate, metric_name, model_of, printable
from pairft.comparison.words import shown_p

TEMPLATE = "page.html"


def page_of(result: dict[str, Any], limit: int) -> str:
    """The page, with at most `limit` flipped examples of each kind."""
    from jinja2 import Environment, StrictUndefined

    pages = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True)
    shown = {function.__name__: function for function in (answer, estimate, metric_name, places, printable, shown_p)}
    letters, models = [side["letter"] for side in result["sides"]], model_of(result).capitalize()
    template = pages.from_string((Path(__file__).parent / TEMPLATE).read_text(encoding="utf-8"))
    return template.render(result=result, letters=letters, models=models, heads=HEADS, limit=limit, **shown)


def places(estimate: dict[str, Any]) -> tuple[float, float, float]:
    """Where low end, value and high end of a difference lie in its bar, in percent: 0 is in the middle."""
    low, high = estimate["interval"]
    scale = 48 / (max(abs(low), abs(high)) or 1)
    return 50 + scale * low, 50 + scale * estimate["value"], 50 + scale * high
