"""What TensorBoard shows of an evaluation, compared with scikit-learn and with TensorBoard's own rendering."""

import io
from html.parser import HTMLParser

import numpy
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet
from sklearn import metrics
from tensorboard.plugin_util import markdown_to_safe_html

from pairft.runs import board_figures, mistakes
from pairft.runs.evaluations import Evaluated
from pairft.tasks import MULTI_LABEL, REGRESSION, SINGLE_LABEL
from pairft.training.evaluation import EvalOutput

NASTY = (
    "<script>alert(1)</script> & <b>bold</b>",
    "a | b || c \\| d `code` ``` $x_1$",
    "# not a heading\n\n* nor a list\n1. [link](http://192.0.2.1) ![x](y) <http://192.0.2.1>",
    "&lt;already&gt; &#60; __init__ **x** ~~y~~ \\n 'quoted' \"twice\"",
    "日本語 🎉 é   spaces\tand\u2028more",
    "",
)


def evaluated(tmp_path, logits, labels, problem_type=SINGLE_LABEL, names=("no", "yes"), positive=1, texts=None):
    """An Evaluated of sentences 'left 0', 'right 0', …, with 3 to 12 tokens."""
    number = len(labels)
    texts = texts or [(f"left {n}", f"right {n}") for n in range(number)]
    path = tmp_path / "validation.parquet"
    columns = zip(*texts, strict=True)
    parquet.write_table(pyarrow.table({f"text_{n}": list(column) for n, column in enumerate(columns)}), path)
    output = EvalOutput(numpy.float32(logits), numpy.zeros(number, numpy.float32), numpy.asarray(labels))
    rows, tokens = numpy.arange(1, number + 1), numpy.int32(3 + numpy.arange(number) % 10)
    return Evaluated(path, 7, rows, tokens, output, problem_type, names, positive, ("first", "second | <i>"))


def values(found):
    """The values of some summaries, by tag."""
    return {value.tag: value for summary in mistakes.summaries(found) for value in summary.value}


def drawn(number, classes, seed=0):
    """Logits [number, classes] and labels [number] that are right more often than not."""
    random = numpy.random.default_rng(seed)
    labels = random.integers(0, classes, number)
    return 2 * numpy.eye(classes)[labels] + random.normal(0, 1.5, (number, classes)), labels


class Cells(HTMLParser):
    """The text of each cell of an HTML table, by row, and the other tags."""

    def __init__(self, html):
        super().__init__()
        self.rows, self.tags, self.inside = [], set(), False
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.inside = tag in ("td", "th")
        if tag == "tr":
            self.rows.append([])
        elif self.inside:
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        self.inside &= tag not in ("td", "th")

    def handle_data(self, data):
        if self.inside:
            self.rows[-1][-1] += data


def table_of(value):
    return Cells(markdown_to_safe_html(value.tensor.string_val[0]))


@pytest.mark.parametrize("classes", [2, 4])
def test_the_confusion_matrix_is_scikit_learns(tmp_path, monkeypatch, classes):
    logits, labels = drawn(300, classes)
    given = []
    monkeypatch.setattr(board_figures, "confusion_matrix", lambda *call: given.append(call) or b"\x89PNG" + b"\0" * 20)
    names = tuple("abcd"[:classes])
    values(evaluated(tmp_path, logits, labels, names=names))
    expected = metrics.confusion_matrix(labels, logits.argmax(axis=1))
    [(counts, shown)] = given
    assert (counts == expected).all() and shown == names


@pytest.mark.parametrize(("classes", "positive", "curves"), [(2, 0, [0]), (3, None, [0, 1, 2])])
def test_precision_recall_curves_are_scikit_learns(tmp_path, classes, positive, curves):
    logits, labels = drawn(200, classes)
    names = ("zero", "one", "two")[:classes]
    found = evaluated(tmp_path, logits, labels, names=names, positive=positive)
    got = {tag: value for tag, value in values(found).items() if "precision_recall" in tag}
    assert list(got) == [f"mistakes/precision_recall/{names[at]}" for at in curves]
    for at, value in zip(curves, got.values(), strict=True):
        *_, precision, recall = numpy.reshape(value.tensor.float_val, (6, 127))
        for step in (0, 20, 63, 100):
            predicted, holds = found.probabilities[:, at] >= step / 126, labels == at
            assert precision[step] == pytest.approx(metrics.precision_score(holds, predicted, zero_division=0.0))
            assert recall[step] == pytest.approx(metrics.recall_score(holds, predicted))


def test_the_most_confident_mistakes_come_first_with_their_text(tmp_path):
    logits, labels = drawn(200, 2)
    found = evaluated(tmp_path, logits, labels)
    head, *rows = table_of(values(found)["mistakes/most_confident/text_summary"]).rows
    assert head == ["row", "confidence", "predicted", "label", "first", "second | <i>"]
    confidence, predicted = found.probabilities.max(axis=1), logits.argmax(axis=1)
    wrong = [at for at in range(200) if predicted[at] != labels[at]]
    worst = sorted(wrong, key=lambda at: -confidence[at])[:20]
    assert 20 == len(rows) < len(wrong)
    for at, row in zip(worst, rows, strict=True):
        names = [found.names[predicted[at]], found.names[labels[at]]]
        assert row == [str(at + 1), f"{confidence[at]:.4f}", *names, f"left {at}", f"right {at}"]


def test_sentences_are_shown_as_they_are(tmp_path):
    texts = [(text, text[::-1]) for text in NASTY]
    logits = [[3.0 - n / 10, 0.0] for n in range(len(NASTY))]
    names = ("<img src=x onerror=alert(1)>", "a | *b*")
    found = evaluated(tmp_path, logits, [1] * len(NASTY), names=names, texts=texts)
    table = table_of(values(found)["mistakes/most_confident/text_summary"])
    assert table.tags <= {"table", "thead", "tbody", "tr", "th", "td"}
    for (left, right), row in zip(texts, table.rows[1:], strict=True):
        assert row[2:4] == list(names)
        assert [cell.strip() for cell in row[4:]] == [" ".join(text.split()) for text in (left, right)]


def test_confidence_of_right_and_of_wrong_answers(tmp_path):
    logits, labels = drawn(80, 2)
    found = evaluated(tmp_path, logits, labels)
    got, right = values(found), logits.argmax(axis=1) == labels
    for name, chosen in (("right", right), ("wrong", ~right)):
        some = found.probabilities.max(axis=1)[chosen]
        assert got[f"mistakes/confidence_when_{name}"].histo.num == len(some)
        assert got[f"mistakes/mean_confidence/{name}"].simple_value == pytest.approx(some.mean())
    all_right = values(evaluated(tmp_path, numpy.eye(2)[labels], labels))
    assert not [tag for tag in all_right if "wrong" in tag]
    assert all_right["mistakes/most_confident/text_summary"].tensor.string_val == [b"No answer is wrong."]


def test_a_regression(tmp_path):
    random = numpy.random.default_rng(0)
    true = random.uniform(0, 5, 60).astype(numpy.float32)
    predicted = true + random.normal(0, 1, 60).astype(numpy.float32)
    got = values(evaluated(tmp_path, predicted[:, None], true, REGRESSION, None, None))
    tags = ["predicted_against_true", "errors_by_length", "errors", "largest_errors/text_summary"]
    assert list(got) == [f"mistakes/{tag}" for tag in tags]
    rows = table_of(got["mistakes/largest_errors/text_summary"]).rows[1:]
    worst = sorted(range(60), key=lambda at: -abs(predicted[at] - true[at]))[:20]
    assert [int(row[0]) for row in rows] == [at + 1 for at in worst]
    assert [float(row[1]) for row in rows] == pytest.approx(list((predicted - true)[worst]), rel=1e-3)


def test_several_labels(tmp_path):
    random = numpy.random.default_rng(0)
    labels = random.integers(0, 2, (50, 3)).astype(numpy.float32)
    logits = 2 * labels - 1 + random.normal(0, 1, labels.shape)
    found = evaluated(tmp_path, logits, labels, MULTI_LABEL, ("x", "y", "z"), None)
    got = values(found)
    assert [tag for tag in got if "recall" in tag] == [f"mistakes/precision_recall/{name}" for name in "xyz"]
    yes, wrong = found.probabilities, (logits > 0) != labels
    surest = (numpy.maximum(yes, 1 - yes) * wrong).max(axis=1)
    rows = table_of(got["mistakes/most_confident/text_summary"]).rows[1:]
    assert [int(row[0]) for row in rows] == [at + 1 for at in numpy.argsort(-surest, kind="stable")[:20]]
    assert [float(row[1]) for row in rows] == pytest.approx(sorted(surest, reverse=True)[:20], abs=1e-4)


@pytest.mark.parametrize("names", [("$x", "a_{b$"), ("名前", "n" * 300), tuple(map(str, range(150)))])
def test_images_of_any_class_names_can_be_opened(tmp_path, names):
    logits, labels = drawn(160, len(names))
    images = {tag: value.image for tag, value in values(evaluated(tmp_path, logits, labels, names=names)).items()}
    for tag in ("mistakes/confusion_matrix", "mistakes/accuracy_by_length"):
        shown = Image.open(io.BytesIO(images[tag].encoded_image_string)).convert("RGB")
        assert shown.size == (images[tag].width, images[tag].height) and len(shown.getcolors(1_000_000)) > 10


def test_classes_whose_long_names_begin_alike_have_curves_of_their_own(tmp_path):
    logits, labels = drawn(60, 3)
    names = tuple(f"all of these names begin in the same way, number {n}" for n in range(3))
    got = values(evaluated(tmp_path, logits, labels, names=names, positive=None))
    assert [tag for tag in got if "recall" in tag] == [f"mistakes/precision_recall/{name}" for name in names]


@pytest.mark.parametrize("tokens", [[5], [5] * 9, [3, 3, 3, 90], list(range(40)), [2] * 30 + [8] * 3])
def test_bins_of_lengths_hold_each_example_once(tokens):
    bins = board_figures.length_bins(numpy.array(tokens))
    assert (sum(chosen.astype(int) for _, chosen in bins) == 1).all()
    assert all(chosen.any() for _, chosen in bins) and len(bins) <= board_figures.MAX_BINS
