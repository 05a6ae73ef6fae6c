"""What the page of a report may hold: text as text, no scripts, no requests, and a limited size."""

import json
import re

import numpy
import pyarrow
import pytest
import reports
from pyarrow import parquet
from reports import SHORT, Page, page_of

import train
from pairft.reporting import page
from pairft.runs import evaluations


@pytest.fixture(scope="module")
def nasty(tmp_path_factory, wild_model):
    """A run on rows that are markup, with its report."""
    folder = tmp_path_factory.mktemp("nasty")
    flags = [
        "--model",
        wild_model,
        *reports.nasty_data(folder / "data"),
        "--runs-dir",
        folder,
        "--run-name",
        "a",
        *SHORT,
    ]
    assert train.main([str(flag) for flag in flags]) == 0
    return folder / "a"


def test_every_text_is_a_text(nasty):
    """Sentences, class names and column names that are markup, or that reverse what follows them."""
    source = (nasty / "report.html").read_text(encoding="utf-8")
    found = Page(source)
    assert not {"script", "img", "i b", "iframe", "object"} & set(found.tags)
    assert not [name for name, _ in found.attributes if name.startswith("on")]
    shown = [text.replace("\u202e", "\\u202e").replace("\u0007", "\\u0007") for text in reports.NASTY]
    assert all(text in found.text for text in shown)
    assert all(name.replace("\u202e", "\\u202e") in found.text for name in reports.NASTY_NAMES)
    assert "“<i>a</i>” and “b”" in found.text and "F1 of “$yes_\\u202e\"'”" in found.text
    assert not page.UNSEEN.search(source)


def test_nothing_is_loaded_and_nothing_runs(nasty):
    source = (nasty / "report.html").read_text(encoding="utf-8")
    found = Page(source)
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in found.values("content")
    links = found.values("href")
    assert links and all(link.startswith("#") or link == "data:," for link in links)
    assert not found.values("src") and not re.search(r"url\((?!#)", source) and "@import" not in source
    assert len(found.values("id")) == len(set(found.values("id")))
    inside = set(re.findall(r"url\(#(\w+)\)", source)) | {link[1:] for link in links if link != "data:,"}
    assert inside <= set(found.values("id"))


def test_charts_take_their_colours_from_the_page(nasty):
    """No colour is fixed, so that all follow light and dark; each chart says what it is."""
    source = (nasty / "report.html").read_text(encoding="utf-8")
    charts = re.findall(r"<svg.*?</svg>", source, flags=re.DOTALL)
    assert len(charts) == len(page_of(nasty).charts) == 7
    for chart in charts:
        assert not re.search(r"(?:fill|stroke): ?#", chart) and "var(--" in chart
        assert re.match(r'<svg viewBox="[\d. ]+" role="img" aria-label="[^"]+"', chart)
        assert "font-family" not in chart and "<text" in chart


@pytest.mark.parametrize("code", ["\u202e", "\u2066", "\x00", "\x1b", "\ud800", "\ufeff", "\U000e0041", "\x85"])
def test_unseen_characters_are_shown_as_escapes(code):
    assert page.seen(f"a{code}b") == f"a\\u{ord(code):04x}b"
    assert page.seen("a\tb\nc\u200d") == "a\tb\nc\u200d"


def enlarged(run, number, random):
    """The run with `number` validation examples instead of its own."""
    path = evaluations.examples_path(run, "validation")
    examples = parquet.read_table(path)
    chosen = random.integers(len(examples), size=number)
    lengths = pyarrow.array(random.integers(8, 512, size=number).astype(numpy.int32))
    place = examples.schema.names.index("tokens")
    parquet.write_table(examples.take(pyarrow.array(chosen)).set_column(place, "tokens", lengths), path)
    step = json.loads((run / "results.json").read_text())["best"]["step"]
    answers = parquet.read_table(evaluations.answers_path(run, "validation", step))
    width = answers.schema.field("logits").type.list_size
    logits = random.normal(scale=2, size=(number, width)).astype(numpy.float32)
    columns = {"logits": evaluations.as_column(logits), "loss": pyarrow.array(numpy.ones(number, numpy.float32))}
    parquet.write_table(pyarrow.table(columns), evaluations.answers_path(run, "validation", step))


@pytest.mark.slow
@pytest.mark.parametrize("kind", reports.KINDS)
def test_the_report_of_a_large_evaluation_is_small(kind, made, tmp_path, wild_model):
    """400,000 examples, and 20,000 lines of a long training."""
    run = made(*reports.data_of(tmp_path / "data", kind), "--model", wild_model, *SHORT)
    enlarged(run, 400_000, numpy.random.default_rng(0))
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    many = [{**line, "step": 6 * repeat + line["step"]} for repeat in range(2500) for line in lines]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in many))
    path, left_out = page.write(run)
    assert left_out == [] and path.stat().st_size < 1_000_000
    assert page_of(run).charts and "400,000 validation" in page_of(run).text
