"""Whether the Hub can be reached, and what to do when it can't. Runs before any client library is imported, since
these read HF_HUB_OFFLINE once and otherwise spend minutes on retries."""

import dataclasses
import http.client
import os
import ssl
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pairft.config import Config
from pairft.errors import UserError

T = TypeVar("T")

PROBE_SECONDS = 5.0  # for name, connection and answer together
PAUSES = (0.5, 1, 2, 4, 8, 8, 8)  # seconds between the tries of what a Hub in trouble has refused
# Any of these given by name means: this, or an error; never the builtin pairs instead.
ASKED_FOR = ("model", "data", "task", "text_columns", "label_column")


def is_hub_id(name: str) -> bool:
    """Whether --model or --data names a repository of the Hub: not 'builtin', and no folder of that name."""
    return (
        name != "builtin" and not Path(name).exists() and not name.startswith((".", "/", "~")) and name.count("/") < 2
    )


def offline() -> bool:
    """Whether the environment forbids the Hub."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def shown_endpoint() -> str:
    """For messages: without a password that stands in it."""
    parts = urllib.parse.urlsplit(endpoint())
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def reachable(seconds: float = PROBE_SECONDS) -> bool:
    """Whether something answers at the Hub's address; an error or a dropped connection is an answer, too.

    The deadline is kept by a thread: a time-out of the socket alone counts anew for each address that a name has, and
    not at all while the name is looked up.
    """
    if offline():
        return False
    answered = threading.Event()
    finished = threading.Event()

    def probe() -> None:
        try:
            urllib.request.urlopen(urllib.request.Request(endpoint(), method="HEAD"), timeout=seconds).close()
            answered.set()
        except (OSError, ValueError, http.client.HTTPException) as error:
            cause = error.reason if type(error) is urllib.error.URLError else error
            # An error status, no HTTP, a connection closed at once: something is there, but in trouble.
            troubles = (urllib.error.HTTPError, http.client.HTTPException, ConnectionResetError, BrokenPipeError)
            if isinstance(cause, (*troubles, ssl.SSLError)):
                answered.set()
        finally:
            finished.set()

    threading.Thread(target=probe, daemon=True).start()
    finished.wait(seconds)
    return answered.is_set()


def model_is_cached(model: str) -> bool:
    """Whether config, weights and tokenizer of a Hub model lie in the local cache."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    def cached(*names: str) -> bool:
        try:
            return any(isinstance(try_to_load_from_cache(model, name), str) for name in names)
        except HFValidationError:  # no name that a repository can have
            return False

    weights = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
    return cached("config.json") and cached(*weights) and cached("tokenizer.json", "vocab.txt", "vocab.json")


def data_is_cached(data: str, glue_config: str | None) -> bool:
    """Whether `datasets` has prepared this Hub dataset before: a folder of Arrow files named after it."""
    hub_home = Path(os.environ.get("HF_HOME", Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface"))
    cache = Path(os.environ.get("HF_DATASETS_CACHE", hub_home / "datasets")).expanduser()
    name = canonical_data(data).replace("/", "___")
    found = (cache / name).glob(f"{glue_config or '*'}/*/*/*.arrow")
    return any(path.parent.suffix != ".incomplete" for path in found)  # left by an interrupted download


def canonical_data(data: str) -> str:
    """The short name of GLUE, which the client libraries no longer resolve, made whole."""
    return "nyu-mll/glue" if data == "glue" else data


def client_errors() -> tuple[type[Exception], ...]:
    """What the HTTP library below the Hub's client raises for a connection in trouble; it has had two names."""
    return tuple(sys.modules[name].HTTPError for name in ("httpx", "httpx2") if name in sys.modules)


def in_trouble(error: BaseException | None) -> bool:
    """Whether an error of a client library comes from a connection or a server in trouble, which may pass: not from a
    name that doesn't exist, or from being offline. The clients wrap such errors in others."""
    from huggingface_hub.errors import OfflineModeIsEnabled

    passing = False
    while error is not None:
        if isinstance(error, OfflineModeIsEnabled):
            return False
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status is None:
            passing |= isinstance(error, (*client_errors(), ConnectionError))
        else:
            passing |= status >= 500 or status == 429
        error = error.__cause__ or error.__context__
    return passing


def patiently(load: Callable[[], T]) -> T:
    """What `load` returns. It is begun again, with longer and longer pauses, while the Hub is in trouble: the clients
    themselves retry some of their requests only. What has arrived is in their cache, so that each try comes further."""
    for pause in PAUSES:
        try:
            return load()
        except Exception as error:
            if not in_trouble(error):
                raise
            if pause == PAUSES[0]:
                sys.stderr.write(f"{shown_endpoint()} is in trouble; trying again\n")
            time.sleep(pause)
    return load()


def unavailable(wanted: dict[str, str], glue_config: str | None = None) -> str:
    """Which of these, by flag, are on the Hub and not in the cache while the Hub is out of reach, as a clause that says
    so; "" where there is nothing to say."""
    os.environ.setdefault(
        "HF_UPDATE_DOWNLOAD_COUNTS", "0"
    )  # or `datasets` reports that parquet is read, local files too
    on_hub = {flag: name for flag, name in wanted.items() if is_hub_id(name)}
    forbidden = offline()
    if not on_hub or reachable():
        return ""
    os.environ["HF_HUB_OFFLINE"] = "1"  # before the first client is imported: the cache answers, or nothing does
    missing = [
        f"{flag} {name}"
        for flag, name in on_hub.items()
        if not (model_is_cached(name) if flag == "--model" else data_is_cached(name, glue_config))
    ]
    if not missing:
        return ""
    why = "HF_HUB_OFFLINE is set" if forbidden else f"{shown_endpoint()} can't be reached"
    return f"{' and '.join(missing)}: no folder here, not in the cache, and {why}"


def settle(config: Config, given: dict[str, Any], glue_config: str | None) -> Config:
    """The config to train with: unchanged, or the builtin model and pairs where the Hub is out of reach and nothing
    else was asked for. Raises UserError where something that is needed can't be had."""
    if config.fallback and (config.model, config.data) != ("builtin", "builtin"):  # a file of a run that fell back
        config = dataclasses.replace(config, fallback=False)
    what = unavailable({"--model": config.model, "--data": config.data}, glue_config)
    if not what:
        return config
    if any(name in given for name in ASKED_FOR):
        raise UserError(
            f"{what}. Restore the connection, name a local folder, or use "
            "--model builtin --data builtin, which need no Hub"
        )
    sys.stderr.write(
        f"warning: {what}. Training the builtin model on the builtin pairs instead (--model builtin --data builtin)\n"
    )
    return dataclasses.replace(config, model="builtin", data="builtin", fallback=True)
