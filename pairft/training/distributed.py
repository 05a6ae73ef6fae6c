"""Several processes, started by torchrun: which one this is, and what all of them do together.

Each process (a rank, as torch calls it) trains the same model on its share of a step's examples. Between backward and
clipping the gradients are summed over all of them, so that every rank makes the same update. With one process, nothing
here does anything. pairft/runs/ranks.py has what happens before training, and when a rank ends with an error.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from pairft.errors import EXIT_DIVERGED, EXIT_USER, Diverged, PeerFailed, UserError

if TYPE_CHECKING:
    import torch
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


class StepSum:
    """The sums over all ranks for one step: call it between backward and clipping, on every rank.

    Sums, not means: each rank has divided its losses by the number of examples of the whole step. They are explicit, in
    one flat bucket, and not DDP's, which takes the mean over ranks and needs every rank to have examples; DDP's overlap
    with the backward pass gains nothing on CPU cores, which are busy with it, and has not been measured on GPUs.
    """

    begun = 0  # sums, by this process: a step that has begun its sum can't be repeated by one rank alone (memory.py)

    def __init__(self, model: "torch.nn.Module") -> None:
        self.model = model
        self.trained: list[torch.nn.Parameter] = []  # those that get a gradient on any rank; agreed at the first step
        self.bucket: Tensor | None = None  # float32 [their elements + 1]

    def __call__(self, loss_sum: "Tensor") -> "Tensor":
        """Replace the gradients by their sums. A rank without examples in this step adds zeros. Returns the sum of
        `loss_sum`, a tensor []."""
        import torch
        from torch import distributed

        StepSum.begun += 1
        if self.bucket is None:
            parameters = list(self.model.parameters())
            masks = gathered([p.grad is not None for p in parameters])
            self.trained = [p for p, *has in zip(parameters, *masks, strict=True) if any(has)]
            self.bucket = torch.zeros(sum(p.numel() for p in self.trained) + 1, device=loss_sum.device)
        *pieces, loss_total = self.bucket.split([*(p.numel() for p in self.trained), 1])
        views = [piece.view_as(p) for piece, p in zip(pieces, self.trained, strict=True)]
        filled = [(view, p.grad) for view, p in zip(views, self.trained, strict=True) if p.grad is not None]
        if len(filled) < len(views):
            self.bucket.zero_()
        if filled:
            torch._foreach_copy_([view for view, _ in filled], [grad for _, grad in filled])
        loss_total.copy_(loss_sum)
        distributed.all_reduce(self.bucket)
        for p, view in zip(self.trained, views, strict=True):
            p.grad = view  # until zero_grad: so nothing has to be copied back
        total: Tensor = loss_total[0].clone()
        return total


def step_sum(model: "torch.nn.Module") -> "Callable[[Tensor], Tensor] | None":
    """StepSum for the model; None for one process."""
    return StepSum(model) if world_size() > 1 else None
