"""Put a report together and write it. The templates are page.html and group.html; their style is style.css."""

import re
from pathlib import Path
from typing import Any

from pairft import __version__, disk
from pairft.reporting import group, sections
from pairft.reporting.material import read

FILE = "report.html"
# Characters that nobody sees but that change what is seen, or that HTML doesn't allow: controls, directions of text,
# lone surrogates, non-characters, tags.
UNSEEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufff9-\uffff"
    "\U000e0000-\U000e007f]"
)


def write(run_dir: Path, output: Path | None = None) -> tuple[Path, list[str]]:
    """Write the report of a finished run, or of a group of runs, completely or not at all. Returns its path, and what
    it leaves out."""
    path = output or run_dir / FILE
    if (run_dir / "summary.json").is_file():
        disk.write_text(path, html("group.html", group.all_of(run_dir)))
        return path, []
    material = read(run_dir)
    disk.write_text(path, html("page.html", sections.all_of(material)))
    return path, material.left_out


def html(template: str, values: dict[str, Any]) -> str:
    """A page as HTML."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, finalize=seen, undefined=StrictUndefined
    )
    return environment.get_template(template).render(version=__version__, **values)


def seen(value: Any) -> Any:
    """What the template prints, with unseen characters as escapes. Our own markup is left alone."""
    if isinstance(value, str) and not hasattr(value, "__html__"):
        return UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", value)
    return value
