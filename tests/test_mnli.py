"""MNLI's two validation splits: both are scored at each evaluation, and the matched one decides; and AX, which has no
training data."""

import json
import re
from pathlib import Path

import datasets
import pytest
from conftest import comparable, read_lines, same_weights, undone, write_rows
from test_glue import GLUE, SCORES, SHORT, glue_rows, predicted, values, write_glue

from pairft import predict
from pairft.config import Config
from pairft.data.pairs import load_pairs
from pairft.errors import UserError


@pytest.fixture
def mnli(go, wild_model, tmp_path, capsys) -> Path:
    """A run on MNLI, evaluated three times."""
    folder = write_glue(tmp_path / "data", "mnli")
    flags = ("--lr", "1e-2", "--epochs", 3, "--save-every", 2, "--run-name", "mnli")
    assert go("--model", wild_model, "--data", folder, "--task", "mnli", *flags) == 0
    return tmp_path / "runs" / "mnli"


def test_both_validation_splits_are_scored_and_the_matched_one_decides(mnli, capsys):
    results = json.loads((mnli / "results.json").read_text())
    matched, mismatched = (read_lines(mnli, split) for split in ("validation", "validation_mismatched"))
    assert [line["step"] for line in matched] == [line["step"] for line in mismatched] == [3, 6, 9]
    assert all(line.keys() == {"split", "step", "epoch", "loss", "accuracy"} for line in (*matched, *mismatched))
    best = max(matched, key=lambda line: line["accuracy"])  # of equals the first
    assert results["best"]["step"] == best["step"]
    for which, step in (("best", best["step"]), ("last", 9)):
        for split, lines in (("validation", matched), ("validation_mismatched", mismatched)):
            [line] = [line for line in lines if line["step"] == step]
            assert results[which][split] == {name: line[name] for name in ("loss", "accuracy")}
        card = (mnli / which / "README.md").read_text()
        assert "| metric | validation | validation_mismatched |" in card
        scores = (results[which][split]["accuracy"] for split in ("validation", "validation_mismatched"))
        assert "| accuracy | {:.4f} | {:.4f} |".format(*scores) in card
    table = [line for line in capsys.readouterr().out.splitlines() if re.match(r" +\d", line)]
    assert [line.split()[3] for line in table] == [f"{line['accuracy']:.4f}" for line in matched]
    manifest = json.loads((mnli / "manifest.json").read_text())
    assert list(manifest["data_fingerprint"]) == ["train", "validation", "validation_mismatched", "test"]


def test_the_mismatched_split_does_not_decide(go, tmp_path):
    """Matched: the training pairs with other labels, so that learning makes it worse. Mismatched: those pairs."""
    rows = [{**row, "premise": "abc"[row["label"]]} for row in glue_rows("train", 24, *GLUE["mnli"])]
    others = [{**row, "label": (row["label"] + 1) % 3} for row in rows]
    for split, found in (("train", rows), ("validation_matched", others), ("validation_mismatched", rows)):
        write_rows(tmp_path / "data" / f"{split}.jsonl", found)
    flags = ("--lr", "3e-3", "--epochs", 10, "--save-every", "never", "--run-name", "a")
    assert go("--data", tmp_path / "data", "--task", "mnli", *flags) == 0
    run = tmp_path / "runs" / "a"
    best = {
        split: max(read_lines(run, split), key=lambda line: line["accuracy"])["step"]
        for split in ("validation", "validation_mismatched")
    }
    assert best["validation"] < best["validation_mismatched"]
    assert json.loads((run / "results.json").read_text())["best"]["step"] == best["validation"]


@pytest.mark.parametrize("preset", [(), ("--preset", "trainer")])
def test_a_resume_is_exact_with_two_validation_splits(preset, go, wild_model, tmp_path):
    folder, whole, killed = tmp_path / "data", tmp_path / "runs" / "whole", tmp_path / "runs" / "killed"
    write_glue(folder, "mnli")
    flags = ("--lr", "1e-2", "--epochs", 3, "--save-every", 4, *preset, "--run-name", "whole")
    assert go("--model", wild_model, "--data", folder, "--task", "mnli", *flags) == 0
    undone(whole, killed, 4)
    flags = ("--model", wild_model, "--data", folder, "--resume", "--run-name", "killed")
    assert go(*flags) == 0
    assert same_weights(whole, killed)
    for split in ("train", "validation", "validation_mismatched"):
        assert comparable(whole, split) == comparable(killed, split)
    before, after = (json.loads((run / "results.json").read_text()) for run in (whole, killed))
    assert (before["best"], before["last"]) == (after["best"], after["last"])


def test_a_resume_refuses_another_mismatched_split(mnli, go, wild_model, tmp_path, capsys):
    undone(mnli, tmp_path / "runs" / "killed", 4)
    other = glue_rows("validation", 9, *GLUE["mnli"])
    file = tmp_path / "data" / "validation_mismatched-00000-of-00001.parquet"
    features = datasets.Dataset.from_parquet(str(file)).features
    datasets.Dataset.from_list(other, features=features).to_parquet(file)
    flags = ("--model", wild_model, "--data", tmp_path / "data", "--resume", "--run-name", "killed")
    assert go(*flags) == 2
    assert "the validation_mismatched split" in capsys.readouterr().err


def test_a_resume_names_a_split_that_was_added(go, wild_model, tmp_path, capsys):
    folder, runs = write_glue(tmp_path / "data", "mnli", "jsonl"), tmp_path / "runs"
    added = (folder / "validation_mismatched.jsonl").rename(tmp_path / "aside.jsonl")
    flags = ("--model", wild_model, "--data", folder)
    assert go(*flags, "--task", "mnli", "--epochs", 2, "--save-every", 2, "--run-name", "whole") == 0
    undone(runs / "whole", runs / "killed", 2)
    added.rename(folder / "validation_mismatched.jsonl")
    capsys.readouterr()
    assert go(*flags, "--resume", "--run-name", "killed") == 2
    message = capsys.readouterr().err
    assert f"the data has a validation_mismatched split, but {runs / 'killed'} was started without one" in message
    (folder / "validation_mismatched.jsonl").unlink()
    assert go(*flags, "--resume", "--run-name", "killed") == 0
    assert same_weights(runs / "whole", runs / "killed")


def test_mnli_knows_the_names_of_its_dev_splits(tmp_path, capsys):
    folder = write_glue(tmp_path / "data", "mnli", "jsonl")
    for split in ("matched", "mismatched"):
        (folder / f"validation_{split}.jsonl").rename(folder / f"dev_{split}.jsonl")
    found = load_pairs(Config(task="mnli", data=str(folder)))
    wanted = {"train": 24, "validation": 12, "validation_mismatched": 10, "test": 5}
    assert {split: len(rows) for split, rows in found.splits.items()} == wanted
    write_rows(folder / "validation_matched.jsonl", glue_rows("validation", 7, *GLUE["mnli"]))
    assert len(load_pairs(Config(task="mnli", data=str(folder))).splits["validation"]) == 7
    assert "more than one validation split: validation_matched is used, not dev_matched" in capsys.readouterr().err
    (folder / "validation_matched.jsonl").unlink()
    with pytest.raises(
        UserError, match=r"no split named validation, but dev_matched.jsonl, dev_mismatched.jsonl: name"
    ):
        load_pairs(Config(task="nli", data=str(folder)))
    (folder / "dev_matched.jsonl").unlink()
    with pytest.raises(UserError, match=r"no split named validation, but dev_mismatched.jsonl: name the one"):
        load_pairs(Config(task="mnli", data=str(folder)))


def test_a_folder_of_mnli_may_have_the_plain_names(go, tmp_path, capsys):
    for split in ("train", "validation", "test"):
        write_rows(tmp_path / "data" / f"{split}.jsonl", glue_rows(split, 12, *GLUE["mnli"]))
    assert go("--data", tmp_path / "data", "--task", "mnli", *SHORT) == 0
    assert not read_lines(tmp_path / "runs" / "a", "validation_mismatched")
    assert "| metric | value |" in (tmp_path / "runs" / "a" / "last" / "README.md").read_text()
    (tmp_path / "data" / "validation.jsonl").unlink()
    assert go("--data", tmp_path / "data", "--task", "mnli", *SHORT[:-1], "b") == 0
    assert "has no validation split" in capsys.readouterr().err


def test_a_file_for_each_split(go, tmp_path):
    folder = write_glue(tmp_path / "data", "mnli", "jsonl")
    splits = ("train", "validation_matched", "validation_mismatched")
    data = ",".join(f"{split}={folder / split}.jsonl" for split in splits)
    assert go("--data", data, "--task", "mnli", *SHORT) == 0
    manifest = json.loads((tmp_path / "runs" / "a" / "manifest.json").read_text())
    assert list(manifest["data_fingerprint"]) == ["train", "validation", "validation_mismatched"]


def test_the_splits_of_the_hub(tmp_path, monkeypatch):
    """As nyu-mll/glue has them: each is read from its own, and of the two test splits the matched one."""
    folder, asked = write_glue(tmp_path / "data", "mnli"), []

    def load_dataset(*names, revision):
        asked.append(names)
        files = {path.name.split("-")[0]: str(path) for path in folder.iterdir()}
        return datasets.DatasetDict({split: datasets.Dataset.from_parquet(file) for split, file in files.items()})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    found = load_pairs(Config(task="mnli"))
    assert asked == [("nyu-mll/glue", "mnli")]
    wanted = {"train": 24, "validation": 12, "validation_mismatched": 10, "test": 5}
    assert {split: len(rows) for split, rows in found.splits.items()} == wanted


def test_ax_is_predicted_by_a_model_of_mnli_and_not_trained(mnli, go, tmp_path, capsys):
    capsys.readouterr()
    assert go("--task", "ax") == 2
    error = capsys.readouterr().err
    assert "--task ax has no training data" in error and "--task mnli" in error
    assert "python -m pairft.predict --task ax --model" in error
    columns, names = GLUE["mnli"]
    features = datasets.Dataset.from_parquet(str(next((tmp_path / "data").glob("test_matched*")))).features
    rows = datasets.Dataset.from_list(glue_rows("test", 7, columns, names), features=features)
    rows.to_csv(tmp_path / "ax.csv")  # as docs/recipes.md says; the Hub's labels are all -1
    answers, printed = predicted(capsys, mnli, tmp_path / "ax.csv", tmp_path / "out.jsonl", "best", "--task", "ax")
    assert len(answers) == 7 and printed == "" and {answer["label"] for answer in answers} <= set(names or ())


def test_the_task_given_to_predict_chooses_the_metrics(mnli, tmp_path, capsys):
    columns, names = GLUE["mnli"]
    rows = glue_rows("validation", 12, columns, names)
    write_rows(tmp_path / "ax.jsonl", rows)
    flags = (capsys, mnli, tmp_path / "ax.jsonl", tmp_path / "out.jsonl", "last")
    answers, own = predicted(*flags)
    assert "accuracy" in own and predicted(*flags, "--task", "mnli") == (answers, own)
    same, printed = predicted(*flags, "--task", "ax")
    matthews = SCORES["matthews"](values(answers, names), [row["label"] for row in rows])
    assert same == answers and f"matthews {matthews:.4f}" in printed and "accuracy" not in printed


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (
            ("--data", "ax.jsonl", "--task", "rte"),
            "--task is 'rte', but {} was trained on mnli: leave the flag out, or ",
        ),
        (("--data", "ax.jsonl", "--task", "rte"), "choose one of: mnli, ax"),
        (("--text", "a", "b", "--task", "ax"), "--task chooses the metrics of --data: leave it out with --text"),
    ],
)
def test_tasks_that_predict_refuses(flags, said, mnli, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "ax.jsonl", glue_rows("validation", 3, *GLUE["mnli"]))
    assert predict.main(["--model", str(mnli / "best"), *flags]) == 2
    assert said.format(mnli / "best") in capsys.readouterr().err


def test_the_scores_of_both_splits_are_in_the_summary_and_at_the_end(go, wild_model, tmp_path, capsys):
    folder = write_glue(tmp_path / "data", "mnli")
    flags = ("--lr", "1e-2", "--epochs", 2, "--run-name", "a", "--seeds", "1,2")
    assert go("--model", wild_model, "--data", folder, "--task", "mnli", *flags) == 0
    group, printed = tmp_path / "runs" / "a", capsys.readouterr().out.splitlines()
    summary = json.loads((group / "summary.json").read_text())
    runs = [json.loads((group / f"seed-{seed}" / "results.json").read_text()) for seed in (1, 2)]
    for which in ("last", "best"):
        assert list(summary[which]) == ["loss", "accuracy", "loss_mismatched", "accuracy_mismatched"]
        for name, found in summary[which].items():
            split = "validation" + ("_mismatched" if "mismatched" in name else "")
            scores = [run[which][split][name.removesuffix("_mismatched")] for run in runs]
            assert (found["min"], found["max"]) == (min(scores), max(scores))
            assert found["mean"] == pytest.approx(sum(scores) / 2)
            [line] = [line for line in printed if line.split()[:2] == [which, name]]
            assert f"{found['mean']:.4f}" in line
    for run in runs:
        best, last = (run[which]["validation_mismatched"] for which in ("best", "last"))
        assert (
            f"validation_mismatched: best loss {best['loss']:.4f}  accuracy {best['accuracy']:.4f}, "
            f"last loss {last['loss']:.4f}  accuracy {last['accuracy']:.4f}" in printed
        )
