"""What the commands have in common: errors become messages and exit codes; no garbage collection during start-up."""

import contextlib
import gc
import signal
import sys
from collections.abc import Callable, Iterator

from pairft.errors import EXIT_SIGNAL, EXIT_USER, USER_ERRNOS, UserError


def exit_code(work: Callable[[], int], remedy: str) -> int:
    """What `work` returns; or the exit code of what it raises, after one message on standard error.

    `remedy`: what to do about an error of the file system. Other errors are bugs: they are raised.
    """
    try:
        return work()
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
    except OSError as error:
        if error.errno not in USER_ERRNOS:
            raise
        sys.stderr.write(f"error: {error.filename or 'writing'}: {error.strerror}; {remedy}\n")
    except KeyboardInterrupt:  # before the training: there is nothing to save
        return EXIT_SIGNAL + signal.SIGINT
    return EXIT_USER


@contextlib.contextmanager
def collector_paused() -> Iterator[None]:
    """No garbage collection while modules and the model are loaded: there is no garbage, and looking for it takes a
    quarter of the start-up. What is loaded then stays out of later collections, which took half a second each."""
    gc.disable()
    try:
        yield
        if not gc.get_freeze_count():
            gc.freeze()
    finally:
        gc.enable()
