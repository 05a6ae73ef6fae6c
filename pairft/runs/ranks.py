"""Several processes before and after training: connect, agree on the settings, and end together with one message."""

import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairft.config import Config
from pairft.errors import EXIT_USER, PeerFailed, UserError
from pairft.flags import read_flags
from pairft.output import shown
from pairft.parsing import flag_of
from pairft.runs.manifest import versions
from pairft.runs.settings import read_settings
from pairft.runs.store import CONNECT_SECONDS, END_SECONDS, end, failed, shared_store, wait_for, within
from pairft.training import distributed
from pairft.training.distributed import is_main, local_rank, rank, world_size

if TYPE_CHECKING:
    from torch.distributed import Store  # type: ignore[attr-defined]

    from pairft.data.order import Share

NEEDED = ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # beside WORLD_SIZE, set by torchrun
GLOO = ("gloo", "pair closure")  # one of them is in its messages
TIMED_OUT = ("Timed out", "timeout")  # the latter: of a collective that follows one that has timed out
ABOUT_HUB = ("HF_HUB_OFFLINE", "HF_UPDATE_DOWNLOAD_COUNTS")  # what rank 0 may set for the Hub's libraries (hub.py)


@contextlib.contextmanager
def joined(argv: Sequence[str]) -> Iterator[None]:
    """Within the context, the processes that torchrun has started know each other. Nothing happens for a single one,
    or for --help, which only rank 0 shows.

    An error that every rank has is shown once, by rank 0; that of another rank is shown with its number. If a rank
    fails, the others raise PeerFailed.
    """
    asks_for_help = bool({"-h", "--help"} & set(argv))
    if world_size() == 1 or asks_for_help:
        if asks_for_help and not is_main():
            sys.exit(0)
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


def is_lost_connection(error: Exception) -> bool:
    """Whether a collective failed because another rank is gone, or didn't answer in time. gloo's errors are plain
    RuntimeErrors."""
    from torch.distributed import DistError

    return isinstance(error, DistError) or (type(error) is RuntimeError and any(words in str(error) for words in GLOO))


def agreed_settings(argv: Sequence[str]) -> tuple[Config | None, Path | None]:
    """The settings that rank 0 reads (settings.py), on every rank. Raises UserError if another rank has another command
    line or other versions."""
    if world_size() == 1:
        return read_settings(argv)
    given = {flag_of(name): value for name, value in read_flags(argv).items()}
    here = json.loads(json.dumps({**given, **versions()}))  # as another rank gets it
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
        for name in here | there:
            if here.get(name) != there.get(name):
                mine, its = (repr(some[name]) if name in some else "not given" for some in (here, there))
                raise UserError(f"{name} is {mine} here and {its} on rank 0: make them the same")
    # Also if the run has finished: rank 0 has the store, so it must not end before the others have connected.
    distributed.open_group(shared_store(), config.timeout if config else CONNECT_SECONDS)
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
    """Raise UserError, on every rank, if one has other data, another base model or another run directory than rank 0.

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
