"""The explanation as text: two languages, 80 lines, any terminal, any sentence."""

import functools
import re
import string
import sys
from typing import Any

import pytest
from conftest import ROOT

from pairft import checks, explain
from pairft.explaining import english, french
from pairft.explaining.sections import explanation
from pairft.explaining.terminal import MARK, Terminal, columns_of, encodable, shortened, table, this_terminal, wrapped

PAIRS = {
    "short": ("Hi", "Hello"),
    "usual": ("The company bought its rival in May for 3 million dollars.", "In May, the firm acquired it."),
    "long": ("The bank sold a company. " * 200, 'It "was" sold. ' * 300),
    "one word": ("a" * 3000, "b"),
    "emoji": ("👩\u200d👩\u200d👧 so happy 😀😀", "❤\ufe0f"),
    "right to left": ("שלום עולם ארוך", "مرحبا بالعالم ١٢٣"),
    "chinese": ("机器学习很有趣，我们一起学习吧。" * 20, "学习"),
    "quotes": ("\"She said: 'no'\" \\ {0} {name} %s", "`rm -rf`; $HOME «à» <b>"),
    "control": ("\x1b[31mred\x07\x00", "tab\tand\nnewline"),
}


@pytest.fixture(scope="module")
def lines(wild_model):
    """The lines for one of PAIRS on a terminal."""

    @functools.cache
    def computed(name: str) -> Any:
        flags = explain.parser().parse_args(["--model", str(wild_model), "--", *PAIRS[name]])
        return explain.explain(flags, checks.resolve({"model": str(wild_model), "device": "cpu"}))

    def run(name: str, language: str, **terminal: Any) -> list[str]:
        return explanation(computed(name), language, Terminal(**terminal))

    return run


@pytest.mark.parametrize("language", ["en", "fr"])
@pytest.mark.parametrize("name", PAIRS)
def test_at_most_80_lines_of_the_terminals_width(name, language, lines):
    for columns in (50, 60, 80, 100):
        found = lines(name, language, width=columns)
        assert len(found) <= (80 if columns >= 80 else 150), columns
        assert max(map(columns_of, found)) <= columns
        shown = re.sub(f"[{MARK}\xa0\u202f]", "", "".join(found))
        assert shown.isprintable()  # neither colours nor a user's escapes


def test_the_width_is_the_terminals(monkeypatch):
    for columns, width in ((20, 50), (80, 80), (300, 100)):
        monkeypatch.setenv("COLUMNS", str(columns))
        assert this_terminal().width == width


def test_both_languages_have_the_same_keys_and_placeholders():
    assert list(english.TEXT) == list(french.TEXT)
    for key, text in english.TEXT.items():
        names = [{name for _, name, _, _ in string.Formatter().parse(one) if name} for one in (text, french.TEXT[key])]
        assert names[0] == names[1], key
        assert ("{table}" in text.split("\n")) == ("{table}" in french.TEXT[key].split("\n")), key


def test_every_text_is_used():
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "pairft" / "explaining").glob("*sections.py"))
    headings = {key.removesuffix(".lines") for key in english.TEXT}
    assert not [key for key in english.TEXT if f'"{key}"' not in code and key not in headings]


def test_french_is_spaced_as_french_is():
    for text in french.TEXT.values():
        for mark in ":;?!%»":
            assert f" {mark}" not in text, text
        assert "« " not in text


def test_french_says_the_same_numbers(lines):
    """All that is computed stands in both."""
    words = [[word.strip(".,;()") for line in lines("usual", one) for word in line.split()] for one in ("en", "fr")]
    numbers = [sorted(word for word in of_one if "." in word and is_number(word)) for of_one in words]
    assert numbers[0] == numbers[1] and len(numbers[0]) > 20


def is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("language", ["en", "fr"])
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_in_a_terminal_that_lacks_letters(encoding, language, lines):
    for name in PAIRS:
        found = lines(name, language, encoding=encoding)
        "\n".join(found).encode(encoding)
        assert max(map(columns_of, found)) <= 100 and len(found) <= 80
    assert "\\" not in "".join(lines("usual", language, encoding=encoding))
    assert encodable("«\xa0Été\xa0» → √v² −1 学", "ascii") == '"Ete" -> sqrtv^2 -1 \\u5b66'
    assert encodable("Été → √", "latin-1") == "Été -> sqrt"


def test_headings_are_bold_in_colour(lines):
    plain, coloured = lines("usual", "en"), lines("usual", "en", colour=True)
    assert [re.sub("\x1b\\[\\dm", "", line) for line in coloured] == plain
    assert sum("\x1b[1m" in line for line in coloured) == 13


def test_colour_only_on_a_terminal_that_wants_it(monkeypatch):
    class Screen:
        encoding = "utf-8"

        def isatty(self) -> bool:
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert not this_terminal().colour  # of a test
    monkeypatch.setattr(sys, "stdout", Screen())
    assert this_terminal().colour
    monkeypatch.setenv("NO_COLOR", "1")
    assert not this_terminal().colour
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not this_terminal().colour


def test_columns_of_characters():
    texts: dict[str, Any] = {"abc": 3, "学习": 4, "é": 1, "e\u0301": 1, "\u200e": 0, "😀": 2, "": 0}
    assert {text: columns_of(text) for text in texts} == texts


def test_wrapped_breaks_at_spaces_and_within_long_words():
    assert wrapped("one two three", 12) == ["   one two", "     three"]
    assert wrapped("a:\xa0b c", 8) == ["   a:\xa0b", "     c"]
    assert wrapped("学" * 6, 9) == ["   学学学", "     学学", "     学"]


def test_shortened_keeps_both_ends():
    assert shortened("abcdef", 6) == "abcdef"
    assert shortened("abcdefghij" * 3, 12) == "abcdefgh…hij"
    assert columns_of(shortened("学" * 50, 20)) <= 20


def test_a_table_in_blocks_and_without_its_middle():
    rows = [list("abcdefgh"), list("12345678")]
    narrow = Terminal(width=16)  # four columns of three characters after the margin
    assert table(["x", "y"], rows, narrow, blocks=2) == [
        "   x  a  b  c  d",
        "   y  1  2  3  4",
        "   x  e  f  g  h",
        "   y  5  6  7  8",
    ]
    assert table(["x", "y"], rows, narrow, blocks=1, tail=2) == ["   x  a  …  g  h", "   y  1  …  7  8"]


@pytest.mark.slow
@pytest.mark.parametrize("language", ["english", "french"])
def test_the_document_shows_what_the_command_prints(language, monkeypatch):
    """Up to the digits, which depend on the processor."""
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import explanation

    def words(text: str) -> list[str]:
        return re.sub(r"-?\d+(\.\d+)?(e-?\d+)?", "#", text).split()

    assert words(explanation.output(language)) == words(explanation.part(language))
    assert len(explanation.part(language).splitlines()) <= 82  # with the fences
