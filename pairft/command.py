"""Shared by the commands: turn errors into messages and exit codes, and pause garbage collection during start-up."""

import argparse
import contextlib
import gc
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import NoReturn

from pairft.errors import EXIT_SIGNAL, EXIT_USER, USER_ERRNOS, PeerFailed, UserError


class Parser(argparse.ArgumentParser):
    """A parser of flags that raises UserError."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; {self.prog} --help lists the flags")


def exit_code(work: Callable[[], int], remedy: str) -> int:
    """Call `work` and return its exit code. A UserError or a file system error that the user can fix becomes one
    message on standard error and EXIT_USER; any other error is a bug and is raised.

    `remedy`: what the message suggests for a file system error.
    """
    try:
        return work()
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
    except OSError as error:
        if error.errno not in USER_ERRNOS:
            raise
        sys.stderr.write(f"error: {error.filename or 'writing'}: {error.strerror}; {remedy}\n")
    except PeerFailed as error:
        return error.code
    except KeyboardInterrupt:  # before training: there is nothing to save
        return EXIT_SIGNAL + signal.SIGINT
    return EXIT_USER


@contextlib.contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Within the context, SIGTERM and SIGHUP end the program as an error does, so that what is half written is removed.
    A signal that is ignored, as after nohup, stays so."""
    numbers = [number for name in ("SIGTERM", "SIGHUP") if (number := getattr(signal, name, None)) is not None]
    if threading.current_thread() is not threading.main_thread():
        numbers = []

    def stop(number: int, _: object) -> None:
        raise SystemExit(EXIT_SIGNAL + number)

    before = {number: signal.getsignal(number) for number in numbers}
    for number, handler in before.items():
        if handler is signal.SIG_DFL:
            signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def collector_paused() -> Iterator[None]:
    """Pause garbage collection while modules and the model are loaded: there is no garbage yet, and looking for it
    takes a quarter of the start-up. What is loaded is then left out of later collections, which took half a second
    each."""
    gc.disable()
    try:
        yield
        if not gc.get_freeze_count():
            gc.freeze()
    finally:
        gc.enable()
