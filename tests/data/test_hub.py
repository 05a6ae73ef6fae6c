"""With the Hub, without it, and with one that fails: what is trained on, and what is said about it.

Each program here has a cache of its own; the Hub is a loopback socket.
"""

import contextlib
import importlib.util
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import ROOT, environment, lines_with, recorded, run_train

from pairft.data import hub
from pairft.data.builtin import PACKAGE

MODEL, DATA = "google-bert/bert-base-uncased", "nyu-mll/glue"
SHORT = ("--max-length", "16", "--batch-size", "2", "--device", "cpu")  # what the defaults train on, only less of it

needs_package = pytest.mark.skipif(importlib.util.find_spec(PACKAGE) is None, reason=f"{PACKAGE} is not installed")


@pytest.fixture(scope="module")
def listen() -> Iterator[Callable[..., str]]:
    """Starts a server that does `behave(connection)` with each connection; the server's address."""
    sockets: list[socket.socket] = []

    def start(behave: Callable[[socket.socket], None], scheme: str = "http") -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        sockets.append(listener)

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:  # the end of the tests
                    return
                sockets.append(connection)
                behave(connection)

        threading.Thread(target=accept, daemon=True).start()
        return f"{scheme}://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for opened in sockets:
        with contextlib.suppress(OSError):
            opened.shutdown(socket.SHUT_RDWR)  # closing alone wakes no accept()
        opened.close()


def answers(text: bytes) -> Callable[[socket.socket], None]:
    def behave(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(text)
        connection.close()

    return behave


def hang_up(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.close()


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
FAILURES = {
    "ok": (answers(OK), "http"),
    "503": (answers(OK.replace(b"200 OK", b"503 Service Unavailable")), "http"),
    "404": (answers(OK.replace(b"200 OK", b"404 Not Found")), "http"),
    "no HTTP": (answers(b"SSH-2.0-OpenSSH_9.6\r\n"), "http"),
    "hangs up": (hang_up, "http"),
    "resets": (reset, "http"),
    "hangs up on TLS": (hang_up, "https"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_hub_that_fails_is_reachable(failure, listen, monkeypatch):
    behave, scheme = FAILURES[failure]
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HF_ENDPOINT", listen(behave, scheme))
    # Whether a reset is seen while sending or while reading is chance.
    assert all(hub.reachable() for _ in range(20))


def test_a_hub_that_never_answers_is_given_up_in_time(listen, monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HF_ENDPOINT", listen(lambda connection: None))
    began = time.perf_counter()
    assert not hub.reachable()
    assert hub.PROBE_SECONDS / 2 < time.perf_counter() - began < 10


def test_neither_a_closed_port_nor_a_forbidden_hub_is_reachable(closed, listen, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    asked: list[socket.socket] = []
    monkeypatch.setenv("HF_ENDPOINT", listen(asked.append))
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    assert not hub.reachable() and not asked
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", closed)
    assert not hub.reachable()


@pytest.fixture(scope="module")
def fallen_back(closed, tmp_path_factory) -> Iterator[tuple[subprocess.CompletedProcess, Path]]:
    """What the defaults do without a Hub: the finished program, and its folder with runs/a and its cache."""
    folder = tmp_path_factory.mktemp("fallback")
    env = environment(folder / "hf", closed)
    flags = ("--run-name", "a", "--max-steps", "2", "--save-every", "1")
    yield run_train(folder, env, *flags, *SHORT), folder
    shutil.rmtree(folder)  # a gigabyte, which pytest would keep


@needs_package
def test_the_defaults_fall_back_with_one_warning(fallen_back, closed):
    result, folder = fallen_back
    assert result.returncode == 0, result.stderr
    [warning] = [line for line in lines_with("warning:", result) if MODEL in line]  # others may be of the training
    assert all(word in warning for word in (MODEL, DATA, closed, "--model builtin --data builtin"))
    assert not lines_with("retry", result) and not lines_with("traceback", result)
    assert recorded(folder / "runs" / "a") == [("builtin", "builtin", True)] * 2


@pytest.mark.slow
@needs_package
def test_a_resume_stays_with_the_fallback_though_the_hub_is_back(fallen_back, listen):
    folder = fallen_back[1]
    stopped = folder / "runs" / "stopped"
    undone = shutil.ignore_patterns("results.json", "best", "last", "step-00000002")
    shutil.copytree(folder / "runs" / "a", stopped, ignore=undone)
    result = run_train(folder, environment(folder / "hf", listen(answers(OK))), "--resume", "--run-name", "stopped")
    assert result.returncode == 0, result.stderr
    assert "from step 1" in result.stderr and not lines_with("error", result)
    assert recorded(stopped) == [("builtin", "builtin", True)] * 2


def test_a_forbidden_hub_counts_as_out_of_reach(listen, tmp_path):
    asked: list[socket.socket] = []
    env = environment(tmp_path / "hf", listen(asked.append), HF_HUB_OFFLINE="1")
    command = [sys.executable, str(ROOT / "train.py")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=env) as process:
        warning = process.stderr.readline()
        process.kill()  # what it does then is as without a Hub
    assert warning.startswith("warning: ") and "HF_HUB_OFFLINE" in warning and "--model builtin" in warning
    assert not asked
    result = run_train(tmp_path, env, "--task", "mrpc")
    assert result.returncode == 2 and "HF_HUB_OFFLINE" in result.stderr


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        (("--model", MODEL), (MODEL, DATA)),
        (("--data", DATA), (MODEL, DATA)),
        (("--data", "glue"), (MODEL, "--data glue")),
        (("--task", "mrpc"), (MODEL, DATA)),
        (("--text-columns", "sentence1,sentence2"), (MODEL, DATA)),
        (("--model", "builtin"), (f"--data {DATA}",)),
        (f"model: {MODEL}", (MODEL, DATA)),
        ("task: mrpc", (MODEL, DATA)),
    ],
)
def test_what_was_asked_for_by_name_is_never_replaced(asked, named, closed, tmp_path):
    if isinstance(asked, str):
        (tmp_path / "settings.yaml").write_text(asked + "\n")
        asked = ("--config", "settings.yaml")
    result = run_train(tmp_path, environment(tmp_path / "hf", closed), *asked, "--max-steps", "2")
    assert result.returncode == 2, result.stderr
    [message] = result.stderr.splitlines()
    assert message.startswith("error: ")
    assert all(word in message for word in (*named, closed, "--model builtin --data builtin", "local folder"))
    assert not list(tmp_path.glob("runs/*"))


def test_data_half_prepared_is_not_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path))
    folder = tmp_path / "nyu-mll___glue" / "mrpc" / "0.0.0" / "abc.incomplete"  # as `datasets` names it meanwhile
    folder.mkdir(parents=True)
    (folder / "glue-train.arrow").touch()
    assert not hub.data_is_cached(DATA, "mrpc")
    folder.rename(folder.with_suffix(""))
    assert hub.data_is_cached(DATA, "mrpc") and hub.data_is_cached("glue", "mrpc")
    assert not hub.data_is_cached(DATA, "rte")


@pytest.mark.slow
def test_local_files_are_reported_to_nobody(tiny_model, pairs_folder, tmp_path):
    """`datasets` would send a request for each parquet that is read, if this were not set before its import."""
    code = (
        "import train; assert train.main() == 0; from datasets import config; print(config.HF_UPDATE_DOWNLOAD_COUNTS)"
    )
    flags = [
        "--model",
        tiny_model,
        "--data",
        pairs_folder,
        "--max-steps",
        "1",
        "--device",
        "cpu",
        "--runs-dir",
        tmp_path,
    ]
    env = {**environment(tmp_path / "hf", None), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, *map(str, flags)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=env, check=False)
    assert result.stdout.splitlines()[-1] == "False", result.stderr
