"""Checkpoints are flushed to disk in a background thread, one after the other."""

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from safetensors import SafetensorError

from pairft.errors import UserError
from pairft.output import say
from pairft.runs.checkpoint import Snapshot

SAVE_ERRORS = (OSError, SafetensorError)  # safetensors raises the second for a full disk


@dataclass
class Writer:
    """A failed save is reported and the training continues; the second failure in a row ends it.

    Use it as a context manager: it waits for the last save on leaving.
    """

    checkpoints: Path
    failures: int = 0  # in a row
    waited: float = 0.0  # seconds that the training stood still to save
    beside: float = 0.0  # processor seconds of the threads
    _thread: threading.Thread | None = None
    _error: BaseException | None = None

    @contextlib.contextmanager
    def attempt(self) -> Iterator[None]:
        """Count what is done within as saving. A disk error is reported instead of raised; UserError if it is the
        second in a row."""
        began = time.perf_counter()
        try:
            yield
        except SAVE_ERRORS as error:
            self.failed(error)
        finally:
            self.waited += time.perf_counter() - began

    def submit(self, snapshot: Snapshot) -> None:
        """Complete a snapshot in a thread. The one before must be done: call `wait` before taking a snapshot."""
        assert self._thread is None, snapshot.folder
        self._thread = threading.Thread(target=self._run, args=(snapshot,), name="saving")
        self._thread.start()

    def wait(self) -> None:
        """Wait until the submitted snapshot is complete. Raises UserError if it and the one before have failed."""
        if self._thread is None:
            return
        began = time.perf_counter()
        self._thread.join()
        self.waited += time.perf_counter() - began
        self._thread, error, self._error = None, self._error, None
        if error is None:
            self.failures = 0
        elif isinstance(error, SAVE_ERRORS):
            self.failed(error)
        else:
            raise error

    def failed(self, error: Exception) -> None:
        self.failures += 1
        reason = f"{getattr(error, 'filename', None) or self.checkpoints}: {getattr(error, 'strerror', None) or error}"
        if self.failures > 1:
            raise UserError(
                f"saving has failed twice in a row ({reason}): make room or fix the folder, then add --resume to "
                f"continue from {self.checkpoints}"
            ) from error
        say(f"warning: saving has failed ({reason}); the training continues, the previous checkpoint is kept")

    def _run(self, snapshot: Snapshot) -> None:
        try:
            snapshot.complete()
        except BaseException as error:  # raised in the main thread, by wait
            self._error = error
        self.beside += time.thread_time()

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is None:
            self.wait()
        elif self._thread is not None:  # what ended the training is reported, not this
            self._thread.join()
