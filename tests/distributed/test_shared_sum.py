import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.distributed


@pytest.mark.parametrize("processes", [2, 3])
def test_the_sum_in_shared_memory_is_the_sum(processes):
    worker = Path(__file__).with_name("sum_worker.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes), str(worker)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
