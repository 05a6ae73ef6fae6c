"""Messages for the user, and standard streams that may break at any time without ending the training.

`tee` dies with Ctrl-C, `head` closes its pipe, a terminal is closed, the disk behind a log is full: output that can't
be written is dropped, and training continues. This covers only what is printed; errors in the run directory are raised
as usual.
"""

import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass
class Shown:
    """Whether this process shows messages: of several processes, only the first does."""

    messages: bool = True


shown = Shown()


def say(text: str) -> None:
    """Print a line on standard error, above tqdm's progress bar if there is one."""
    if not shown.messages:
        return
    if "tqdm" in sys.modules:
        sys.modules["tqdm"].tqdm.write(text + "\n", file=sys.stderr, end="")  # in one write
    else:  # don't import tqdm just for a message
        sys.stderr.write(text + "\n")


SHOW_PROGRESS = 50_000  # rows from which on work on them has a progress bar


@contextlib.contextmanager
def progress(what: str, num_rows: int, least: int = SHOW_PROGRESS) -> Iterator[Callable[[int], Any]]:
    """Within the context, a progress bar for work on `least` rows or more, if standard error is a terminal. Yields the
    function to call with the number of rows that are done since the last call."""
    if num_rows < least or not sys.stderr.isatty() or not shown.messages:
        yield lambda number: None
        return
    from tqdm import tqdm

    with tqdm(total=num_rows, desc=what, unit="row", unit_scale=True, dynamic_ncols=True, leave=False) as bar:
        yield bar.update


@contextlib.contextmanager
def datasets_progress(num_rows: int) -> Iterator[None]:
    """Within the context, `datasets` shows its own progress bar, under the same conditions."""
    import datasets

    if num_rows >= SHOW_PROGRESS and sys.stderr.isatty() and shown.messages:
        datasets.enable_progress_bars()
    try:
        yield
    finally:
        datasets.disable_progress_bars()


class Output(io.TextIOBase):
    """A text stream on a file descriptor. Writes are unbuffered, so that no flush can fail when Python exits and change
    the exit code, and a signal handler may write while the main thread does."""

    def __init__(self, descriptor: int, encoding: str) -> None:
        self.descriptor = descriptor
        self._encoding = encoding

    @property
    def encoding(self) -> str:  # type: ignore[override]  # the base class has an attribute
        return self._encoding

    def write(self, text: str) -> int:
        rest = text.encode(self._encoding, "backslashreplace")
        with contextlib.suppress(OSError):
            while rest:
                rest = rest[os.write(self.descriptor, rest) :]
        return len(text)

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return os.isatty(self.descriptor)

    def fileno(self) -> int:
        return self.descriptor


@contextlib.contextmanager
def unbreakable() -> Iterator[None]:
    """Within the context, sys.stdout and sys.stderr are Outputs on the same descriptors. A descriptor that was closed
    before Python started is opened on the null device, so that no file of the run can get its number. Streams without a
    descriptor, as in a notebook, are left unchanged."""
    before = sys.stdout, sys.stderr
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    sys.stdout, sys.stderr = (stream_on(stream, number) for number, stream in ((1, before[0]), (2, before[1])))
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def stream_on(stream: Any, descriptor: int) -> Any:
    """`stream` as an Output, if it writes to a file descriptor."""
    if stream is None:  # its descriptor was closed
        return Output(descriptor, "utf-8")
    try:
        number = stream.fileno()
    except (OSError, ValueError, AttributeError):  # io.UnsupportedOperation is an OSError and a ValueError
        return stream
    with contextlib.suppress(OSError, ValueError):
        stream.flush()
    return Output(number, stream.encoding or "utf-8")
