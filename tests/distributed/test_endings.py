"""How several processes end if not at the same moment.

These tests are slow, not `distributed`: those should take less than three minutes.
"""

import os
import signal

import pytest
from conftest import wait_for
from torchrun import after_step, workers

pytestmark = pytest.mark.slow


def test_a_rank_that_gets_the_signal_late_waits_for_the_save_as_well(torchrun, tmp_path):
    """As on two machines, whose torchruns are stopped one after the other."""
    mark, run = tmp_path / "saving", tmp_path / "runs" / "a"
    script = tmp_path / "slow.py"
    script.write_text(
        "import os, sys, time\nfrom pathlib import Path\nsys.path.insert(0, os.environ['ROOT'])\nimport train\n"
        "from pairft.runs.checkpoint import Snapshot\ncomplete = Snapshot.complete\n"
        "def slow(snapshot):\n"
        f"    Path({str(mark)!r}).touch()\n    time.sleep(1.5)\n    complete(snapshot)\n"
        "Snapshot.complete = slow\nsys.exit(train.main())\n"
    )
    process = torchrun.start(2, "--epochs", 1000, "--save-every", "never", "--run-name", "a", script=script)
    after_step(process, run, 5)
    first, second = (pid for _, pid in sorted(workers(process).items()))
    os.kill(first, signal.SIGTERM)
    wait_for(mark.exists, process)
    os.kill(second, signal.SIGTERM)
    errors = process.communicate(timeout=60)[1]
    assert errors.count("stopped after step") == 1 and errors.count("exitcode  : 143") == 2, errors
    assert len(list((run / "checkpoints").iterdir())) == 1


def test_a_run_that_is_finished_is_not_started_anew_when_a_worker_then_fails(torchrun, tmp_path):
    script = tmp_path / "fails.py"
    script.write_text(
        "import os, sys\nsys.path.insert(0, os.environ['ROOT'])\nimport train\ncode = train.main()\n"
        "first = os.environ['TORCHELASTIC_RESTART_COUNT'] == '0'\n"
        "sys.exit(1 if first and os.environ['RANK'] == '1' else code)\n"
    )
    code, errors = torchrun.run(2, torchrun=("--max-restarts", 1), script=script)
    [run] = (tmp_path / "runs").iterdir()
    assert code == 0, errors
    assert errors.count("from step 0") == 1 and f"{run} is finished: nothing to do" in errors
