"""JSON values read one at a time from a file's text, so that a list of any length takes little memory.

Python's own decoder parses each value; only the marks between the items of the outer list or object are read here.
ijson streams as well, but changes values: 1e5 becomes 100000, half a surrogate pair becomes "?", and a NaN anywhere in
the file is an error.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

BLOCK = 1 << 20  # characters that are read at once
LONGEST_TOKEN = (
    16  # more than the characters of -Infinity, or of an escape: how far before the end a cut-off value fails
)
BLANK = " \t\r\n"


class Number(str):
    """The text of a number in the file."""

    __slots__ = ()


DECODER = json.JSONDecoder(parse_int=Number, parse_float=Number)  # only NaN and Infinity become floats


@dataclass
class Stream:
    """The text of a JSON file, read in blocks. Errors are ValueErrors with line and column."""

    file: IO[str]
    text: str = ""  # what is in memory
    start: int = 0  # of what is not consumed yet, in `text`
    line: int = 1  # of the first character of `text`, as is `column`
    column: int = 1

    def more(self) -> bool:
        """Read a block and forget what is consumed. False at the end of the file."""
        # At least as much as is held, so that a long value isn't decoded again for each block.
        block = self.file.read(max(BLOCK, len(self.text) - self.start))
        if not block:
            return False
        self.line, self.column = self.place(self.start)
        self.text, self.start = self.text[self.start :] + block, 0
        return True

    def place(self, position: int) -> tuple[int, int]:
        """Line and column of a position in `text`."""
        newlines = self.text.count("\n", 0, position)
        if newlines:
            return self.line + newlines, position - self.text.rindex("\n", 0, position)
        return self.line, self.column + position

    def error(self, message: str, position: int) -> ValueError:
        line, column = self.place(position)
        return ValueError(f"not JSON at line {line} column {column}: {message}")

    def mark(self) -> str:
        """The next character that isn't blank, which is not consumed; "" at the end of the file."""
        mark = self.text[self.start : self.start + 1]
        while mark in BLANK:  # "" is, too
            self.start += len(mark)
            if self.start == len(self.text) and not self.more():
                return ""
            mark = self.text[self.start : self.start + 1]
        return mark

    def take(self, marks: str) -> str:
        """The next mark, which must be one of `marks`."""
        mark = self.mark()
        if not mark or mark not in marks:
            raise self.error(f"Expecting {' or '.join(map(repr, marks))}", self.start)
        self.start += 1
        return mark

    def value(self) -> Any:
        """The next value."""
        self.mark()
        while True:
            try:
                value, end = DECODER.raw_decode(self.text, self.start)
            except json.JSONDecodeError as error:
                cut_off = error.msg.startswith("Unterminated") or error.pos >= len(self.text) - LONGEST_TOKEN
                if not cut_off or not self.more():
                    raise self.error(error.msg, error.pos) from None
            else:
                if end < len(self.text) - 2 or not self.more():  # or a number may go on, even behind "e+"
                    self.start = end
                    return value

    def items(self) -> Iterator[None]:
        """Enter a list and stop before each of its items, which the caller reads."""
        self.take("[")
        if self.mark() == "]":
            self.start += 1
            return
        while True:
            yield
            if self.take(",]") == "]":
                return

    def members(self) -> Iterator[str]:
        """Enter an object and stop before each of its values, which the caller reads. Yields their keys."""
        self.take("{")
        if self.mark() == "}":
            self.start += 1
            return
        while True:
            if self.mark() != '"':
                raise self.error("Expecting a property name in double quotes", self.start)
            key = self.value()
            self.take(":")
            yield key
            if self.take(",}") == "}":
                return
