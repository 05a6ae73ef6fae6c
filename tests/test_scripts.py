"""The scripts of benchmarks/, in small: they run, and find what the documents say they find."""

import json
import subprocess
import sys

import pytest
from conftest import ROOT

pytestmark = pytest.mark.slow


def run_script(name: str, *flags: object) -> str:
    command = [sys.executable, str(ROOT / "benchmarks" / name), *map(str, flags)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_killed_runs_end_like_the_one_that_was_not():
    assert run_script("kill.py", "--runs", 4, "--seed", 1).splitlines()[-1] == "4/4 identical"


def test_the_table_of_accumulation_is_current():
    path = ROOT / "docs" / "parity.md"
    before = path.read_text(encoding="utf-8")
    run_script("accumulation.py")
    assert path.read_text(encoding="utf-8") == before


def test_the_comparison_runs(tmp_path):
    run_script("compare_trainer.py", "--job", 1, "--repeats", 1, "--json", tmp_path / "found.json")
    [job] = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))["jobs"]
    assert {side: len(runs) for side, runs in job["sides"].items()} == {
        "Trainer": 1,
        "Trainer, by length": 1,
        "pairft": 1,
    }
    assert all(run["steps"] == 60 for runs in job["sides"].values() for run in runs)
