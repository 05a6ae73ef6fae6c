"""Settings of a run's seed and place arrive, as in test_settings.py."""

import csv

from conftest import some_pairs, write_rows
from test_settings import config_of, losses


def test_seed_arrives(made):
    """The head, the order of the examples and the dropout masks."""
    flags = ("--max-steps", 2, "--log-every", 1)
    one, other, again = (
        losses(made(*flags, "--seed", seed, name=name)) for seed, name in ((1, "a"), (2, "b"), (1, "c"))
    )
    assert one == again and one[0] != other[0]


def test_seeds_arrives(made):
    run = made("--seeds", "3,5", "--max-steps", 1)
    assert sorted(path.name for path in run.glob("seed-*")) == ["seed-3", "seed-5"]
    assert [config_of(run / name)["seed"] for name in ("seed-3", "seed-5")] == [3, 5]


def test_folds_arrives(made):
    run = made("--folds", 3, "--max-steps", 1)
    assert sorted(path.name for path in run.glob("fold-*")) == ["fold-1", "fold-2", "fold-3"]
    assert (run / "out_of_fold.csv").exists() and (run / "label_errors.csv").exists()


def test_fold_arrives(made, tmp_path):
    """A setting of a file, without a flag: one run of a cross-validation."""
    (tmp_path / "settings.yaml").write_text("folds: 3\nfold: 2\n")
    run = made("--config", tmp_path / "settings.yaml", "--max-steps", 1)
    assert not (run / "out_of_fold.csv").exists() and config_of(run)["fold"] == 2


def test_group_column_arrives(made, tmp_path):
    rows = [{**row, "doc": n % 10} for n, row in enumerate(some_pairs("train", 60))]
    write_rows(tmp_path / "pairs.jsonl", rows)
    run = made("--data", tmp_path / "pairs.jsonl", "--folds", 3, "--group-column", "doc", "--max-steps", 1)
    with (run / "out_of_fold.csv").open(newline="") as file:
        found = {(row["fold"], (int(row["row"]) - 1) % 10) for row in csv.DictReader(file)}
    assert len(found) == 10


def test_runs_dir_arrives(go, tmp_path):
    assert go("--runs-dir", tmp_path / "elsewhere", "--run-name", "x", "--max-steps", 1) == 0
    assert (tmp_path / "elsewhere" / "x" / "results.json").exists()


def test_run_name_arrives(made):
    assert (made("--max-steps", 1, name="my run") / "results.json").exists()


def test_resume_arrives(made, go, capsys):
    (made("--max-steps", 2) / "results.json").unlink()
    assert go("--resume", "--run-name", "a", "--max-steps", 3) == 0
    assert "from step 2" in capsys.readouterr().err
