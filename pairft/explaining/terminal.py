"""Text on a terminal of some width, encoding and colour: clean, wrapped, in tables."""

import os
import shutil
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

WIDEST, NARROWEST = 100, 50
INDENT = "   "
BOLD, DIM, PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[0m"
MARK = "\u200e"  # left-to-right: keeps a right-to-left token in its column
# For encodings that lack a character of ours. Letters lose their accents.
SPELLED = {
    **{"…": "...", "−": "-", "–": "-", "’": "'", "«": '"', "»": '"', "“": '"', "”": '"', "×": "x", "≤": "<=", "≈": "~"},
    **{
        "√": "sqrt",
        "²": "^2",
        "±": "+/-",
        "→": "->",
        "·": "*",
        "œ": "oe",
        "Œ": "OE",
        "\xa0": " ",
        "\u202f": " ",
        MARK: "",
    },
}


@dataclass(frozen=True)
class Terminal:
    width: int = WIDEST  # in columns
    encoding: str = "utf-8"
    colour: bool = False
    blocks: int = 3  # of the lines that show the tokens


def this_terminal() -> Terminal:
    """That of standard output. Colour: only on a terminal, unless NO_COLOR is set."""
    columns = shutil.get_terminal_size((WIDEST, 24)).columns
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return Terminal(
        width=max(NARROWEST, min(WIDEST, columns)),
        encoding=sys.stdout.encoding or "utf-8",
        colour=sys.stdout.isatty() and not plain,
    )


def encodable(text: str, encoding: str) -> str:
    """The text in characters that the encoding has."""
    try:
        text.encode(encoding)
        return text
    except UnicodeEncodeError:
        text = text.replace("«\xa0", "«").replace("\xa0»", "»")
        return "".join(spelled(character, encoding) for character in text)


def spelled(character: str, encoding: str) -> str:
    for choice in (character, SPELLED.get(character), unicodedata.normalize("NFKD", character)[0]):
        if choice is not None and choice == choice.encode(encoding, "ignore").decode(encoding):
            return choice
    return character.encode(encoding, "backslashreplace").decode(encoding)


def visible(text: str) -> str:
    """A user's text with characters that don't print, such as escape sequences, spelled out."""
    shown = (one if is_shown(one) else one.encode("unicode_escape").decode() for one in text)
    return "".join(shown)


def is_shown(character: str) -> bool:
    return character.isprintable() or unicodedata.category(character) == "Zs"


def columns_of(text: str) -> int:
    """How many columns a terminal needs for the text."""
    return sum(map(columns_of_character, text))


def columns_of_character(character: str) -> int:
    if character == MARK or unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def shortened(text: str, columns: int) -> str:
    """The text, without its middle if it is longer than that."""
    if columns_of(text) <= columns:
        return text
    end = text[-(columns // 4) :]
    while columns_of(end) > columns // 3:
        end = end[1:]
    return fitting(text, columns - columns_of(end) - 1) + "…" + end


def fitting(text: str, columns: int) -> str:
    """As much of the text's beginning as fits."""
    used = 0
    for place, character in enumerate(text):
        used += columns_of_character(character)
        if used > columns:
            return text[:place]
    return text


def wrapped(text: str, width: int) -> list[str]:
    """Indented lines of at most `width` columns, all but the first indented further. No-break spaces hold."""
    lines, line, empty = [], INDENT, True
    for word in text.split(" "):
        fits_alone = columns_of(INDENT + "  " + word) <= width  # else it is broken where it stands
        if not empty and fits_alone and columns_of(line) + 1 + columns_of(word) > width:
            lines.append(line)
            line, empty = INDENT + "  ", True
        line += word if empty else " " + word
        empty = False
        while columns_of(line) > width:  # a word longer than the line
            first = fitting(line, width)
            lines.append(first)
            line = INDENT + "  " + line[len(first) :]
    return [*lines, line]


def cell(text: str, terminal: Terminal) -> str:
    """A token for a table."""
    shown = shortened(visible(text), 24)
    if any(unicodedata.bidirectional(character) in ("R", "AL", "AN") for character in shown):
        shown = MARK + shown + MARK
    return encodable(shown, terminal.encoding)


def table(
    names: Sequence[str], rows: Sequence[Sequence[str]], terminal: Terminal, blocks: int = 1, tail: int = 5
) -> list[str]:
    """Rows of cells in aligned columns, each row after its name. Rows too long for the width continue in the next
    block; where there are more than `blocks` of them, all but the last `tail` columns at the end are left out."""
    names = [encodable(name, terminal.encoding) for name in names]
    margin = max(map(columns_of, names))
    dots = encodable("…", terminal.encoding)
    columns = [tuple(cell(one, terminal) for one in column) for column in zip(*rows, strict=True)]
    room = terminal.width - len(INDENT) - margin
    kept = len(columns)
    shown = columns
    while kept > 1 and len(list(filled(shown, room))) > blocks:
        kept = min(kept - 1, blocks * room // 2)
        shown = [*columns[:kept], (dots,) * len(rows), *columns[max(kept, len(columns) - tail) :]]
    lines = []
    for block in filled(shown, room):
        widths = [2 + max(map(columns_of, column)) for column in block]
        for row, name in enumerate(names):
            cells = [padded_left(column[row], width) for column, width in zip(block, widths, strict=True)]
            lines.append(INDENT + name + " " * (margin - columns_of(name)) + "".join(cells))
    return lines


def padded_left(text: str, columns: int) -> str:
    return " " * (columns - columns_of(text)) + text


def filled(columns: Sequence[tuple[str, ...]], room: int) -> Iterator[list[tuple[str, ...]]]:
    """The columns in blocks that are no wider than `room`."""
    block: list[tuple[str, ...]] = []
    used = 0
    for column in columns:
        size = 2 + max(map(columns_of, column))
        if block and used + size > room:
            yield block
            block, used = [], 0
        block.append(column)
        used += size
    if block:
        yield block
