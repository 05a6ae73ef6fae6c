"""Settings of a run's seed and place arrive, as in test_settings.py."""

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


def test_runs_dir_arrives(go, tmp_path):
    assert go("--runs-dir", tmp_path / "elsewhere", "--run-name", "x", "--max-steps", 1) == 0
    assert (tmp_path / "elsewhere" / "x" / "results.json").exists()


def test_run_name_arrives(made):
    assert (made("--max-steps", 1, name="my run") / "results.json").exists()


def test_resume_arrives(made, go, capsys):
    (made("--max-steps", 2) / "results.json").unlink()
    assert go("--resume", "--run-name", "a", "--max-steps", 3) == 0
    assert "from step 2" in capsys.readouterr().err
