"""The report of a run in several processes: rank 0 writes it once, and its failure ends none of them otherwise."""

import pytest

pytestmark = pytest.mark.distributed


def test_one_process_writes_the_report(torchrun, tmp_path):
    code, errors = torchrun.run(2, "--epochs", 1, "--report", "--run-name", "a")
    run = tmp_path / "runs" / "a"
    assert code == 0 and errors.count(f"report: {run / 'report.html'}") == 1, errors
    assert "F1 of “equivalent” is" in (run / "report.html").read_text(encoding="utf-8")


def test_a_report_that_fails_ends_no_process_otherwise(torchrun, tmp_path):
    script = tmp_path / "without.py"
    script.write_text(
        "import os, sys\nsys.path.insert(0, os.environ['ROOT'])\nsys.modules['pairft.reporting.page'] = None\n"
        "import train\nsys.exit(train.main())\n"
    )
    code, errors = torchrun.run(2, "--epochs", 1, "--report", "--run-name", "a", script=script)
    assert code == 0 and errors.count("warning: no report.html (import of pairft.reporting.page halted") == 1, errors
    assert (tmp_path / "runs" / "a" / "results.json").exists()
