"""Sum the gradients of all processes of one machine through shared memory.

Gradients of 44 MB take gloo 42 ms through the loopback network, and this half as long (docs/log.md).
"""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from pairft.training.distributed import from_main, is_main, rank, world_size
from pairft.training.gradient_sum import open_bucket

SHARED = Path("/dev/shm")  # a file system in memory
CACHED = 1 << 15  # elements summed at a time, which stay in the processor's cache until they are written


def open_shared_bucket(numel: int, device: torch.device, folder: Path = SHARED) -> tuple[Tensor, Callable[[], object]]:
    """`open_bucket` in shared memory. If the ranks run on several machines or on another device than the CPU, or if
    `folder` lacks the room, it is gloo's or NCCL's bucket."""
    one_machine = os.environ["LOCAL_WORLD_SIZE"] == os.environ["WORLD_SIZE"]
    if device.type != "cpu" or not one_machine:
        return open_bucket(numel, device)
    name = from_main(reserve(numel * 4 * world_size(), folder) if is_main() else None)
    if name is None:
        return open_bucket(numel, device)
    buckets = torch.from_file(name, shared=True, size=numel * world_size(), dtype=torch.float32).view(-1, numel)
    barrier()
    if is_main():
        Path(name).unlink()  # all have opened it, and nothing is left if they are killed
    bounds = [numel * part // world_size() for part in range(world_size() + 1)]
    mine = buckets[:, bounds[rank()] : bounds[rank() + 1]]  # the part of every bucket that this rank sums

    def sum_up() -> None:
        barrier()  # all buckets are filled
        for piece in mine.split(CACHED, dim=1):
            total = piece[0].clone()
            for part in piece[1:]:
                total += part  # in the order of the ranks, so that the bits don't depend on who sums
            piece.copy_(total)
        barrier()  # all parts are summed. From here on each rank changes its own bucket alone.

    return buckets[rank()], sum_up


def reserve(num_bytes: int, folder: Path) -> str | None:
    """The name of a new file of this size, whose memory is reserved: a process that touches memory which isn't there
    would be killed. None if the system has no such folder, or it lacks the room."""
    try:
        descriptor, name = tempfile.mkstemp(prefix="pairft-", dir=folder)
    except OSError:
        return None
    try:
        os.posix_fallocate(descriptor, 0, num_bytes)
    except OSError:
        Path(name).unlink()
        return None
    finally:
        os.close(descriptor)
    return name


def barrier() -> None:
    """Wait for all ranks. By gloo, which notices a rank that is gone or takes longer than --timeout."""
    torch.distributed.all_reduce(torch.zeros(1))
