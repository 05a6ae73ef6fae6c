"""Several processes, started by torchrun: which one this is, and what all of them do together.

Each process (a rank, as torch calls it) trains the same model on its share of a step's examples. Between backward and
clipping the gradients are summed over all of them (gradient_sum.py), so that every rank makes the same update. With one
process, nothing here does anything. pairft/runs/ranks.py has what happens before training, and when a rank fails.
"""

import contextlib
import os
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from pairft.errors import EXIT_DIVERGED, EXIT_USER, Diverged, PeerFailed, UserError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributed import Store  # type: ignore[attr-defined]

T = TypeVar("T")


def world_size() -> int:
    """The number of processes."""
    return int(os.environ.get("WORLD_SIZE") or 1)


def rank() -> int:
    """This process's number, from 0."""
    return int(os.environ["RANK"]) if world_size() > 1 else 0


def local_rank() -> int:
    """This process's number among those of its machine."""
    return int(os.environ["LOCAL_RANK"]) if world_size() > 1 else 0


def is_main() -> bool:
    """Whether this is the process that writes and shows what happens: rank 0, or the only one."""
    return rank() == 0


def open_group(store: "Store", timeout: float) -> None:
    """Connect the processes: gloo for CPU tensors, NCCL for CUDA tensors. `timeout`: in seconds; a rank that waits
    longer for another one ends with an error."""
    import torch
    from torch import distributed

    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    limit = timedelta(seconds=timeout)
    distributed.init_process_group(backend, store=store, rank=rank(), world_size=world_size(), timeout=limit)


def from_main(value: T) -> T:
    """The value that rank 0 has, on every rank."""
    if world_size() == 1:
        return value
    from torch import distributed

    held = [value]
    distributed.broadcast_object_list(held, src=0)
    return held[0]


def gathered(value: T) -> list[T]:
    """The value of each rank, in their order, on every rank."""
    if world_size() == 1:
        return [value]
    from torch import distributed

    values: list[Any] = [None] * world_size()
    distributed.all_gather_object(values, value)
    return values


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Within the context, a rank may fail alone. On leaving, all ranks wait for each other, and if one has failed,
    the others raise PeerFailed: so all end after the same step."""
    if world_size() == 1:
        yield
        return
    error: Exception | None = None
    try:
        yield
    except (UserError, OSError, Diverged) as raised:
        error = raised
    code = 0 if error is None else EXIT_DIVERGED if isinstance(error, Diverged) else EXIT_USER
    codes = gathered(code)
    if error is not None:
        raise error
    if any(codes):
        raise PeerFailed(max(codes))


class LargestBefore:
    """The largest value that any rank passed in the call before. Nobody waits for it: it is exchanged meanwhile, by the
    CPU, so that the device isn't waited for either."""

    def __init__(self) -> None:
        self.value: Tensor | None = None
        self.work: Any = None

    def __call__(self, value: int) -> int:
        import torch
        from torch import distributed

        largest = 0
        if self.value is not None:
            self.work.wait()
            largest = int(self.value)
        self.value = torch.tensor(value)
        self.work = distributed.all_reduce(self.value, distributed.ReduceOp.MAX, async_op=True)
        return largest
