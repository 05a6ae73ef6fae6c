"""Complete checkpoints in a background thread, one after the other."""

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from safetensors import SafetensorError

from pairft.errors import DiskError
from pairft.output import say
from pairft.runs.checkpoint import Snapshot

SAVE_ERRORS = (OSError, SafetensorError)  # safetensors raises the latter if the disk is full


@dataclass
class Writer:
    """Runs saves in a background thread. If a save fails, the failure is reported and training continues; a second
    failure in a row ends training.

    Use it as a context manager: on leaving, it waits for the last save.
    """

    checkpoints: Path
    failures: int = 0  # in a row
    waited: float = 0.0  # seconds that training waited for saving
    beside: float = 0.0  # CPU seconds of the background threads
    _thread: threading.Thread | None = None
    _error: BaseException | None = None

    @contextlib.contextmanager
    def attempt(self) -> Iterator[None]:
        """Within the context, time counts as saving, and a disk error is reported instead of raised. Raises DiskError
        if it is the second in a row."""
        began = time.perf_counter()
        try:
            yield
        except SAVE_ERRORS as error:
            self.failed(error)
        finally:
            self.waited += time.perf_counter() - began

    def submit(self, snapshot: Snapshot) -> None:
        """Complete a snapshot in a thread. The previous one must be complete: call `wait` before taking a snapshot."""
        assert self._thread is None, snapshot.folder
        self._thread = threading.Thread(target=self._run, args=(snapshot,), name="saving")
        self._thread.start()

    def wait(self) -> None:
        """Wait until the submitted snapshot is complete. Raises DiskError if it failed and so did the previous save."""
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
        """Report a failed save. Raises DiskError if it is the second in a row."""
        self.failures += 1
        reason = f"{getattr(error, 'filename', None) or self.checkpoints}: {getattr(error, 'strerror', None) or error}"
        if self.failures > 1:
            raise DiskError(
                f"saving has failed twice in a row ({reason}): make room or fix the folder, then add --resume to "
                f"resume from {self.checkpoints}"
            ) from error
        say(f"warning: saving has failed ({reason}); training continues, and the previous checkpoint is kept")

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
        elif self._thread is not None:  # the error that ended training is reported instead
            self._thread.join()
