"""The whole explanation as lines for a terminal."""

import dataclasses
from collections.abc import Mapping

from pairft.explaining import data_sections, english, french, step_sections
from pairft.explaining.explained import Explained
from pairft.explaining.places import places
from pairft.explaining.terminal import BOLD, DIM, PLAIN, Terminal, columns_of, encodable, shortened, visible, wrapped

TEXTS = {"en": english.TEXT, "fr": french.TEXT}
MOST_LINES = 80
SECTIONS = {
    "text": data_sections.text,
    "tokens": data_sections.tokens,
    "special": data_sections.special,
    "truncation": data_sections.truncation,
    "padded": data_sections.padded,
    "packed": data_sections.packed,
    "logits": step_sections.logits,
    "loss": step_sections.loss,
    "gradient": step_sections.gradient,
    "clipping": step_sections.clipping,
    "adamw": step_sections.adamw,
    "after": step_sections.after,
}


def explanation(of: Explained, language: str, terminal: Terminal) -> list[str]:
    """The lines: at most MOST_LINES if the terminal has 80 columns or more, and none wider than the terminal."""
    where = places()
    for blocks in (3, 2, 1):
        parts = parts_of(of, language, dataclasses.replace(terminal, blocks=blocks), where)
        number = sum(map(len, parts))
        if number <= MOST_LINES:
            break
    between = [""] if number + len(parts) - 1 <= MOST_LINES else []
    return [line for part in parts for line in [*between, *part]][len(between) :]


def parts_of(of: Explained, language: str, terminal: Terminal, where: Mapping[str, str]) -> list[list[str]]:
    """The lines of the introduction and of each section. `where`: its lines of code."""
    words = TEXTS[language]
    parts = [[painted(words["title"], BOLD, terminal), *intro(of, language, terminal)]]
    for number, (name, section) in enumerate(SECTIONS.items(), 1):
        template, values, table = section(of, words, terminal)
        lines = heading(f"{number:>2} {words[name]}", where[name], terminal)
        for line in template.split("\n"):
            lines += table if line == "{table}" else paragraph(line.format(**values), terminal)
        parts.append(lines)
    return parts


def intro(of: Explained, language: str, terminal: Terminal) -> list[str]:
    words = TEXTS[language]
    weights = words["new"].format(seed=of.config.seed) if of.new_head else words["kept"]
    values = {
        "model": shortened(visible(of.config.model), 30),
        "weights": weights,
        "label": step_sections.class_name(of.label_name),
        "default": words["default"] if of.by_default else "",
        "classes": ", ".join(map(step_sections.class_name, of.names[:8])) + (", …" if len(of.names) > 8 else ""),
    }
    return [line for text in words["intro"].split("\n") for line in paragraph(text.format(**values), terminal)]


def paragraph(text: str, terminal: Terminal) -> list[str]:
    return wrapped(encodable(text, terminal.encoding), terminal.width)


def heading(title: str, where: str, terminal: Terminal) -> list[str]:
    """The title of a section, and on the right the lines of code, or below it if both don't fit."""
    title = encodable(title, terminal.encoding)
    room = terminal.width - columns_of(title) - len(where)
    if room >= 2:
        return [painted(title, BOLD, terminal) + " " * room + painted(where, DIM, terminal)]
    return [painted(title, BOLD, terminal), *(painted(line, DIM, terminal) for line in paragraph(where, terminal))]


def painted(text: str, style: str, terminal: Terminal) -> str:
    text = encodable(text, terminal.encoding)
    return f"{style}{text}{PLAIN}" if terminal.colour else text
