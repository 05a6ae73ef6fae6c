"""The board of a small run in TensorBoard, in headless Chromium: the charts are there, and drawn."""

import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from chromium import WIDTHS, opened

import train
from pairft.runs.board_layout import CHARTS

pytestmark = [pytest.mark.browser, pytest.mark.slow]

BAD = "<script>document.title = 'gone wrong'</script> | a *b*"
LONG = "paths => paths.some(path => path.getAttribute('d') && path.getTotalLength() > 10)"


@pytest.fixture(scope="module")
def address(tmp_path_factory, wild_model):
    """TensorBoard on loopback, with one run."""
    folder = tmp_path_factory.mktemp("board")
    rows = [f"{BAD if n % 3 else 'fine'},words {n % 7},{'yes' if n % 2 else 'no'}\n" for n in range(60)]
    (folder / "pairs.csv").write_text("left,right,label\n" + "".join(rows))
    flags = ["--task", "custom", "--data", folder / "pairs.csv", "--text-columns", "left,right", "--label-column"]
    flags += ["label", "--model", wild_model, "--epochs", 2, "--log-every", 2, "--eval-every", 3, "--device", "cpu"]
    assert train.main([str(flag) for flag in [*flags, "--runs-dir", folder / "runs", "--run-name", "small"]]) == 0
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    command = [Path(sys.executable).with_name("tensorboard"), "--logdir", folder / "runs", "--host", "127.0.0.1"]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen([*map(str, command), "--port", str(port)], stdout=log, stderr=log)
    try:
        yield wait_for(f"http://127.0.0.1:{port}", server)
    finally:
        server.terminate()
        server.wait()


def wait_for(address, server):
    """Wait until TensorBoard has read the run."""
    while True:
        assert server.poll() is None
        try:
            with urllib.request.urlopen(f"{address}/data/runs") as answer:
                if b"small" in answer.read():
                    return address
        except OSError:
            pass
        time.sleep(0.2)


def wait_until_drawn(chart):
    """Wait until a chart has a line of some pixels."""
    lines = chart.locator(".render-area path.line")
    lines.first.wait_for(state="attached")
    for _ in range(150):
        if lines.evaluate_all(LONG):
            return
        time.sleep(0.2)
    raise AssertionError(chart.inner_html())


def is_quiet(watched):
    assert (watched.errors, watched.outside) == ([], [])


@pytest.mark.parametrize("width", WIDTHS)
def test_the_first_chart_has_both_losses_and_every_chart_is_drawn(browser, address, width):
    with opened(browser, f"{address}/#custom_scalars", width) as watched:
        charts = watched.page.locator("tf-custom-scalar-multi-line-chart-card")
        first = next(iter(CHARTS.values()))
        charts.nth(len(first) - 1).wait_for()
        for index, title in enumerate(first):
            chart = charts.nth(index)
            chart.scroll_into_view_if_needed()
            chart.get_by_text(title, exact=True).wait_for()
            wait_until_drawn(chart)
        charts.nth(0).get_by_text("Matches (2)").wait_for()  # both losses
        for title in CHARTS:
            watched.page.get_by_text(title).first.wait_for(state="attached")
    is_quiet(watched)


@pytest.mark.parametrize("width", WIDTHS)
def test_time_series_begins_with_what_is_learned(browser, address, width):
    with opened(browser, address, width) as watched:
        card = watched.page.locator("scalar-card").first
        card.locator("[title='learning/loss/train']").first.wait_for(state="attached")
        canvas = card.locator("line-chart canvas, line-chart svg.series-view, line-chart svg").first
        canvas.wait_for(state="attached")
        titles = watched.page.locator("metrics-card-group-toolbar .group-title").all_inner_texts()
        assert titles == ["learning", "mistakes", "resources", "throughput", "update_ratio"]
    is_quiet(watched)


@pytest.mark.parametrize("width", WIDTHS)
def test_images_curves_and_tables(browser, address, width):
    with opened(browser, f"{address}/#images", width) as watched:
        image = watched.page.locator("tf-image-loader img").first
        image.wait_for(state="attached")
        watched.page.wait_for_function("image => image.naturalWidth > 300", arg=image.element_handle())
        watched.page.get_by_text("mistakes/confusion_matrix").first.wait_for(state="attached")
    is_quiet(watched)
    with opened(browser, f"{address}/#pr_curves", width) as watched:
        chart = watched.page.locator("tf-pr-curve-card")
        chart.wait_for(state="attached")
        wait_until_drawn(chart)
    is_quiet(watched)
    with opened(browser, f"{address}/#text", width) as watched:
        watched.page.get_by_text("most_confident").first.wait_for(state="attached")
        table = watched.page.locator("tf-markdown-view table").filter(has_text="confidence").first
        table.wait_for(state="attached")
        assert re.search(re.escape(BAD) + "|fine", table.inner_text())
        assert watched.page.title() != "gone wrong"
    is_quiet(watched)


@pytest.mark.parametrize("width", WIDTHS)
def test_hyperparameters(browser, address, width):
    with opened(browser, f"{address}/#hparams", width) as watched:
        watched.page.get_by_text("batch_size").first.wait_for(state="attached")
        watched.page.get_by_text("small", exact=True).first.wait_for(state="attached")
    is_quiet(watched)
