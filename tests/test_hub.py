"""With the Hub, without it, and with one in trouble: what is trained on, and what is said about it.

Each program here has a cache of its own; the Hub is a loopback socket, or the stand-in in ../shared where that is.
"""

import contextlib
import importlib.util
import json
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
import yaml
from conftest import ROOT

from pairft import hub
from pairft.builtin import PACKAGE

SHARED = Path(ROOT).parent / "shared"
MODEL, DATA = "google-bert/bert-base-uncased", "nyu-mll/glue"
SHORT = ("--max-length", "16", "--batch-size", "2", "--device", "cpu")  # what the defaults train on, only less of it

needs_package = pytest.mark.skipif(importlib.util.find_spec(PACKAGE) is None, reason=f"{PACKAGE} is not installed")
needs_shared = pytest.mark.skipif(not (SHARED / "tools").is_dir(), reason=f"there is no stand-in Hub in {SHARED}")


def environment(hf_home: Path, endpoint: str | None, **more: str) -> dict[str, str]:
    """This process's, without what it or the user has set for the client libraries."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING", "TRANSFORMERS"))}
    address = {} if endpoint is None else {"HF_ENDPOINT": endpoint}
    return {**own, "HF_HOME": str(hf_home), "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", **address, **more}


def run_train(cwd: Path, env: dict[str, str], *flags: str, before: tuple[str, ...] = ()) -> subprocess.CompletedProcess:
    command = [*before, sys.executable, str(ROOT / "train.py"), *flags]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=env, timeout=300, check=False)


def recorded(run: Path) -> list[tuple]:
    """Model, data and fallback, as results.json and as config.yaml have them."""
    files = json.loads((run / "results.json").read_text()), yaml.safe_load((run / "config.yaml").read_text())
    return [(file["model"], file["data"], file["fallback"]) for file in files]


def lines_with(word: str, result: subprocess.CompletedProcess) -> list[str]:
    return [line for line in result.stderr.splitlines() if word in line.lower()]


@pytest.fixture(scope="module")
def closed() -> Iterator[str]:
    """An address that refuses connections: the port is taken, but nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


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
TROUBLE = {
    "ok": (answers(OK), "http"),
    "503": (answers(OK.replace(b"200 OK", b"503 Service Unavailable")), "http"),
    "404": (answers(OK.replace(b"200 OK", b"404 Not Found")), "http"),
    "no HTTP": (answers(b"SSH-2.0-OpenSSH_9.6\r\n"), "http"),
    "hangs up": (hang_up, "http"),
    "resets": (reset, "http"),
    "hangs up on TLS": (hang_up, "https"),
}


@pytest.mark.parametrize("trouble", TROUBLE)
def test_a_hub_in_trouble_is_reachable(trouble, listen, monkeypatch):
    behave, scheme = TROUBLE[trouble]
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
    assert len(lines_with("warning", result)) == 1, result.stderr
    [warning] = lines_with("warning:", result)
    assert all(word in warning for word in (MODEL, DATA, closed, "--model builtin --data builtin"))
    assert not lines_with("retry", result) and not lines_with("traceback", result)
    assert recorded(folder / "runs" / "a") == [("builtin", "builtin", True)] * 2


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


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory) -> Iterator[tuple[subprocess.CompletedProcess, Path]]:
    """What the defaults do with a Hub: the finished program, and its folder with runs/a, its cache hf and root."""
    folder = tmp_path_factory.mktemp("hub")
    tools = SHARED / "tools"
    subprocess.run([sys.executable, str(tools / "hub_root.py"), str(folder / "root")], check=True, capture_output=True)
    flags = ("--run-name", "a", "--max-steps", "4", *SHORT)
    yield run_train(folder, dict(os.environ), *flags, before=serving(folder, "requests")), folder
    shutil.rmtree(folder)


def serving(folder: Path, log: str) -> tuple[str, ...]:
    """The words before a command that give it the stand-in as its Hub, and folder/hf as its cache."""
    options = {"--root": folder / "root", "--hf-home": folder / "hf", "--log": folder / log}
    words = [str(word) for pair in options.items() for word in pair]
    return (sys.executable, str(SHARED / "tools" / "local_hub.py"), *words, "--")


@needs_shared
@needs_package
def test_the_defaults_train_from_the_hub(stand_in):
    result, folder = stand_in
    assert result.returncode == 0, result.stderr
    assert recorded(folder / "runs" / "a") == [(MODEL, DATA, False)] * 2
    assert "3668 pairs, 4 steps" in result.stderr and not lines_with("warning", result)
    requests = (folder / "requests").read_text()
    assert f"/{MODEL}/" in requests and f"/datasets/{DATA}/" in requests


@needs_shared
@needs_package
def test_without_the_hub_the_cache_serves_and_nothing_is_retried(stand_in, closed):
    folder = stand_in[1]
    result = run_train(folder, environment(folder / "hf", closed), "--run-name", "b", "--max-steps", "2", *SHORT)
    assert result.returncode == 0, result.stderr
    assert recorded(folder / "runs" / "b") == [(MODEL, DATA, False)] * 2
    assert not lines_with("warning", result) and not lines_with("retry", result), result.stderr


@needs_shared
@needs_package
def test_glue_for_short_is_the_same_data_in_the_cache(stand_in, closed, tiny_model):
    folder = stand_in[1]
    flags = ("--data", "glue", "--model", str(tiny_model), "--run-name", "c", "--max-steps", "1", *SHORT)
    result = run_train(folder, environment(folder / "hf", closed), *flags)
    assert result.returncode == 0, result.stderr
    assert recorded(folder / "runs" / "c") == [(str(tiny_model), "glue", False)] * 2
    assert "3668 pairs" in result.stderr and not lines_with("warning", result) and not lines_with("retry", result)


@needs_shared
@needs_package
def test_a_model_that_the_hub_does_not_have(stand_in):
    folder = stand_in[1]
    flags = ("--model", "nobody/no-such-model", "--run-name", "none")
    result = run_train(folder, dict(os.environ), *flags, before=serving(folder, "more-requests"))
    assert result.returncode == 2, result.stderr
    [message] = lines_with("error", result)
    assert "--model nobody/no-such-model" in message and not lines_with("traceback", result)
    assert "huggingface.co" not in message  # it was another Hub that was asked
    assert not (folder / "runs" / "none").exists()
