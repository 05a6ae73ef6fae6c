"""Find out whether the Hub can be reached or its files are cached, and fall back on the builtin model and pairs if not.

This runs before any client library is imported: they read HF_HUB_OFFLINE once, at import, and without it spend minutes
on retries.
"""

import dataclasses
import http.client
import os
import ssl
import threading
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from pairft.config import Config
from pairft.data import formats
from pairft.errors import UserError
from pairft.output import say
from pairft.tasks import TASKS

PROBE_SECONDS = 5.0  # for name lookup, connection and answer together
# If the user has set any of these, a missing source is an error: the fallback never replaces what was asked for.
ASKED_FOR = ("model", "data", "data_config", "revision", "task", "text_columns", "label_column", "group_column")


def is_hub_id(name: str) -> bool:
    """Whether --model or --data names a repository on the Hub: not 'builtin', no path that exists, no name of a file,
    and no paths by split (train=…)."""
    if name == "builtin" or formats.named_paths(name) is not None or formats.is_readable(Path(name)):
        return False
    try:
        is_path = Path(name).exists()
    except OSError:  # the name is too long
        is_path = True
    return not is_path and not name.startswith((".", "/", "~")) and name.count("/") < 2


def offline() -> bool:
    """Whether the environment forbids the Hub."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def shown_endpoint() -> str:
    """The endpoint for messages, without a password in it."""
    parts = urllib.parse.urlsplit(endpoint())
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def reachable(seconds: float = PROBE_SECONDS) -> bool:
    """Whether anything answers at the Hub's address. An error or a dropped connection counts as an answer, too.

    The probe runs in a thread so that the deadline holds: a socket's timeout starts again for each address of a host
    name, and doesn't cover the name lookup.
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
            # An error status, no HTTP, a connection closed at once: there is a server, but it fails.
            failures = (urllib.error.HTTPError, http.client.HTTPException, ConnectionResetError, BrokenPipeError)
            if isinstance(cause, (*failures, ssl.SSLError)):
                answered.set()
        finally:
            finished.set()

    threading.Thread(target=probe, daemon=True).start()
    finished.wait(seconds)
    return answered.is_set()


def model_is_cached(model: str) -> bool:
    """Whether config, weights and tokenizer of a Hub model are in the local cache."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    def cached(*names: str) -> bool:
        try:
            return any(isinstance(try_to_load_from_cache(model, name), str) for name in names)
        except HFValidationError:  # not a valid name of a repository
            return False

    weights = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
    return cached("config.json") and cached(*weights) and cached("tokenizer.json", "vocab.txt", "vocab.json")


def data_is_cached(data: str, data_config: str | None) -> bool:
    """Whether `datasets` has prepared this Hub dataset before: a folder of Arrow files named after it."""
    hub_home = Path(os.environ.get("HF_HOME", Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface"))
    cache = Path(os.environ.get("HF_DATASETS_CACHE", hub_home / "datasets")).expanduser()
    name = canonical_data(data).replace("/", "___")
    found = (cache / name).glob(f"{data_config or '*'}/*/*/*.arrow")
    return any(path.parent.suffix != ".incomplete" for path in found)  # left by an interrupted download


def canonical_data(data: str) -> str:
    """The full id for "glue", a short name that the client libraries no longer resolve; other names unchanged."""
    return "nyu-mll/glue" if data == "glue" else data


def data_config_of(config: Config) -> str | None:
    """The configuration of a Hub dataset: --data-config or, for GLUE, the task's. None if there is neither."""
    of_task = TASKS[config.task].glue_config if canonical_data(config.data) == "nyu-mll/glue" else None
    return config.data_config or of_task


def unavailable(wanted: dict[str, str], data_config: str | None = None) -> str:
    """A clause that says which of `wanted` ({flag: name}) are neither in the cache nor can be downloaded, or "" if
    everything is available."""
    # Otherwise `datasets` reports to the Hub each time it reads parquet, even from local files.
    os.environ.setdefault("HF_UPDATE_DOWNLOAD_COUNTS", "0")
    on_hub = {flag: name for flag, name in wanted.items() if is_hub_id(name)}
    forbidden = offline()
    if not on_hub or reachable():
        return ""
    os.environ["HF_HUB_OFFLINE"] = "1"  # before the first client library is imported: it then uses the cache only
    missing = [
        f"{flag} {name}"
        for flag, name in on_hub.items()
        if not (model_is_cached(name) if flag == "--model" else data_is_cached(name, data_config))
    ]
    if not missing:
        return ""
    why = "HF_HUB_OFFLINE is set" if forbidden else f"{shown_endpoint()} can't be reached"
    return f"{' and '.join(missing)}: no such folder, not in the cache, and {why}"


def check_revision(config: Config) -> None:
    """Raise UserError for a --revision without the Hub: the cache has its rows under no name of a revision. A resume
    may use them: it compares their content."""
    if config.revision is not None and not config.resume and is_hub_id(config.data) and offline():
        raise UserError(
            f"--revision {config.revision} can't be checked without the Hub: restore the connection, or leave it out"
        )


def resolve_sources(config: Config, given: dict[str, Any]) -> Config:
    """The config to train with: unchanged, or with the builtin model and pairs if the Hub can't be reached and the user
    has set none of ASKED_FOR. Raises UserError if a model or dataset that was asked for is not available, and for a
    --revision without the Hub."""
    if config.fallback and (config.model, config.data) != (
        "builtin",
        "builtin",
    ):  # from the config.yaml of a run that fell back
        config = dataclasses.replace(config, fallback=False)
    missing = unavailable({"--model": config.model, "--data": config.data}, data_config_of(config))
    if not missing:
        check_revision(config)
        return config
    if any(name in given for name in ASKED_FOR):
        builtin = (
            "--model builtin --data builtin, which need" if is_hub_id(config.data) else "--model builtin, which needs"
        )
        raise UserError(f"{missing}. Restore the connection, name a local folder, or use {builtin} no Hub")
    say(f"warning: {missing}. Training the builtin model on the builtin pairs (--model builtin --data builtin)")
    return dataclasses.replace(config, model="builtin", data="builtin", fallback=True)
