"""Ctrl-C and SIGTERM: the first asks the loop to stop after its step, the second stops at once."""

import os
import signal
import sys
from types import FrameType


class StopRequest:
    """Whether a signal has asked to stop, and which. Used as a context, in the main thread."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def asked(self) -> bool:
        return self.signal is not None

    def __enter__(self) -> "StopRequest":
        self._before = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self.signal is not None:
            os._exit(128 + number)  # no clean-up: it may be what hangs
        self.signal = signal.Signals(number)
        sys.stderr.write(f"\n{self.signal.name}: stopping after this step; once more to stop at once\n")
