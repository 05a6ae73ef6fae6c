"""SIGKILL at random moments, by the script that measures it; benchmarks/kill.py alone does thirty."""

import subprocess
import sys

import pytest
from conftest import ROOT


@pytest.mark.slow
def test_killed_runs_end_like_the_one_that_was_not():
    command = [sys.executable, str(ROOT / "benchmarks" / "kill.py"), "--runs", "4", "--seed", "1"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.splitlines()[-1] == "4/4 identical"
