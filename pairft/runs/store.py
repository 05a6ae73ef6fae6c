"""The store in which ranks leave each other messages: before they are connected, and when one has failed."""

import contextlib
import functools
import os
import socket
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from pairft.errors import PeerFailed, UserError
from pairft.training.distributed import is_main, rank, world_size

if TYPE_CHECKING:
    from torch.distributed import Store  # type: ignore[attr-defined]

T = TypeVar("T")

CONNECT_SECONDS = 300.0  # that a rank waits for the first one, which may come later
END_SECONDS = 5.0  # that a failed rank waits for the others, to end with the same exit code
POLL_SECONDS = 0.1
FAILED = "failed"  # the key of the exit code of the first rank that has failed


@functools.cache
def shared_store() -> "Store":
    """The store, opened on the first call. Raises UserError if rank 0 isn't found.

    torchrun's own store outlives a restart, and holds the addresses of dead processes then. So rank 0 opens one for
    this attempt and publishes its address there; a rank that reads an older address finds nobody, and asks again.
    """
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    wait = timedelta(seconds=CONNECT_SECONDS)
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return TCPStore(address, port, world_size(), is_main(), wait)
    published = TCPStore(address, port, is_master=False, timeout=wait)
    if is_main():
        opened = TCPStore(address, 0, is_master=True, wait_for_workers=False, timeout=wait)
        published.set("pairft", str(opened.port))
        return opened
    deadline = time.monotonic() + CONNECT_SECONDS
    with contextlib.suppress(RuntimeError):  # torchrun's store has ended, or never had an address
        while time.monotonic() < deadline:
            port = int(published.get("pairft"))
            with contextlib.suppress(OSError), socket.create_connection((address, port), timeout=5):
                return TCPStore(address, port, is_master=False, timeout=wait)
            time.sleep(POLL_SECONDS)
    raise UserError(f"rank {rank()} found no rank 0 at {address}; see what rank 0 printed before it ended")


def wait_for(key: str) -> bytes:
    """The value of a key, as soon as a rank has set it. Raises PeerFailed if one has failed before that."""
    store = shared_store()
    while not store.check([key]):
        if code := failed(store):
            raise PeerFailed(code)
        time.sleep(POLL_SECONDS)
    return bytes(store.get(key))


def failed(store: "Store", wait: float = 0.0) -> int:
    """The exit code of a rank that has failed, or 0. `wait`: seconds that the news may take."""
    deadline = time.monotonic() + wait
    while True:
        with contextlib.suppress(RuntimeError):
            if store.check([FAILED]):
                return int(store.get(FAILED))
        if time.monotonic() >= deadline:
            return 0
        time.sleep(POLL_SECONDS)


def end(store: "Store", code: int) -> None:
    """Wait a little for the others to end as well, so that torchrun sees the exit code of each."""
    if code and not failed(store):
        store.set(FAILED, str(code))
    number, deadline = store.add("ended", 1), time.monotonic() + END_SECONDS
    while number < world_size() and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
        number = store.add("ended", 0)
    if is_main():
        time.sleep(2 * POLL_SECONDS)  # the store ends with this process, and the others still ask it


def within(seconds: float, ask: Callable[[], T], otherwise: T) -> T:
    """What `ask` returns; or `otherwise`, if rank 0 is gone, and the store with it, or hasn't answered within
    `seconds`. The store's own time limit doesn't hold where the link between two machines is cut."""
    answers: list[T] = []

    def answer() -> None:
        with contextlib.suppress(RuntimeError):
            answers.append(ask())

    asking = threading.Thread(target=answer, daemon=True)
    asking.start()
    asking.join(seconds)
    return answers[0] if answers else otherwise
