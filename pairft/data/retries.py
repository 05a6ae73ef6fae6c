"""Retries for requests to the Hub that fail because of the connection or the server.

The client libraries retry only some of their requests.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pairft.data.hub import PROBE_SECONDS, shown_endpoint
from pairft.output import say

T = TypeVar("T")

PAUSES = (0.5, 1, 2, 4, 8, 8, 8)  # seconds between attempts


def with_retries(load: Callable[[], T]) -> T:
    """Call `load` and return its result. If it raises a transient error, it is called again after longer and longer
    PAUSES; downloads stay in the cache, so that each attempt gets further. Raises the error of the last attempt."""
    for attempt, pause in enumerate(PAUSES):
        try:
            return load()
        except Exception as error:
            if not is_transient(error):
                raise
            if attempt == 0:
                say(f"requests to {shown_endpoint()} fail; retrying")
            time.sleep(pause)
    return load()


def hub_file(model: str, name: str, retry: bool = True) -> Path | None:
    """The path of a file of a Hub model in the cache, into which it is downloaded if need be; None if the model has no
    such file, or doesn't exist."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError, RepositoryNotFoundError

    def load() -> str:
        return hf_hub_download(model, name, etag_timeout=PROBE_SECONDS)

    try:
        return Path(with_retries(load) if retry else load())
    except (EntryNotFoundError, HFValidationError, RepositoryNotFoundError):  # the first also if only the cache is read
        return None


def is_transient(error: BaseException | None) -> bool:
    """Whether an error of a client library may go away by itself: a broken connection, a server error or a rate limit,
    but not an unknown name or offline mode. The client libraries wrap such errors in others."""
    from huggingface_hub.errors import OfflineModeIsEnabled

    transient = False
    while error is not None:
        if isinstance(error, OfflineModeIsEnabled):
            return False
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status is None:
            transient |= isinstance(error, (*client_errors(), ConnectionError))
        else:
            transient |= status >= 500 or status == 429
        error = error.__cause__ or error.__context__
    return transient


def client_errors() -> tuple[type[Exception], ...]:
    """The errors that the Hub client's HTTP library raises for a failed connection. It has had two names."""
    return tuple(sys.modules[name].HTTPError for name in ("httpx", "httpx2") if name in sys.modules)
