"""--folds: each run equals a separate one; stopped and diverged runs; what is refused."""

import csv
import errno
import json
import os
import re
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy
import pytest
from conftest import comparable, same_weights, some_pairs, undone, write_rows

import train
from pairft.runs import checkpoint, out_of_fold, seeds

FILES = ("out_of_fold.csv", "label_errors.csv", "summary.json")
ANSWERS = Path("evaluations") / "validation-step-00000003.parquet"  # of the last model
SHORT = ("--max-steps", 3, "--lr", "1e-3")


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def summary_of(group: Path) -> dict:
    return json.loads((group / "summary.json").read_text())


def test_the_summary_has_no_interval_of_scores_that_depend_on_each_other(made, capsys):
    group = made("--folds", 3, *SHORT)
    summary, printed = summary_of(group), capsys.readouterr().out
    losses = [
        json.loads((group / f"fold-{n}" / "results.json").read_text())["last"]["validation"]["loss"] for n in (1, 2, 3)
    ]
    found = summary["last"]["loss"]
    assert summary["folds"] == [1, 2, 3] and summary["diverged"] == []
    assert found["mean"] == pytest.approx(numpy.mean(losses)) and found["sd"] == pytest.approx(
        numpy.std(losses, ddof=1)
    )
    assert found["interval"] is None and "95 %" not in printed and "not independent" in printed


def test_a_fold_equals_a_separate_run(made, tmp_path):
    group = made("--folds", 3, *SHORT, name="group")
    config = group / "fold-2" / "config.yaml"
    assert train.main(["--config", str(config), "--run-name", "again"]) == 0
    fold, again = group / "fold-2", tmp_path / "runs" / "again"
    assert same_weights(fold, again)
    assert comparable(fold, "train") == comparable(again, "train")
    assert (fold / ANSWERS).read_bytes() == (again / ANSWERS).read_bytes()
    assert (again / "config.yaml").read_text() == config.read_text()
    about = [json.loads((run / "manifest.json").read_text())["data_fingerprint"] for run in (fold, group / "fold-1")]
    assert about[0] == about[1]


def test_folds_that_were_stopped_end_with_the_same_files(go, made, tmp_path, capsys, monkeypatch):
    whole, runs = made("--folds", 3, *SHORT, name="whole"), tmp_path / "runs"
    take, asked = checkpoint.take_snapshot, []

    def stopped_while_saving(run_dir, *arguments):
        if run_dir.name == "fold-2" and not asked:
            asked.append(os.kill(os.getpid(), signal.SIGTERM))
        return take(run_dir, *arguments)

    monkeypatch.setattr(checkpoint, "take_snapshot", stopped_while_saving)
    assert go("--folds", 3, *SHORT, "--save-every", 1, "--run-name", "a") == 143
    assert "resume all folds with: python train.py --resume --run-name a" in capsys.readouterr().err
    monkeypatch.undo()
    first = (runs / "a" / "fold-1" / "results.json").stat().st_mtime_ns
    for flags, said in ((("--folds", 4), "--folds is 4"), (("--max-steps", 9), "--max-steps")):
        assert go("--resume", "--run-name", "a", *flags) == 2
        assert said in capsys.readouterr().err
    assert go("--resume", "--run-name", "a") == 0
    assert (runs / "a" / "fold-1" / "results.json").stat().st_mtime_ns == first
    for name in FILES:
        assert (runs / "a" / name).read_text() == (whole / name).read_text()
    assert go("--resume", "--run-name", "a") == 0
    assert "is finished" in capsys.readouterr().err
    assert go("--resume", "--run-name", "a", "--epochs", 3) == 2
    assert "fold-1/last" in capsys.readouterr().err


def test_a_fold_killed_after_its_last_checkpoint_predicts_again(go, made, tmp_path):
    """Then no evaluation is due any more, whose answers could be kept."""
    whole = made("--folds", 2, *SHORT, name="whole")
    shutil.copytree(whole, tmp_path / "runs" / "killed")
    killed = tmp_path / "runs" / "killed"
    shutil.rmtree(killed / "fold-2")
    undone(whole / "fold-2", killed / "fold-2", 3)
    (killed / "fold-2" / ANSWERS).unlink()
    for name in FILES:
        (killed / name).unlink()
    assert go("--resume", "--run-name", "killed") == 0
    for name in FILES:
        assert (killed / name).read_text() == (whole / name).read_text()


def test_other_data_between_two_folds_is_refused(go, tmp_path, capsys, pairs_folder):
    shutil.copytree(pairs_folder, tmp_path / "pairs")
    assert go("--data", tmp_path / "pairs", "--folds", 2, *SHORT, "--run-name", "a") == 0
    (tmp_path / "runs" / "a" / "summary.json").unlink()
    shutil.rmtree(tmp_path / "runs" / "a" / "fold-2")
    file = tmp_path / "pairs" / "train.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:40]))
    assert go("--data", tmp_path / "pairs", "--resume", "--run-name", "a") == 2
    assert "the train split of the data is not the one" in capsys.readouterr().err
    assert not (tmp_path / "runs" / "a" / "fold-2").exists()


def test_a_fold_that_diverges_does_not_end_the_others(go, tmp_path, capsys, monkeypatch):
    plain = seeds.one_fold
    steep = lambda config, fold: replace(plain(config, fold), lr=1e30 if fold == 1 else 1e-3)  # noqa: E731
    monkeypatch.setattr(seeds, "one_fold", steep)
    assert go("--folds", 3, "--max-steps", 4, "--run-name", "a") == 3
    group = tmp_path / "runs" / "a"
    assert (summary_of(group)["folds"], summary_of(group)["diverged"]) == ([2, 3], [1])
    assert "diverged, and not counted: 1" in capsys.readouterr().out
    rows = rows_of(group / "out_of_fold.csv")
    assert {row["fold"] for row in rows} == {"2", "3"} and len({row["row"] for row in rows}) == len(rows) == 40


def test_the_rows_of_a_step_that_diverged_are_numbered_as_in_their_source(go, tmp_path, capsys):
    """Although rows before them are left out; no row of the fold that is held out is among them."""
    rows = some_pairs("train", 60)
    write_rows(tmp_path / "pairs" / "train.jsonl", [{**row, "sentence1": ""} for row in rows] + rows)
    flags = ("--data", tmp_path / "pairs", "--drop-bad-rows", "--folds", 2, "--max-steps", 4, "--lr", 1e30)
    assert go(*flags, "--run-name", "a") == 3
    first, second = re.findall(
        r"trains on the rows ([\d, ]+) of the training split \(counted from 1\)", capsys.readouterr().err
    )
    folds = [{int(number) for number in numbers.split(", ")} for numbers in (first, second)]
    assert min(folds[0] | folds[1]) > 60 and len(folds[0]) == 8 and not folds[0] & folds[1]


def test_a_full_disk_at_the_end_costs_no_training(go, tmp_path, capsys, monkeypatch):
    def fail(path, *_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(out_of_fold, "write_csv", fail)
    assert go("--folds", 2, *SHORT, "--run-name", "a") == 2
    assert "No space left" in capsys.readouterr().err
    monkeypatch.undo()
    (tmp_path / "runs" / "a" / "fold-1" / ANSWERS).unlink()
    assert go("--resume", "--run-name", "a") == 2
    message = capsys.readouterr().err
    assert f"{ANSWERS} is missing" in message
    (tmp_path / "runs" / "a" / "fold-1" / "results.json").unlink()
    assert go("--resume", "--run-name", "a") == 0
    assert len(rows_of(tmp_path / "runs" / "a" / "out_of_fold.csv")) == 60


def test_a_sentence_may_be_the_group(made):
    """Through to the files: all rows with one first sentence are in one fold."""
    group, folds = made("--folds", 3, "--group-column", "sentence1", *SHORT), {}
    sentences = [row["sentence1"] for row in some_pairs("train", 60)]
    for row in rows_of(group / "out_of_fold.csv"):
        folds.setdefault(sentences[int(row["row"]) - 1], set()).add(row["fold"])
    assert max(map(len, folds.values())) == 1 and len(rows_of(group / "out_of_fold.csv")) == 60


def test_a_mistake_in_the_data_leaves_nothing_behind(go, tmp_path, capsys):
    assert go("--folds", 2, "--group-column", "page", "--run-name", "a") == 2
    assert "has no column 'page'" in capsys.readouterr().err
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--folds", 1), "--folds is 1, but should be at least 2"),
        (("--folds", 3, "--seeds", "1,2"), "--folds and --seeds exclude each other"),
        (("--folds", 3, "--streaming", "--max-steps", 2), "--streaming and --folds exclude each other"),
        (("--group-column", "doc"), "--group-column keeps groups together in --folds: add --folds"),
        (("--folds", 3, "--group-column", "label"), "--group-column is 'label', which is the label column"),
        (("--folds", 3, "--group-column", ""), "--group-column is empty"),
    ],
)
def test_settings_that_do_not_go_with_folds(go, tmp_path, capsys, flags, said):
    assert go(*flags) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_fold_out_of_range_in_a_file(go, tmp_path, capsys):
    (tmp_path / "settings.yaml").write_text("folds: 3\nfold: 4\n")
    assert go("--config", tmp_path / "settings.yaml") == 2
    assert "the setting fold is 4, but should be from 1 to the number of --folds (3)" in capsys.readouterr().err


def test_a_validation_share_has_no_effect_on_folds(go, capsys):
    assert go("--folds", 2, "--validation-share", 0.3, "--max-steps", 1) == 0
    assert capsys.readouterr().err.count("note: --validation-share 0.3 has no effect: --folds is given") == 1
