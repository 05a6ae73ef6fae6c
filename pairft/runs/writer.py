"""Saving beside the training: what takes time runs in a thread, one save after the other."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from safetensors import SafetensorError

from pairft.errors import UserError
from pairft.output import say

SAVE_ERRORS = (OSError, SafetensorError)  # the second is what a full disk is to safetensors


@dataclass
class Saver:
    """A failed save is reported and the training goes on; a second in a row ends it. Used as a context, which ends when
    the last save is done."""

    checkpoints: Path
    failures: int = 0  # in a row
    waited: float = 0.0  # seconds that the training stood still for saving
    beside: float = 0.0  # seconds of a processor that the threads took
    _thread: threading.Thread | None = None
    _error: BaseException | None = None

    def save(self, begin: Callable[[], Callable[[], None]]) -> None:
        """`begin` takes hold of the state as it is, and returns what remains to be done beside the training."""
        self.wait()
        began = time.perf_counter()
        try:
            finish = begin()
        except SAVE_ERRORS as error:
            self.failed(error)
            return
        finally:
            self.waited += time.perf_counter() - began
        self._thread = threading.Thread(target=self._run, args=(finish,), name="saving")
        self._thread.start()

    def save_now(self, write: Callable[[], object]) -> bool:
        """Save and wait for it; whether that went well."""
        began = time.perf_counter()
        try:
            write()
        except SAVE_ERRORS as error:
            self.failed(error)
            return False
        finally:
            self.waited += time.perf_counter() - began
        return True

    def wait(self) -> None:
        """Until the save under way is done. Raises UserError where it and the one before have failed."""
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
                f"saving has failed twice in a row ({reason}): make room or mend the folder, then go on with --resume "
                f"from what lies in {self.checkpoints}"
            ) from error
        say(f"warning: saving has failed ({reason}); the training goes on, the checkpoint before is kept")

    def _run(self, finish: Callable[[], None]) -> None:
        try:
            finish()
        except BaseException as error:  # for the main thread to raise
            self._error = error
        self.beside += time.thread_time()

    def __enter__(self) -> "Saver":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is None:
            self.wait()
        elif self._thread is not None:  # what ended the training is what is told
            self._thread.join()
