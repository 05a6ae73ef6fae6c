"""The sum in shared memory against gloo's and against a sum in this process."""

import errno
import os
import subprocess
import sys

import pytest
import torch
from conftest import ROOT
from sum_worker import STEPS, gradients
from torch import nn
from torch.testing import assert_close

from pairft.speed.shared_sum import reserve

pytestmark = [
    pytest.mark.distributed,
    pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="the system has no files in memory"),
]


def in_order(step, world):
    """The sum of each parameter's gradients, from the first rank to the last. Zeros stand for a missing one."""
    totals = []
    for grads in zip(*(gradients(rank, step) for rank in range(world)), strict=True):
        shapes = [grad for grad in grads if grad is not None]
        total = torch.zeros_like(shapes[0]) if shapes else None
        for grad in shapes:
            total = total + grad
        totals.append(total)
    return totals


def clipped(grads, max_norm):
    parameters = [nn.Parameter(torch.zeros_like(grad)) for grad in grads if grad is not None]
    for p, grad in zip(parameters, (grad for grad in grads if grad is not None), strict=True):
        p.grad = grad.clone()
    nn.utils.clip_grad_norm_(parameters, max_norm)
    return [p.grad for p in parameters]


def test_without_files_in_memory_there_is_no_shared_bucket(monkeypatch):
    def forbidden(name):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(os, "memfd_create", forbidden)  # as in some containers
    assert reserve(4096) is None


@pytest.mark.parametrize("world", [2, 3])
def test_sums_of_all_ranks(tmp_path, world):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(world)]
    command += [str(ROOT / "tests/distributed/sum_worker.py"), str(tmp_path)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    for rank in range(world):
        found = torch.load(tmp_path / f"rank-{rank}")
        for step in range(STEPS):
            shared, gloo, expected = found["shared"][step], found["gloo"][step], in_order(step, world)
            assert shared["loss"] == gloo["loss"] == sum(r + step + 0.5 for r in range(world))
            assert_close(shared["summed"][:3], expected[:3], rtol=0, atol=0)
            exact = {"rtol": 0, "atol": 0} if world == 2 else {"rtol": 1e-6, "atol": 1e-6}  # gloo has another order
            assert_close(shared["summed"][:3], gloo["summed"][:3], **exact)
            assert_close(shared["clipped"][:3], clipped(expected, rank + 1.0), rtol=1e-5, atol=0)
            assert shared["summed"][3] is None
            for name in ("no room", "several machines"):
                assert_close(found[name][step]["summed"][:3], gloo["summed"][:3], rtol=0, atol=0)
        assert (found["files without"], found["files with"]) == ((0, 0), (1, 0))
        assert found.get("lost", False) == (rank < world - 1)  # the last one has ended
