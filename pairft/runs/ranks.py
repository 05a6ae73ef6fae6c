"""Several processes before and after training: connect, agree on the settings, and end together with one message."""

import contextlib
import functools
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pairft.config import Config
from pairft.errors import EXIT_USER, PeerFailed, UserError
from pairft.output import shown
from pairft.runs.manifest import versions
from pairft.runs.settings import read_settings
from pairft.training import distributed
from pairft.training.distributed import is_main, local_rank, rank, world_size

if TYPE_CHECKING:
    from torch.distributed import Store  # type: ignore[attr-defined]

    from pairft.data.order import Share

T = TypeVar("T")

NEEDED = ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # beside WORLD_SIZE, set by torchrun
CONNECT_SECONDS = 300.0  # that a rank waits for the first one, which may come later
END_SECONDS = 5.0  # that a failed rank waits for the others, to end with the same exit code
POLL_SECONDS = 0.1
GLOO = ("gloo", "pair closure")  # one of them is in its messages
TIMED_OUT = ("Timed out", "timeout")  # the latter: of a collective that follows one that has timed out
ABOUT_HUB = ("HF_HUB_OFFLINE", "HF_UPDATE_DOWNLOAD_COUNTS")  # what rank 0 may set for the Hub's libraries (hub.py)
FAILED = "failed"  # the key of the exit code of the first rank that has failed


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """Within the context, the processes that torchrun has started know each other. Nothing happens for a single one.

    An error that every rank has is shown once, by rank 0; that of another rank is shown with its number. If a rank
    fails, the others raise PeerFailed.
    """
    if world_size() == 1:
        yield
        return
    missing = [name for name in NEEDED if not os.environ.get(name)]
    if missing:
        raise UserError(f"WORLD_SIZE is {world_size()}, but {', '.join(missing)} is not set: start with torchrun")
    shown.messages = is_main()
    store = shared_store()
    try:
        yield
    except Exception as error:
        raise ended(store, error) from error
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun's, as soon as the first process has ended
    within(2 * END_SECONDS, lambda: end(store, 0), None)
    from torch import distributed as torch_distributed

    if torch_distributed.is_initialized():
        torch_distributed.destroy_process_group()


@functools.cache
def shared_store() -> "Store":
    """What the ranks tell each other before they are connected, and when they fail.

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
    while time.monotonic() < deadline:
        port = int(published.get("pairft"))
        with contextlib.suppress(OSError), socket.create_connection((address, port), timeout=5):
            return TCPStore(address, port, is_master=False, timeout=wait)
        time.sleep(POLL_SECONDS)
    raise UserError(f"rank {rank()} found no rank 0 at {address} within {CONNECT_SECONDS:.0f} s")


def ended(store: "Store", error: Exception) -> Exception:
    """What to raise for an error of this rank: itself, with the rank in its message; or PeerFailed, if the error is
    that of rank 0 as well, or only follows from another rank's."""
    if is_lost_connection(error):
        if code := within(END_SECONDS, lambda: failed(store, wait=END_SECONDS / 2), 0):
            return PeerFailed(code)
        reason = "didn't answer within --timeout" if any(word in str(error) for word in TIMED_OUT) else "is gone"
        sys.stderr.write(f"error: rank {rank()} on {socket.gethostname()}: another rank {reason}\n")
        error = PeerFailed(1)
    code = error.code if isinstance(error, PeerFailed) else EXIT_USER if isinstance(error, (UserError, OSError)) else 1
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun's, as soon as the first process has ended

    def told() -> bool:  # returns whether rank 0 has the same error
        if is_main():
            store.set("message", str(error))
        end(store, code)
        return not is_main() and store.check(["message"]) and store.get("message").decode() == str(error)

    if within(2 * END_SECONDS, told, False):
        return PeerFailed(code)
    if isinstance(error, PeerFailed) or is_main():
        return error
    where = f"rank {rank()} on {socket.gethostname()}"
    if isinstance(error, (UserError, OSError)):
        return UserError(f"{where}: {error}")
    sys.stderr.write(f"error: {where} has failed:\n")
    return error


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


def is_lost_connection(error: Exception) -> bool:
    """Whether a collective failed because another rank is gone, or didn't answer in time. gloo's errors are plain
    RuntimeErrors."""
    from torch.distributed import DistError

    return isinstance(error, DistError) or (type(error) is RuntimeError and any(words in str(error) for words in GLOO))


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


def wait_for(key: str) -> bytes:
    """The value of a key, as soon as a rank has set it. Raises PeerFailed if one has failed before that."""
    store = shared_store()
    while not store.check([key]):
        if code := failed(store):
            raise PeerFailed(code)
        time.sleep(POLL_SECONDS)
    return bytes(store.get(key))


def agreed_settings(argv: Sequence[str]) -> tuple[Config | None, Path | None]:
    """The settings that rank 0 reads (settings.py), on every rank. Raises UserError if another rank has another command
    line or other versions."""
    if world_size() == 1:
        return read_settings(argv)
    if not is_main() and {"-h", "--help"} & set(argv):  # rank 0 shows it
        sys.exit(0)
    here = {"flags": list(argv), **versions()}
    if is_main():
        config, run_dir = read_settings(argv)
        settings = config and asdict(config)
        about_hub = {name: os.environ[name] for name in ABOUT_HUB if name in os.environ}
        shared_store().set("settings", json.dumps([here, settings, run_dir and str(run_dir), about_hub]))
    else:
        there, settings, place, about_hub = json.loads(wait_for("settings"))
        config = settings and from_json(settings)
        run_dir = place and Path(place)
        os.environ |= about_hub
        for name, value in there.items():
            if here[name] != value:
                raise UserError(f"{name}: {here[name]!r} here, {value!r} on rank 0; they have to be the same")
    if config is not None:
        distributed.open_group(shared_store(), config.timeout)
    return config, run_dir


def from_json(settings: dict[str, Any]) -> Config:
    """The config whose fields these are. JSON has no tuples."""
    fields: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in settings.items()}
    return Config(**fields)


def share() -> "Share":
    """Which examples of each step this process trains on."""
    from pairft.data.order import Share

    return Share(rank(), world_size())


def wait_for_first() -> None:
    """Wait until the first process of this machine has downloaded, read and tokenised (`first_is_done`): the others
    find that in the caches. It may take longer than --timeout."""
    if local_rank() > 0:
        wait_for(f"first/{rank() - local_rank()}")


def first_is_done() -> None:
    if world_size() > 1 and local_rank() == 0:
        shared_store().set(f"first/{rank()}", "done")


def check_same_everywhere(what: dict[str, Any], run_dir: Path) -> None:
    """Raise UserError, on rank 0, if another rank has other data, another base model or another run directory than it.

    `what`: fingerprints, by what they are of.
    """
    if world_size() == 1:
        return
    try:
        what = {**what, "--runs-dir": (run_dir / "manifest.json").read_text(encoding="utf-8")}
    except OSError:
        what = {**what, "--runs-dir": "missing"}
    first, *others = distributed.gathered((socket.gethostname(), what))
    for number, (host, found) in enumerate(others, 1):
        for name, value in found.items():
            if value != first[1][name]:
                remedy = "put it on a disk that all machines share" if name == "--runs-dir" else "they have to be equal"
                raise UserError(f"{name} of rank {number} on {host} is not that of rank 0 on {first[0]}: {remedy}")
