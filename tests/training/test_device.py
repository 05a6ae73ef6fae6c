"""What is asked of the machine itself."""

import ctypes
import subprocess
import sys

import pytest
import torch
from conftest import ROOT, same_weights

from pairft.config import Config
from pairft.training import device

# Of three blocks like large gradients, how many malloc maps from the system one by one, and how many bytes its heap
# gives back when they are freed, the second time. These are malloc's own counts, since page faults are the kernel's
# affair; and no tensors, whose small parts may lie above the freed blocks.
COUNTS = """
import ctypes, torch
from pairft.training import device
FIRST
class Mallinfo2(ctypes.Structure):
    names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in names.split()]
libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Mallinfo2
libc.malloc.argtypes, libc.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
def made_and_freed():
    before = libc.mallinfo2()
    blocks = [libc.malloc(20 << 20) for _ in range(3)]
    made = libc.mallinfo2()
    for block in blocks:
        libc.free(block)
    return made.hblks - before.hblks, made.arena - libc.mallinfo2().arena
print(made_and_freed()[0], made_and_freed()[1])
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="counts by glibc's malloc, from 2.33")
def test_freed_memory_is_kept():
    def counts(first: str) -> tuple[int, int]:
        command = [sys.executable, "-c", COUNTS.replace("FIRST", first)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
        mapped, given_back = done.stdout.split()
        return int(mapped), int(given_back)

    assert counts("device.tune_malloc()") == (0, 0)
    mapped, given_back = counts("")
    assert mapped == 3 and given_back > 2 * (20 << 20)


def test_auto_does_not_pick_mps_and_mps_comes_with_a_warning(go, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device.choose_device(Config()) == (torch.device("cpu"), None)
    assert go("--device", "auto", "--max-steps", 1) == 0
    shown = capsys.readouterr().err
    assert " on cpu," in shown and "warning: on mps" not in shown
    where, amp_dtype = device.choose_device(Config(device="mps"))
    assert (where, amp_dtype) == (torch.device("mps"), None)
    [line] = device.caveats(Config(), where)
    assert "not finite" in line
    assert device.caveats(Config(), torch.device("cuda")) == device.caveats(Config(), torch.device("cpu")) == []


def test_on_cuda_the_defaults_are_the_plain_way():
    """Until the constant says that the CUDA tests have passed there."""
    cuda, cpu = torch.device("cuda"), torch.device("cpu")
    assert not device.RUN_ON_CUDA
    assert [device.is_on(choice, cuda) for choice in ("auto", "always", "never")] == [False, True, False]
    assert [device.is_on(choice, cpu) for choice in ("auto", "always", "never")] == [True, True, False]
    [line] = device.caveats(Config(unpad="always", capture="always"), cuda)
    assert "--unpad always and --capture always: not yet run on a GPU" in line
    assert device.caveats(Config(unpad="always"), cpu) == []


def test_memory_is_given_back_before_a_large_training(go, tmp_path, monkeypatch):
    released = []
    monkeypatch.setattr(device, "release_memory", lambda release=device.release_memory: released.append(release()))
    assert go("--max-steps", 4, "--run-name", "small") == 0 and not released
    monkeypatch.setattr(device, "LARGE", 60)
    assert go("--max-steps", 4, "--run-name", "large") == 0 and len(released) == 1
    assert same_weights(tmp_path / "runs" / "small", tmp_path / "runs" / "large")
