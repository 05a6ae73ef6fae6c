"""Handle Ctrl-C, SIGTERM and SIGHUP: the first stops training after its step, a second Ctrl-C or SIGTERM at once."""

import os
import signal
import sys
import time
from types import FrameType

from pairft.output import shown
from pairft.training.distributed import LargestBefore, world_size

# With torchrun a Ctrl-C arrives twice, from the terminal and from torchrun: within this time both count as one.
ECHO_SECONDS = 5.0


class StopRequest:
    """Records which signal has asked to stop, if any. Use it as a context manager in the main thread.

    SIGHUP arrives when the terminal is closed or the connection is lost, often twice (from the kernel and from the
    shell), so a second one is ignored. If SIGHUP was ignored at the start, as under nohup, it stays ignored.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._asked_at: float | None = None  # when this process got its first signal
        self._largest = LargestBefore()

    def asked(self) -> bool:
        """Whether to stop after this step. Several processes agree on it: all stop one step after any of them was
        asked to."""
        if world_size() > 1 and (found := self._largest(int(self.signal or 0))):
            self.signal = signal.Signals(found)
            return True
        return world_size() == 1 and self.signal is not None

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
        if self._asked_at is not None:
            if name == "SIGHUP":
                return
            if "TORCHELASTIC_RUN_ID" in os.environ and time.monotonic() - self._asked_at < ECHO_SECONDS:
                return
            os._exit(128 + number)  # no cleanup, since the cleanup may be what hangs
        self._asked_at = time.monotonic()
        if self.signal is not None:  # another process was asked before, and this one is stopping already
            return
        self.signal = signal.Signals(number)
        if shown.messages:
            sys.stderr.write(f"\n{name}: stopping after this step; repeat it to stop at once\n")
