"""python -m pairft.compare, from run directories to what it prints."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pyarrow
import pytest
from compared import copy_run, refused, result, rewrite, train_runs
from conftest import some_pairs, write_rows
from pyarrow import parquet
from scipy.stats import binomtest, ttest_rel

from pairft import compare
from pairft.runs import evaluations


@pytest.fixture(scope="module")
def trained(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs: one, a group of three seeds, a regression and a multi-label one."""
    folder = tmp_path_factory.mktemp("compared")
    rows = [{**row, "id": number} for number, row in enumerate(some_pairs("train", 100))]
    for number, row in enumerate(rows):
        row |= {"score": number % 7 / 2, "tags": [name for name in "ab" if (number + ord(name)) % 3]}
    for split, some in (("train", rows[:60]), ("validation", rows[60:])):
        write_rows(folder / "pairs" / f"{split}.jsonl", some)
    custom = ["--task", "custom", "--text-columns", "sentence1,sentence2", "--label-column"]
    return train_runs(
        folder,
        tiny_model,
        folder / "pairs",
        one=[],
        group=["--seeds", "1,2,3"],
        scores=[*custom, "score", "--regression"],
        tags=[*custom, "tags"],
    )


@pytest.fixture
def runs(trained: Path, tmp_path: Path) -> Callable[..., Path]:
    """Copy a run to tmp_path/runs under another name, with other answers."""

    def copied(name: str, source: str = "one", **changes: Any) -> Path:
        return copy_run(trained / source, tmp_path / "runs" / name, **changes)

    return copied


def test_a_good_and_a_broken_run(runs, capsys):
    good, broken = runs("good", wrong=[0, 1, 2]), runs("broken", wrong=[2, *range(10, 25)], lr=0.5)
    assert compare.main([str(broken), str(good)]) == 0
    text = capsys.readouterr().out
    p = binomtest(15, 17).pvalue
    assert f"B is better: 15 fixed, 2 broken, p = {p:.2g}" in text
    assert "by McNemar's exact test on the 40 pairs" in text
    assert re.search(r"^lr +0\.5 +0\.001$", text, re.MULTILINE)
    assert "best/ was chosen by its score on these pairs" in text
    found = result(broken, good)
    assert found["comparisons"][0]["test"]["p"] == p
    scores = {side["letter"]: side["scores"]["accuracy"]["value"] for side in found["sides"]}
    assert scores == {"A": 24 / 40, "B": 37 / 40}
    change = found["comparisons"][0]["differences"]["accuracy"]
    assert change["value"] == pytest.approx(13 / 40) and change["interval"][0] > 0
    assert "A is wrong" in text and f"row {found['comparisons'][0]['flips']['fixed'][0]['row']} " in text


def test_the_worse_run_is_called_worse(runs):
    found = result(runs("good", wrong=[0]), runs("broken", wrong=list(range(1, 20))))
    assert found["comparisons"][0]["verdict"].startswith("B is worse: 1 fixed, 19 broken, p < 0.0001")


def test_no_evidence_says_how_many_pairs_it_would_take(runs):
    found = result(runs("a", wrong=[0, 1]), runs("b", wrong=[1, 2]))
    assert found["comparisons"][0]["verdict"] == (
        "no evidence: 1 fixed, 1 broken, p = 1.00; it would take about 3,900 pairs to see a difference of one point"
    )


def test_equal_answers_say_so(runs):
    found = result(runs("a", wrong=[0, 1]), runs("b", wrong=[0, 1]))
    assert found["comparisons"][0]["verdict"].startswith(
        "no evidence: 0 fixed, 0 broken: both are right on the same pairs"
    )


def test_flips_are_sorted_by_confidence(runs):
    first, second = runs("a", wrong=[3, 9, 5]), runs("b", wrong=[2, 8, 5])
    logits = evaluations.read(second, "best").output.logits
    rewrite(second, [], logits * (3 - numpy.arange(len(logits)) / 20)[:, None])  # the later, the less sure
    found = result(first, second)["comparisons"][0]["flips"]
    assert [row["row"] for row in found["fixed"]] == [10, 4] and [row["row"] for row in found["broken"]] == [3, 9]
    first = found["fixed"][0]
    assert set(first["texts"]) == {"sentence1", "sentence2"}
    assert first["second"]["answer"] == first["label"] != first["first"]["answer"]
    assert first["first"]["confidence"] == pytest.approx(1 / (1 + numpy.exp(-1.09)), abs=1e-6)


def test_limit_shortens_the_text_alone(runs, capsys):
    places = runs("a", wrong=list(range(6))), runs("b", wrong=[])
    assert compare.main([*map(str, places), "--limit", "2"]) == 0
    text = capsys.readouterr().out
    assert "(6, the surest mistakes first, 2 shown)" in text and text.count("sentence1:") == 2
    assert len(result(*places, "--limit", "2")["comparisons"][0]["flips"]["fixed"]) == 6


def test_several_runs_are_corrected_by_holm(runs):
    found = result(runs("a", wrong=list(range(12))), runs("b", wrong=[]), runs("c", wrong=list(range(7))))
    ps = [one["test"]["p"] for one in found["comparisons"]]
    assert ps == [binomtest(12, 12).pvalue, binomtest(5, 5).pvalue]
    assert [one["p_corrected"] for one in found["comparisons"]] == [2 * ps[0], ps[1]]
    assert "after Holm's correction for 2 comparisons" in found["comparisons"][0]["verdict"]


def test_real_runs_that_differ_in_seed(trained):
    found = result(trained / "group" / "seed-1", trained / "group" / "seed-3")
    assert [row["name"] for row in found["settings"]] == ["seed"]
    assert found["comparisons"][0]["test"]["p"] <= 1
    kept = json.loads((trained / "group" / "seed-1" / "results.json").read_text())["best"]["validation"]
    for name, value in kept.items():
        assert found["sides"][0]["scores"][name]["value"] == pytest.approx(value, rel=1e-6)


def test_groups_are_compared_over_their_seeds(runs):
    group, other = runs("group", "group"), runs("others", "group", lr=0.5)
    scores = []
    for place, numbers in ((group, (10, 12, 13)), (other, (5, 8, 7))):
        for seed, number in enumerate(numbers, 1):
            rewrite(place / f"seed-{seed}", list(range(number)))
        scores.append([(40 - number) / 40 for number in numbers])
    found = result(group, other, "--metric", "accuracy,f1")
    test = found["comparisons"][0]["seed_tests"]["accuracy"]
    assert test["p"] == pytest.approx(ttest_rel(scores[1], scores[0]).pvalue)
    assert found["sides"][0]["scores"]["accuracy"]["runs"] == scores[0] and found["sides"][0]["seeds"] == [1, 2, 3]
    verdict = found["comparisons"][0]["verdict"]
    assert verdict.startswith("B is better: accuracy +0.1250 on average over 3 seeds") and "3 seeds are few" in verdict
    fixed = found["comparisons"][0]["flips"]["fixed"]
    assert sorted(row["row"] for row in fixed) == [8, 9, 10, 11, 12]  # wrong in most of A's runs, right in most of B's
    assert fixed[0]["first"]["runs"] == 3
    (other / "seed-3" / "results.json").unlink()  # as if it had diverged
    found = result(group, other)
    assert [side["seeds"] for side in found["sides"]] == [[1, 2], [1, 2]]
    assert any(note.startswith("B: not compared: seed 3, which") for note in found["notes"])


def test_pair_by_seed_puts_single_runs_into_groups(runs, trained, capsys):
    places = [runs(f"a{seed}", wrong=[0, 1, seed], seed=seed) for seed in (1, 2, 3)]
    places += [runs(f"b{seed}", wrong=list(range(seed, 9)), seed=seed, lr=0.5) for seed in (3, 1, 2)]
    found = result(*places, "--pair-by-seed")
    assert [side["seeds"] for side in found["sides"]] == [[1, 2, 3], [1, 2, 3]]
    assert found["sides"][1]["scores"]["accuracy"]["runs"] == [32 / 40, 33 / 40, 34 / 40]
    assert "differ by seed alone" in refused(capsys, *places[:3], "--pair-by-seed")
    assert "is a group" in refused(capsys, trained / "group", places[0], "--pair-by-seed")


def test_a_regression(runs):
    labels = evaluations.read(runs("labels", "scores"), "best").output.labels[:, None]
    noise = numpy.random.default_rng(0).normal(size=labels.shape)
    found = result(runs("a", "scores", logits=labels + noise), runs("b", "scores", logits=labels + noise / 4))
    one = found["comparisons"][0]
    assert one["verdict"].startswith("B is better: 40 errors smaller, 0 larger, p < 0.0001")
    assert list(one["differences"]) == ["pearson", "spearman", "loss"]
    errors = [row["first"]["error"] for row in one["flips"]["closer"]]
    assert errors == sorted(errors, reverse=True) and len(errors) == 40 and not one["flips"]["further"]


def test_multi_label_rows_are_right_if_all_their_labels_are(runs):
    labels = evaluations.read(runs("labels", "tags"), "best").output.labels
    logits, others = 4 * labels - 2, 4 * labels - 2
    logits[:6, 0] *= -1
    found = result(runs("a", "tags", logits=logits), runs("b", "tags", logits=others))
    test = found["comparisons"][0]["test"]
    assert (test["better"], test["worse"]) == (6, 0)
    assert list(found["sides"][0]["scores"]) == ["f1", "accuracy", "f1_micro", "loss"]


def test_the_page_is_escaped_and_needs_nothing_else(runs, capsys):
    """Its texts may be anybody's."""
    places = [runs("a<i>", wrong=[0]), runs("b", wrong=[1])]
    for place in places:
        path = evaluations.examples_path(place, "validation")
        table = parquet.read_table(path)
        texts = pyarrow.array(["<script>alert(1)</script>"] * len(table), pyarrow.large_string())
        column = table.schema.get_field_index("text_0")
        evaluations.write(path, iter([table.set_column(column, table.schema.field(column), texts)]))
    assert compare.main([*map(str, places), "--format", "html"]) == 0
    page = capsys.readouterr().out
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page and "<script" not in page and "a&lt;i&gt;" in page
    assert not re.search(r"\b(src|href)=|https?:|url\(", page)
    assert "no evidence: 1 fixed, 1 broken" in page


def test_the_name_of_the_output_says_its_format(runs, tmp_path):
    places = [str(runs("a", wrong=[0])), str(runs("b", wrong=[1]))]
    for name, begins in (("x.html", "<!DOCTYPE html>"), ("x.json", "{"), ("x.txt", "A  ")):
        assert compare.main([*places, "--output", str(tmp_path / name)]) == 0
        assert (tmp_path / name).read_text(encoding="utf-8").startswith(begins)


def test_what_the_manifests_say_is_compared_too(runs):
    places = runs("a", wrong=[0]), runs("b", wrong=[1])
    manifest = json.loads((places[1] / "manifest.json").read_text())
    manifest["versions"]["torch"] = "1.0"
    manifest["data_fingerprint"]["train"] = "0123456789abcdef"
    manifest["git_revision"] = 40 * "f" + "-dirty"
    (places[1] / "manifest.json").write_text(json.dumps(manifest))
    found = {row["name"]: row["values"][1] for row in result(*places)["settings"]}
    assert found == {
        "versions torch": "1.0",
        "git_revision": 12 * "f" + "-dirty",
        "data_fingerprint train": "0123456789ab",
    }
