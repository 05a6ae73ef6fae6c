"""report.html in headless Chromium: drawn, readable on a phone and in the dark, printable, and quiet."""

import sys
from pathlib import Path

import pytest
from chromium import WIDTHS, opened
from conftest import ROOT

import train

sys.path.insert(0, str(ROOT / "tests" / "reporting"))
import reports

pytestmark = pytest.mark.browser

DRAWN = """() => [...document.querySelectorAll("figure")].map(figure => {
  const svg = figure.querySelector("svg"), box = svg.getBoundingClientRect();
  const lines = [...svg.querySelectorAll("path")].filter(path => {
    const drawn = path.getBoundingClientRect();
    return Math.max(drawn.width, drawn.height) > box.width / 4 && getComputedStyle(path).stroke !== "none";
  });
  const texts = [...svg.querySelectorAll("text")];
  const sizes = texts.map(text => text.getBoundingClientRect().height);
  return {name: figure.id, width: box.width, height: box.height, lines: lines.length, texts: texts.length,
    smallest: Math.min(...sizes), inside: box.right <= innerWidth, bars: svg.querySelectorAll("path").length};
})"""
# The contrast of every text with its background (WCAG 2.2), the lowest first.
CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  canvas.canvas.width = canvas.canvas.height = 1;
  const over = (colour, below) => {
    canvas.fillStyle = `rgb(${below})`; canvas.fillRect(0, 0, 1, 1);
    canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data.slice(0, 3)];
  };
  const light = rgb => rgb.map(v => v / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const found = [];
  for (const node of document.querySelectorAll("body *")) {
    const own = [...node.childNodes].some(child => child.nodeType === 3 && child.data.trim());
    if (!own || !node.getClientRects().length) continue;
    const above = []; for (let one = node; one; one = one.parentElement) above.unshift(one);
    let ground = [255, 255, 255];
    for (const one of above) ground = over(getComputedStyle(one).backgroundColor, ground);
    const style = getComputedStyle(node);
    const text = over(node instanceof SVGElement ? style.fill : style.color, ground);
    const [a, b] = [light(text), light(ground)].sort((x, y) => y - x);
    found.push([(a + .05) / (b + .05), node.tagName, node.textContent.slice(0, 30)]);
  }
  return found.sort((x, y) => x[0] - y[0]);
}"""


@pytest.fixture(scope="session")
def made_reports(tmp_path_factory, wild_model, pairs_folder):
    """A report for each kind of labels, and one on rows that are markup."""
    folder = tmp_path_factory.mktemp("browser")
    data = {kind: reports.data_of(folder / f"data-{kind}", kind) for kind in reports.KINDS}
    data |= {"pairs": ("--data", pairs_folder), "nasty": reports.nasty_data(folder / "data-nasty")}
    for kind, flags in data.items():
        flags = ("--model", wild_model, *flags, "--runs-dir", folder, "--run-name", kind, "--device", "cpu")
        assert train.main([str(flag) for flag in (*flags, *reports.SHORT, "--lr", "1e-3")]) == 0
    return {kind: folder / kind / "report.html" for kind in data}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("kind", [*reports.KINDS, "pairs", "nasty"])
def test_the_page_is_drawn_and_quiet(browser, made_reports, kind, width):
    with opened(browser, made_reports[kind].as_uri(), width) as watched:
        page = watched.page
        charts = page.evaluate(DRAWN)
        assert {chart["name"] for chart in charts} == reports.page_of(made_reports[kind].parent).charts
        for chart in charts:
            assert chart["width"] > 300 and chart["height"] > 150 and chart["inside"], chart
            assert chart["lines"] >= 2 and chart["texts"] >= 4 and chart["smallest"] >= 10, chart
        assert page.evaluate("document.documentElement.scrollWidth") == width
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.title() != "gone" and page.locator("script").count() == 0
        links = page.eval_on_selector_all("nav a", "links => links.map(link => link.getAttribute('href'))")
        assert len(links) >= 6 and all(page.locator(link).count() == 1 for link in links)
    assert (watched.errors, watched.outside) == ([], [])


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_from_what_is_behind_them(browser, made_reports, scheme, width):
    """WCAG's 4.5 for every text, in the confusion matrix and the charts, too."""
    with opened(browser, made_reports["three"].as_uri(), width, scheme) as watched:
        ratio, tag, text = watched.page.evaluate(CONTRAST)[0]
        assert ratio >= 4.5, (ratio, tag, text)
        ground = watched.page.evaluate("getComputedStyle(document.body).backgroundColor")
        line = watched.page.evaluate("getComputedStyle(document.querySelector('#loss path[style*=\"--one\"]')).stroke")
    assert (ground, line) == {
        "light": ("rgb(255, 255, 255)", "rgb(0, 114, 178)"),
        "dark": ("rgb(16, 20, 25)", "rgb(86, 180, 233)"),
    }[scheme]


def test_it_prints(browser, made_reports, tmp_path):
    """As a PDF of some pages, on white even in the dark, with the values of the charts."""
    with opened(browser, made_reports["pairs"].as_uri(), 1400, "dark") as watched:
        watched.page.emulate_media(media="print")
        assert watched.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert watched.page.locator("#length details td").first.bounding_box()["height"] > 5
        pdf = watched.page.pdf(path=tmp_path / "report.pdf", format="A4")
    assert pdf.startswith(b"%PDF") and 3 <= pdf.count(b"/Type /Page\n") <= 12
    assert Path(tmp_path / "report.pdf").stat().st_size > 20_000
