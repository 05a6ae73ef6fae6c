"""Which errors of the Hub's client are retried, and how often."""

import importlib
import sys

import huggingface_hub.utils  # noqa: F401  (it imports its HTTP library)
import pytest
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

from pairft.data import retries

httpx = importlib.import_module("httpx2" if "httpx2" in sys.modules else "httpx")


def answered(status: int) -> Exception:
    return HfHubHTTPError("no", response=httpx.Response(status, request=httpx.Request("GET", "http://127.0.0.1")))


def caused_by(cause: Exception) -> Exception:
    """As the clients wrap it."""
    error = OSError("can't load it")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (answered(503), True),
        (answered(429), True),
        (answered(404), False),
        (answered(401), False),
        (httpx.ConnectError("refused"), True),
        (ConnectionResetError(), True),
        (caused_by(answered(500)), True),
        (caused_by(OfflineModeIsEnabled("offline")), False),
        (OSError("no such file"), False),
        (ValueError(), False),
    ],
    ids=repr,
)
def test_only_transient_errors_are_retried(error, transient, monkeypatch, capsys):
    monkeypatch.setattr(retries, "PAUSES", (0, 0, 0))
    calls: list[int] = []

    def load() -> str:
        calls.append(1)
        if len(calls) < 3:
            raise error
        return "loaded"

    if transient:
        assert retries.with_retries(load) == "loaded" and len(calls) == 3
        assert capsys.readouterr().err.count("retrying") == 1
    else:
        with pytest.raises(type(error)):
            retries.with_retries(load)
        assert len(calls) == 1 and capsys.readouterr().err == ""


def test_the_last_try_raises_its_error(monkeypatch, capsys):
    monkeypatch.setattr(retries, "PAUSES", (0, 0.01))
    calls: list[int] = []

    def load() -> None:
        calls.append(1)
        raise ConnectionResetError(len(calls))

    with pytest.raises(ConnectionResetError, match="3"):
        retries.with_retries(load)
    assert capsys.readouterr().err.count("retrying") == 1  # said once, whatever the number of tries
