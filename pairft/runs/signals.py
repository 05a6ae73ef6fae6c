"""Ctrl-C, SIGTERM and SIGHUP: the first asks the loop to stop after its step, another one but SIGHUP stops at once."""

import os
import signal
import sys
import time
from types import FrameType

# torchrun passes a signal on to its processes, which a terminal's Ctrl-C has reached already: both are one.
ECHO_SECONDS = 5.0


class StopRequest:
    """Whether a signal has asked to stop, and which. Used as a context, in the main thread.

    SIGHUP comes when the terminal is closed or the connection is lost, often twice (from the kernel and from the
    shell), so that it never stops at once. Where it was ignored at the start, as under nohup, it stays ignored.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._asked_at = 0.0

    def asked(self) -> bool:
        return self.signal is not None

    def __enter__(self) -> "StopRequest":
        handled = [signal.SIGINT, signal.SIGTERM]
        if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            handled.append(signal.SIGHUP)
        self._before = {number: signal.signal(number, self._handle) for number in handled}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _: FrameType | None) -> None:
        name = signal.Signals(number).name
        if self.signal is not None:
            if name == "SIGHUP":
                return
            if "TORCHELASTIC_RUN_ID" in os.environ and time.monotonic() - self._asked_at < ECHO_SECONDS:
                return
            os._exit(128 + number)  # no clean-up: it may be what hangs
        self.signal, self._asked_at = signal.Signals(number), time.monotonic()
        sys.stderr.write(f"\n{name}: stopping after this step; once more to stop at once\n")
