"""What a comparison says, and where it says it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
from compared import copy_run, result, train_runs
from conftest import ROOT, some_pairs, write_rows

from pairft import compare
from pairft.comparison.result import notes
from pairft.comparison.scores import Estimate, MetricScores
from pairft.comparison.significance import ExampleTest, SeedTest, mcnemar
from pairft.comparison.words import verdict, verdict_over_seeds


@pytest.fixture(scope="module")
def trained(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two runs, whose class names would control a terminal."""
    folder = tmp_path_factory.mktemp("words")
    rows = [{**row, "label": ("no", "\x1b[31myes")[number % 2]} for number, row in enumerate(some_pairs("train", 40))]
    for split, some in (("train", rows[:20]), ("validation", rows[20:])):
        write_rows(folder / "pairs" / f"{split}.jsonl", some)
    custom = ["--task", "custom", "--text-columns", "sentence1,sentence2"]
    runs = train_runs(folder, tiny_model, folder / "pairs", first=custom)
    for name, wrong in (("one", [0, 1]), ("two", [1, 2])):
        copy_run(runs / "first", runs / name, wrong=wrong)
    return runs


def right(fixed: int, broken: int, both: int) -> tuple[numpy.ndarray, numpy.ndarray]:
    return numpy.repeat([False, True, True], (fixed, broken, both)), numpy.repeat(
        [True, False, True], (fixed, broken, both)
    )


def test_equal_answers():
    same = mcnemar(*right(0, 0, 2))
    assert verdict("B", same, 1.0, "", 2, "pairs") == "no evidence: 0 fixed, 0 broken: both are right on the same pairs"
    errors = ExampleTest("Wilcoxon", 1.0, 0, 0, 0, None)
    assert verdict("B", errors, 1.0, "", 2, "pairs").endswith("0 larger: both are off by as much on all pairs")


def test_more_pairs_than_it_takes_are_not_called_too_few():
    """20 of 4,000 pairs answered differently: 783 pairs find a difference of one point."""
    one = mcnemar(*right(10, 10, 3980))
    assert one.pairs_needed == 783
    assert verdict("B", one, one.p, "", 4000, "pairs").endswith(
        "; these 4,000 pairs would probably have shown a difference of one point"
    )
    assert verdict("B", one, one.p, "", 782, "pairs").endswith(
        "; it would take about 780 pairs to see a difference of one point"
    )


def test_what_would_show_over_seeds():
    test = SeedTest((0.0, 0.02), 0.01, (-0.1171, 0.1371), 0.5, None)
    alone, one_of_two = (verdict_over_seeds("B", "f1", test, 0.5, correction) for correction in ("", " (Holm)"))
    assert "p = 0.50; with this spread, p is below 0.05 if the mean is further than 0.1271 from 0." in alone
    assert "p = 0.50 (Holm). 2 seeds are few" in one_of_two


@pytest.mark.parametrize(
    ("p", "f1", "loss", "said"),
    [
        (
            0.5,
            0.1,
            -0.1,
            "no evidence of a difference in accuracy, but 0 is not in the intervals of the differences in",
        ),
        (0.5, 0.0, 0.0, None),
        (0.01, 0.1, -0.1, None),
        (0.01, -0.1, -0.1, "is about accuracy; the interval of the difference in f1 says the opposite"),
        (0.01, -0.1, 0.1, "the intervals of the differences in f1 and loss say the opposite"),
    ],
)
def test_metrics_that_say_another_thing_than_the_test(p, f1, loss, said):
    test = ExampleTest("McNemar", p, 12, 3, 1, 1000)  # B is right more often
    scores = [
        MetricScores(name, [], [], [Estimate(value, (value - 0.05, value + 0.05))])
        for name, value in (("f1", f1), ("loss", loss))
    ]
    found = notes(test, p, scores, 0)
    assert found == [] if said is None else said in found[0]


def test_the_text_does_not_control_the_terminal(trained, capsys):
    assert compare.main([str(trained / "one"), str(trained / "two")]) == 0
    text = capsys.readouterr().out
    assert " [31myes" in text and text.replace("\n", "").isprintable()
    found = result(trained / "one", trained / "two")["comparisons"][0]["flips"]["fixed"][0]
    assert "\x1b[31myes" in (found["label"], found["first"]["answer"])


def test_runs_that_are_pushed_elsewhere_are_one_group(trained, tmp_path):
    places = [
        copy_run(trained / "one", tmp_path / f"{name}{seed}", seed=seed, lr=lr, push_to_hub=f"me/{name}-{seed}")
        for name, lr in (("a", 0.1), ("b", 0.2))
        for seed in (1, 2)
    ]
    assert [side["seeds"] for side in result(*places, "--pair-by-seed")["sides"]] == [[1, 2], [1, 2]]


@pytest.mark.parametrize("shell", ["{} >&-", "PYTHONIOENCODING=ascii {} >/dev/null", "{} | head -c 1 >/dev/null"])
def test_an_output_that_cannot_show_everything(trained, shell):
    command = f"{sys.executable} -m pairft.compare {trained / 'one'} {trained / 'two'} --format html"
    ended = subprocess.run(
        ["bash", "-o", "pipefail", "-c", shell.format(command)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")


def test_a_full_disk_is_an_error(trained):
    command = [sys.executable, "-m", "pairft.compare", str(trained / "one"), str(trained / "two")]
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            command,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=False,
        )
    assert ended.returncode == 2 and ended.stderr.count("\n") == 1 and "No space left" in ended.stderr
