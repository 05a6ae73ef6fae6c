"""Make docs/report.png from a run's report: python docs/picture_report.py runs/RUN (make browser installs Chromium)."""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

SIZE = {"width": 1100, "height": 1180}  # CSS pixels


def main(run: Path) -> None:
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE, color_scheme="light")
        page.goto((run / "report.html").resolve().as_uri())
        page.screenshot(path=Path(__file__).with_name("report.png"))
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
