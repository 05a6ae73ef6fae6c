"""Two hosts on one machine: a network namespace each, joined by a link that can be cut. Needs root and iproute2."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

ADDRESSES = ("10.77.0.1", "10.77.0.2")
LINK = "eth0"  # the name of the link's end, in both namespaces
PORT = 29400


def ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True, timeout=30).stdout


@contextlib.contextmanager
def two_hosts() -> Iterator[tuple[str, str]]:
    """Within the context, two namespaces with a link between them. Yields their names.

    Leaving it kills what still runs in them, and removes them and their link. Skips the test where namespaces are not
    permitted.
    """
    mark = uuid.uuid4().hex[:8]
    first, second = f"pairft-{mark}-1", f"pairft-{mark}-2"
    if shutil.which("ip") is None:
        pytest.skip("needs ip, of iproute2")
    try:
        try:
            for name in (first, second):
                ip("netns", "add", name)
            ip("link", "add", LINK, "netns", first, "type", "veth", "peer", "name", LINK, "netns", second)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"network namespaces are not permitted: {error.stderr.strip()}")
        for name, address in zip((first, second), ADDRESSES, strict=True):
            ip("-n", name, "address", "add", f"{address}/24", "dev", LINK)
            for link in ("lo", LINK):
                ip("-n", name, "link", "set", link, "up")
        yield first, second
    finally:
        for name in (first, second):
            with contextlib.suppress(subprocess.CalledProcessError):  # it was never made
                for pid in processes(name):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                ip("netns", "delete", name)


def processes(host: str) -> list[int]:
    """The ids of the processes that run there."""
    return [int(pid) for pid in ip("netns", "pids", host).split()]


def set_link(host: str, state: str) -> None:
    """Cut the link of a host ("down"), so that packets are lost without a word to either side, or restore it ("up")."""
    ip("-n", host, "link", "set", LINK, state)


def start_agents(
    hosts: tuple[str, str], folders: tuple[Path, Path], log_name: str, run_id: str, restarts: int, *flags: Any
) -> list[subprocess.Popen[bytes]]:
    """Start torchrun with one process of train.py on each host, in its folder. What they show goes to the file
    `log_name` in the folder."""
    agents = []
    for number, (host, address, folder) in enumerate(zip(hosts, ADDRESSES, folders, strict=True)):
        command = ["ip", "netns", "exec", host, sys.executable, "-m", "torch.distributed.run"]
        command += ["--nnodes", 2, "--nproc-per-node", 1, "--max-restarts", restarts]
        command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"{ADDRESSES[0]}:{PORT}", "--rdzv-id", run_id]
        # The namespaces have one host name, so that torchrun can't tell by it which of them is the endpoint.
        command += ["--rdzv-conf", f"is_host={int(number == 0)}", "--local-addr", address, ROOT / "train.py", *flags]
        with (folder / log_name).open("wb") as log:
            agents.append(
                subprocess.Popen(
                    [str(part) for part in command],
                    cwd=folder,
                    env={**os.environ, "GLOO_SOCKET_IFNAME": LINK},
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            )
    return agents
