"""Sum the gradients of all processes of one machine in shared memory, not through gloo's loopback connections.

The shared file is in memory and has no name: nothing is left of it when the processes end, however they end. It isn't
bound by the size of /dev/shm, which is 64 MB in many containers, and takes no more memory than gloo's buckets.
"""

import os
import uuid
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, distributed

from pairft.training.distributed import from_main, gathered, is_main, rank, world_size
from pairft.training.gradient_sum import open_bucket

CACHED = 1 << 16  # elements summed at a time: those of two ranks stay in the processor's cache
PAGE = 1024  # elements: a bucket begins on a memory page, which makes the sum about 10 % faster


def open_shared_bucket(numel: int, device: torch.device) -> tuple[Tensor, Callable[[], object]]:
    """`open_bucket` in shared memory: call it on every rank. If the ranks run on several machines or on another device
    than the CPU, or can't share memory, it is gloo's or NCCL's bucket."""
    if device.type != "cpu" or os.environ["LOCAL_WORLD_SIZE"] != os.environ["WORLD_SIZE"]:
        return open_bucket(numel, device)
    ranks, length = world_size(), -(-numel // PAGE) * PAGE
    descriptor = reserve(4 * length * ranks) if is_main() else None
    link = from_main(f"/proc/{os.getpid()}/fd/{descriptor}")
    file = from_main(target(link))
    buckets = None
    if all(gathered(file is not None and target(link) == file)):
        buckets = torch.from_file(link, shared=True, size=ranks * length, dtype=torch.float32).view(ranks, length)
    barrier()  # all have opened it
    if descriptor is not None:
        os.close(descriptor)
    if buckets is None:
        return open_bucket(numel, device)
    begin, end = (length * part // ranks for part in (rank(), rank() + 1))  # the part that this rank sums
    pieces = [piece.unbind() for piece in buckets[:, begin:end].split(CACHED, dim=1)]

    def sum_up() -> None:
        barrier()  # all buckets are filled
        for first, *others in pieces:
            for other in others:
                first += other  # in the order of the ranks, so that the bits don't depend on who sums
            for other in others:
                other.copy_(first)
        barrier()  # all parts are summed. From here on each rank reads and changes its own bucket alone.

    return buckets[rank(), :numel], sum_up


def reserve(num_bytes: int) -> int | None:
    """The descriptor of a new file in memory. Its memory is reserved: a process that touches memory which isn't there
    would be killed. None if the system has no such files, or lacks the room."""
    if not hasattr(os, "memfd_create"):
        return None
    try:
        descriptor = os.memfd_create(f"pairft-{uuid.uuid4().hex}")
    except OSError:  # a container's sandbox may forbid it
        return None
    try:
        os.posix_fallocate(descriptor, 0, num_bytes)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def target(link: str) -> Path | None:
    """The file that a link in /proc leads to. None if this process can't follow it, as in a container of its own; there
    the same link may lead to another file, so the file's name is unique."""
    try:
        return Path(link).readlink()
    except OSError:
        return None


def barrier() -> None:
    """Wait for all ranks. By gloo, which notices a rank that is gone or takes longer than --timeout."""
    distributed.all_reduce(torch.zeros(1))
