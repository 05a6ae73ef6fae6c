"""Make docs/tensorboard.png: the first page of the board of one run, in headless Chromium.

    python benchmarks/board_picture.py --runs-dir runs [--output docs/tensorboard.png] [--width 1400] [--height 1150]

Needs `make browser`. Starts TensorBoard on loopback, and waits until the charts are drawn.
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

PAGE = "custom_scalars"


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        number: int = taken.getsockname()[1]
        return number


def wait_for_runs(address: str, server: "subprocess.Popen[bytes]") -> None:
    """Wait until TensorBoard has found a run."""
    while server.poll() is None:
        with suppress(OSError), urllib.request.urlopen(f"{address}/data/runs") as answer:
            if answer.read().strip() != b"[]":
                return
        time.sleep(0.5)
    raise SystemExit("TensorBoard has ended")


def take_picture(address: str, output: Path, width: int, height: int) -> None:
    from playwright.sync_api import sync_playwright

    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": height})
        page.goto(f"{address}/#{PAGE}")
        page.locator(".render-area path.line").first.wait_for(state="attached")
        page.wait_for_timeout(5_000)  # all charts, and their animations
        page.screenshot(path=output)
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"))
    parser.add_argument("--output", type=Path, default=Path("docs/tensorboard.png"))
    parser.add_argument("--width", type=int, default=1400)
    parser.add_argument("--height", type=int, default=1150)
    args = parser.parse_args()
    port = free_port()
    command = [str(Path(sys.executable).with_name("tensorboard")), "--logdir", str(args.runs_dir)]
    server = subprocess.Popen([*command, "--host", "127.0.0.1", "--port", str(port)], stderr=subprocess.DEVNULL)
    try:
        wait_for_runs(f"http://127.0.0.1:{port}", server)
        take_picture(f"http://127.0.0.1:{port}", args.output, args.width, args.height)
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
