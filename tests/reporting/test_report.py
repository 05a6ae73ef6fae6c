"""report.html, written by the real entry points after training tiny models."""

import json
import re
import resource
import shutil
import sys

import pytest
import reports
from conftest import read_lines, some_pairs, write_rows
from pyarrow import parquet
from reports import OF_CLASSES, OF_TRAINING, OF_VALUES, SHORT, page_of

import train
from pairft import report
from pairft.config import Config
from pairft.reporting.ending import reported
from pairft.runs import bootstrap, evaluations


@pytest.fixture(scope="module")
def trained(tmp_path_factory, wild_model, pairs_folder):
    """A run of six steps with its report. Copy it before you change it."""
    runs = tmp_path_factory.mktemp("reports")
    flags = ["--model", wild_model, "--data", pairs_folder, "--runs-dir", runs, "--run-name", "a", "--device", "cpu"]
    assert train.main([str(flag) for flag in (*flags, *SHORT, "--lr", "1e-3")]) == 0
    return runs / "a"


@pytest.fixture
def copied(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "copy")


def test_report_arrives(trained, made):
    assert page_of(trained).charts == OF_TRAINING | OF_CLASSES
    assert not (made("--max-steps", 1, "--no-report") / "report.html").exists()


def test_the_outcome_is_the_best_score_with_its_interval(trained):
    best = json.loads((trained / "results.json").read_text())["best"]
    output = evaluations.read(trained, "best").output
    low, high = bootstrap.interval(bootstrap.resampled_scores(["f1"], [output], positive=1)["f1"][0])
    text = page_of(trained).text
    f1 = best["validation"]["f1"]
    assert f"F1 of “equivalent” is {f1:.3f} on 20 validation pairs (95 % interval {low:.3f} to {high:.3f})" in text
    positives = int((output.labels == 1).sum())
    assert f"always answering “equivalent” would give {2 * positives / (20 + positives):.3f}." in text
    assert f"step {best['step']} of 6" in text and "the best of 2 evaluations, by f1 on these same examples" in text


def test_it_holds_the_mistakes_the_settings_and_how_to_use_the_model(trained):
    text = page_of(trained).text
    found = evaluations.read(trained, "best")
    wrong = found.output.predictions() != found.output.labels
    surest = int((found.probabilities.max(axis=1) * wrong).argmax())
    [(first, second)] = found.texts_of([surest])
    assert first in text and second in text and f"row {found.rows[surest]}: label" in text
    assert f"Of {wrong.sum()} wrong answers" in text
    changed, others = text.split("All other settings")
    assert re.search(r"max_steps 6 none", changed) and re.search(r"batch_size 8", others)
    assert f"python -m pairft.predict --model {trained}/best --text" in text
    assert "torch 2." in text and "What the audit found" in text


def test_the_python_lines_run(trained, capsys):
    lines = re.search(r"import pairft .*?\)(?= new\.csv)", page_of(trained).text)[0]
    for line in ("import pairft", "model =", "answers =", "print("):
        lines = lines.replace(f" {line}", f"\n{line}")
    exec(lines, {})
    assert "equivalent" in capsys.readouterr().out


@pytest.mark.parametrize("kind", reports.KINDS)
def test_every_kind_of_labels_has_a_report(kind, made, tmp_path, wild_model):
    run = made(*reports.data_of(tmp_path / "data", kind), "--model", wild_model, *SHORT)
    found = page_of(run)
    assert found.charts == OF_TRAINING | (OF_VALUES if kind == "regression" else OF_CLASSES)
    assert "32 validation " + ("sentences" if kind == "many" else "pairs") in found.text
    assert ("Confusion matrix" in found.text) == (kind == "three")
    assert ("Most frequent confusions" in found.text) == (kind == "many")
    assert ("The largest errors" if kind == "regression" else "The most confident mistakes") in found.text


def test_the_command_writes_the_same_report(trained, tmp_path, capsys):
    assert report.main([str(trained), "--output", str(tmp_path / "again.html")]) == 0
    assert capsys.readouterr().out == f"wrote {tmp_path / 'again.html'}\n"
    assert (tmp_path / "again.html").read_bytes() == (trained / "report.html").read_bytes()


def test_a_resumed_run_has_the_curves_of_the_whole_run(made, go):
    run = made("--max-steps", 4, "--log-every", 1, "--save-every", 2, "--eval-every", 2, "--report")
    shutil.rmtree(run / "last")
    (run / "results.json").unlink()
    assert go("--run-name", "a", "--resume", "--max-steps", 6, "--report") == 0
    found, lines = page_of(run), read_lines(run, "validation")
    shown = " ".join(f"{line['step']} {line['epoch']:.2f} {line['loss']:.4f}.*" for line in lines)
    assert [line["step"] for line in lines] == [2, 4, 6] and re.search(shown, found.text)
    assert "of 6 (epoch" in found.text and found.charts == OF_TRAINING | OF_CLASSES


def test_a_run_of_older_code_has_a_report_without_its_answers(copied, capsys):
    shutil.rmtree(copied / "evaluations")
    (copied / "report.html").unlink()
    assert report.main([str(copied)]) == 0
    assert "left out: intervals, mistakes, confusions and calibration" in capsys.readouterr().out
    found = page_of(copied)
    assert found.charts == OF_TRAINING and "Left out, since files are missing or damaged" in found.text
    best = json.loads((copied / "results.json").read_text())["best"]
    assert f"F1 of “equivalent” is {best['validation']['f1']:.3f} on 20 validation pairs." in found.text


@pytest.mark.parametrize("damage", [None, b'{"step": \xff\n'])
def test_what_is_missing_or_damaged_is_left_out(copied, capsys, damage):
    for name in ("metrics.jsonl", "audit.json", "manifest.json"):
        (copied / name).unlink()
        if damage:
            (copied / name).write_bytes(damage)
    assert report.main([str(copied)]) == 0
    printed, how = capsys.readouterr().out, "damaged" if damage else "missing"
    assert f"left out: what is wrong with the data: audit.json is {how}" in printed
    assert f"left out: versions and machine: manifest.json is {how}" in printed
    assert f"left out: curves: metrics.jsonl is {how}" in printed
    assert page_of(copied).charts == OF_CLASSES


def test_damaged_answers_are_left_out(copied, capsys):
    """Even if only the sentences are damaged, which are read last."""
    path = evaluations.examples_path(copied, "validation")
    columns = parquet.ParquetFile(path).metadata.row_group(0)
    places = {columns.column(n).path_in_schema: columns.column(n) for n in range(columns.num_columns)}
    content, start = bytearray(path.read_bytes()), places["text_1"].dictionary_page_offset
    content[start : start + 60] = bytes(60)
    path.write_bytes(content)
    assert report.main([str(copied)]) == 0
    assert f"left out: intervals, mistakes, confusions and calibration: {path} is damaged" in capsys.readouterr().out
    assert page_of(copied).charts == OF_TRAINING


def test_one_step_and_one_example(made, tmp_path):
    """The axis of the steps has a single number, not one for each tick."""
    run = made("--max-steps", 1, "--log-every", 1, "--report", name="a")
    assert " 1 1 " not in page_of(run).text.split("Gradient norm")[1]
    [row] = some_pairs("validation", 1)
    for split, rows in (("train", some_pairs("train", 16)), ("validation", [row])):
        write_rows(tmp_path / "few" / f"{split}.jsonl", rows)
    run = made("--data", tmp_path / "few", "--max-steps", 1, "--report", name="b")
    assert "on 1 validation pair (" in page_of(run).text


def test_what_is_no_finished_run_is_named(tmp_path, copied, capsys):
    assert report.main([str(tmp_path / "none")]) == 2
    assert "none is no run directory: it has no config.yaml" in capsys.readouterr().err
    (copied / "results.json").unlink()
    assert report.main([str(copied)]) == 2
    assert "its training has not finished; --resume completes it" in capsys.readouterr().err
    (copied / "results.json").write_text('{"best": null}')
    assert report.main([str(copied)]) == 2
    assert "results.json is missing or damaged" in capsys.readouterr().err
    assert report.main([str(copied), "--output", str(tmp_path / "no" / "a.html")]) == 2
    assert "name a file, in a folder that exists" in capsys.readouterr().err


def test_a_report_that_fails_is_a_warning(go, tmp_path, capsys, monkeypatch):
    """Here a part of it can't be imported. The run is finished all the same, and the warning shows how to make up for
    it."""
    monkeypatch.setitem(sys.modules, "pairft.reporting.page", None)
    assert go(*SHORT, "--run-name", "a") == 0
    run = tmp_path / "runs" / "a"
    error = capsys.readouterr().err
    assert "warning: no report.html (import of pairft.reporting.page halted" in error
    assert f"python -m pairft.report {run}" in error
    assert (run / "results.json").exists() and not [*run.glob("*report*")]


def test_a_full_disk_costs_the_report_alone(copied, capsys):
    """The limit on the size of a file stands for a full disk."""
    before = (copied / "report.html").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))
    try:
        assert reported(0, Config(), copied) == 0
        assert report.main([str(copied)]) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    error = capsys.readouterr().err
    assert "warning: no report.html (" in error and "File too large; make room or choose another --output" in error
    assert (copied / "report.html").read_bytes() == before and not [*copied.glob(".*report*")]


@pytest.mark.parametrize("kind", ["seed", pytest.param("fold", marks=pytest.mark.slow)])
def test_several_runs_have_a_report_together(made, kind):
    flags = ("--seeds", "1,2") if kind == "seed" else ("--folds", 2)
    group = made(*flags, "--max-steps", 2, "--report")
    found = page_of(group)
    summary = json.loads((group / "summary.json").read_text())["last"]["f1"]
    assert f"F1 of “equivalent” is {summary['mean']:.3f} on average over 2 {kind}s" in found.text
    assert ("95 % interval of the mean " + "{:.3f} to {:.3f}".format(*summary["interval"] or (0, 0)) in found.text) == (
        kind == "seed"
    )
    assert ("out_of_fold.csv" in found.text) == (kind == "fold") and "spread" in found.values("id")
    links = [link for link in found.values("href") if link.endswith("report.html")]
    assert links == [f"{kind}-1/report.html", f"{kind}-2/report.html"] and all(
        (group / link).is_file() for link in links
    )


def test_a_run_that_ends_early_says_why_and_a_dry_run_has_no_report(go, made, tmp_path, capsys):
    run = made("--patience", 1, "--epochs", 20, "--lr", "1e-9", "--report")
    stopped = json.loads((run / "results.json").read_text())["stopped_early"]
    assert f"Training ended early, after step {stopped['step']}: {stopped['reason']}." in page_of(run).text
    capsys.readouterr()
    assert go("--dry-run", "--report", "--run-name", "b") == 0
    assert "report.html" not in capsys.readouterr().err
