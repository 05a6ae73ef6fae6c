"""--folds: each row is predicted once, by a run that equals a separate one, and labels that were flipped are found."""

import csv
import errno
import json
import os
import random
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy
import pytest
from conftest import comparable, same_weights, some_pairs, undone, write_rows
from sklearn.metrics import accuracy_score, f1_score, log_loss

import train
from pairft import predict
from pairft.runs import checkpoint, out_of_fold, seeds

FILES = ("out_of_fold.csv", "label_errors.csv", "summary.json")
SHORT = ("--max-steps", 3, "--lr", "1e-3")


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def summary_of(group: Path) -> dict:
    return json.loads((group / "summary.json").read_text())


@pytest.fixture
def flipped(tmp_path: Path) -> tuple[Path, set[int]]:
    """120 pairs whose second sentence begins with the word that decides the label, except in eight rows. Their numbers,
    counted from 1."""
    draw, rows = random.Random(0), []
    words = ["governor", "minister", "moscow", "dublin", "weather", "although", "before", "july", "august"]
    for number in range(120):
        second = [("rangers", "falcons")[number % 2], *draw.choices(words, k=4)]
        rows.append([" ".join(draw.choices(words, k=5)), " ".join(second), ("no", "yes")[number % 2]])
    wrong = draw.sample(range(120), 8)
    for number in wrong:
        rows[number][2] = {"no": "yes", "yes": "no"}[rows[number][2]]
    with (tmp_path / "flipped.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("a", "b", "y"), *rows])
    return tmp_path / "flipped.csv", {number + 1 for number in wrong}


def test_labels_that_were_flipped_are_found(made, flipped):
    data, wrong = flipped
    group = made(
        *("--task", "custom", "--data", data, "--text-columns", "a,b", "--label-column", "y", "--folds", 3),
        *("--epochs", 8, "--lr", "3e-3", "--eval-every", "never"),
    )
    found, source = rows_of(group / "label_errors.csv"), rows_of(data)
    assert {int(row["row"]) for row in found} == wrong
    for row in found:
        assert (row["a"], row["b"], row["label"]) == tuple(source[int(row["row"]) - 1].values())
        assert row["predicted"] != row["label"] and float(row["label_probability"]) < 0.5
    assert [float(row["label_probability"]) for row in found] == sorted(
        float(row["label_probability"]) for row in found
    )
    assert summary_of(group)["label_errors"] == 8


def test_each_row_is_predicted_once_by_the_last_model_of_its_fold(made, pairs_folder, tmp_path, capsys):
    group = made("--folds", 3, "--epochs", 2, "--lr", "1e-3", "--eval-every", 2)
    printed = capsys.readouterr().out
    rows = rows_of(group / "out_of_fold.csv")
    source = [json.loads(line) for line in (pairs_folder / "train.jsonl").read_text().splitlines()]
    assert [int(row["row"]) for row in rows] == list(range(1, 61))
    names = ("not_equivalent", "equivalent")
    assert [row["label"] for row in rows] == [names[row["label"]] for row in source]
    assert "sentence1" not in rows[0]
    for fold in (1, 2, 3):
        held = [number for number, row in enumerate(rows) if row["fold"] == str(fold)]
        write_rows(tmp_path / f"{fold}.jsonl", [source[number] for number in held])
        flags = ["--data", tmp_path / f"{fold}.jsonl", "--output", tmp_path / f"{fold}.csv", "--device", "cpu"]
        assert predict.main(["--model", str(group / f"fold-{fold}" / "last"), *map(str, flags)]) == 0
        for row, number in zip(rows_of(tmp_path / f"{fold}.csv"), held, strict=True):
            assert rows[number]["predicted"] == row["label"]
            for name in names:
                assert float(rows[number][f"probability_{name}"]) == pytest.approx(float(row[f"probability_{name}"]))
    labels, predicted = ([row[which] for row in rows] for which in ("label", "predicted"))
    probabilities = [float(row["probability_equivalent"]) for row in rows]
    scores = summary_of(group)["out_of_fold"]
    assert scores["rows"] == 60
    assert scores["accuracy"] == accuracy_score(labels, predicted)
    assert scores["f1"] == f1_score(labels, predicted, pos_label="equivalent")
    assert scores["loss"] == pytest.approx(log_loss([name == "equivalent" for name in labels], probabilities))
    assert f"out_of_fold.csv: 60 rows, together loss {scores['loss']:.4f}  accuracy {scores['accuracy']:.4f}" in printed


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
    assert (fold / out_of_fold.FILE).read_bytes() == (again / out_of_fold.FILE).read_bytes()
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
    (killed / "fold-2" / out_of_fold.FILE).unlink()
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


def test_a_full_disk_at_the_end_costs_no_training(go, tmp_path, capsys, monkeypatch):
    def fail(path, *_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(out_of_fold, "write_csv", fail)
    assert go("--folds", 2, *SHORT, "--run-name", "a") == 2
    assert "No space left" in capsys.readouterr().err
    monkeypatch.undo()
    (tmp_path / "runs" / "a" / "fold-1" / out_of_fold.FILE).unlink()
    assert go("--resume", "--run-name", "a") == 2
    message = capsys.readouterr().err
    assert f"{out_of_fold.FILE} is missing or damaged: remove" in message
    (tmp_path / "runs" / "a" / "fold-1" / "results.json").unlink()
    assert go("--resume", "--run-name", "a") == 0
    assert len(rows_of(tmp_path / "runs" / "a" / "out_of_fold.csv")) == 60


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


def test_row_numbers_are_those_of_the_source(made, tmp_path):
    rows = some_pairs("train", 30)
    rows[4]["label"] = None
    write_rows(tmp_path / "pairs.jsonl", rows)
    group = made("--data", tmp_path / "pairs.jsonl", "--drop-bad-rows", "--limit", 20, "--folds", 2, "--max-steps", 1)
    assert [int(row["row"]) for row in rows_of(group / "out_of_fold.csv")] == [n for n in range(1, 22) if n != 5]


def test_a_regression_and_multi_label_rows(made, tmp_path):
    pairs = some_pairs("train", 24)
    sets = (["x"], ["x", "y"], [], ["y"])
    values = [{**row, "label": n / 4} for n, row in enumerate(pairs)]
    lists = [{**row, "label": sets[n % 4]} for n, row in enumerate(pairs)]
    flags = ("--task", "custom", "--text-columns", "sentence1,sentence2", "--folds", 3, "--max-steps", 2)
    write_rows(tmp_path / "values.jsonl", values)
    rows = rows_of(made("--data", tmp_path / "values.jsonl", *flags, name="values") / "out_of_fold.csv")
    assert list(rows[0]) == ["row", "fold", "label", "predicted"]
    assert [float(row["label"]) for row in rows] == [row["label"] for row in values]
    write_rows(tmp_path / "lists.jsonl", lists)
    group = made("--data", tmp_path / "lists.jsonl", *flags, name="lists")
    rows = rows_of(group / "out_of_fold.csv")
    assert [row["label"] for row in rows] == [", ".join(row["label"]) for row in lists]
    for row in rows:
        likely = [name for name in "xy" if float(row[f"probability_{name}"]) > 0.5]
        assert row["predicted"] == ", ".join(likely)
    assert summary_of(group)["out_of_fold"].keys() == {"rows", "loss", "f1", "f1_micro", "accuracy"}
