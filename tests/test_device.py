"""What is asked of the machine itself."""

import subprocess
import sys

import pytest
from conftest import ROOT

# Page faults of gradients like bert-base's, 16 of 8 MB (2,048 pages each), made and freed ten times.
FAULTS = """
import resource, torch
from pairft import device
FIRST
def steps(number):
    for _ in range(number):
        [torch.ones(1 << 21) for _ in range(16)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
print(-steps(2) + steps(10))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_freed_memory_is_kept():
    def faults(first: str) -> int:
        command = [sys.executable, "-c", FAULTS.replace("FIRST", first)]
        return int(subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True).stdout)

    given_back = faults("")
    assert given_back > 10 * 2048
    assert faults("device.keep_memory()") < given_back / 10  # not 0: the heap may still grow by a block or two
