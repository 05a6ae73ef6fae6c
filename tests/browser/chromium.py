"""Headless Chromium, and what a page does in it that it should not."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest

WIDTHS = (1400, 390)  # of a desktop's window and of a phone, in CSS pixels
HERE = ("", "127.0.0.1", "localhost")  # hosts of file:, data: and blob: addresses, and of loopback


@dataclass
class Watched:
    """A page, its console errors and uncaught exceptions, and its requests to other machines."""

    page: Any  # playwright's
    errors: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)


@contextmanager
def started() -> Iterator[Any]:
    """Playwright's browser. Skips the test where playwright or Chromium is missing: `make browser` installs them."""
    playwright = pytest.importorskip("playwright.sync_api", reason="make browser installs playwright")
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("make browser installs Chromium")
    with playwright.sync_playwright() as driver:
        arguments = ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
        browser = driver.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()


@contextmanager
def opened(browser: Any, address: str, width: int, scheme: str = "light", **more: Any) -> Iterator[Watched]:
    """Open `address` in a window of its own, of a width in CSS pixels. `scheme`: "light" or "dark"."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **more)
    watched = Watched(context.new_page())
    watched.page.on("console", lambda message: message.type == "error" and watched.errors.append(message.text))
    watched.page.on("pageerror", lambda error: watched.errors.append(str(error)))
    watched.page.on(
        "request",
        lambda asked: urlsplit(asked.url).hostname not in (None, *HERE) and watched.outside.append(asked.url),
    )
    watched.page.goto(address)
    yield watched
    context.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    with started() as found:
        yield found
