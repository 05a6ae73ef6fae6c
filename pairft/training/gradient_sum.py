"""Sum the gradients and the loss of a step over all processes, between backward and clipping."""

from collections.abc import Callable

import torch
from torch import Tensor

from pairft.errors import UserError
from pairft.training.distributed import gathered, world_size

# (elements, device) to a bucket of that size, and the function that replaces it by its sum over all ranks.
OpenBucket = Callable[[int, torch.device], tuple[Tensor, Callable[[], object]]]


def open_bucket(numel: int, device: torch.device) -> tuple[Tensor, Callable[[], object]]:
    """A bucket, float32 [numel], that is summed by gloo or NCCL."""
    bucket = torch.zeros(numel, device=device)
    return bucket, lambda: torch.distributed.all_reduce(bucket)


class StepSum:
    """The sums over all ranks for one step: call it between backward and clipping, on every rank.

    Sums, not means: each rank has divided its losses by the number of examples of the whole step. They are explicit, in
    one flat bucket, and not DDP's, which takes means and needs every rank to have examples. Its overlap with the
    backward pass can't gain on CPU cores, which that pass keeps busy, and has not been measured on GPUs.
    """

    begun = 0  # sums, by this process: a step that has begun its sum can't be repeated by one rank alone (memory.py)

    def __init__(self, model: torch.nn.Module, open_bucket: OpenBucket) -> None:
        self.model, self.open_bucket = model, open_bucket
        self.trained: list[torch.nn.Parameter] = []  # those that get a gradient on any rank; agreed at the first step
        self.bucket: Tensor | None = None  # float32 [their elements + 1]

    def __call__(self, loss_sum: Tensor) -> Tensor:
        """Replace the gradients by their sums; a rank without examples in this step adds zeros. Returns the sum of
        `loss_sum`, a tensor []."""
        StepSum.begun += 1
        if self.bucket is None:
            parameters = list(self.model.parameters())
            masks = gathered([p.grad is not None for p in parameters])
            self.trained = [p for p, *has in zip(parameters, *masks, strict=True) if any(has)]
            self.bucket, self.sum_up = self.open_bucket(sum(p.numel() for p in self.trained) + 1, loss_sum.device)
        *pieces, total = self.bucket.split([*(p.numel() for p in self.trained), 1])
        views = [piece.view_as(p) for piece, p in zip(pieces, self.trained, strict=True)]
        filled = {view: p.grad for view, p in zip(views, self.trained, strict=True) if p.grad is not None}
        if sum(p.grad is not None for p in self.model.parameters()) > len(filled):
            raise UserError(
                "a weight has its first gradient after the first step, so that the processes would not sum it: turn "
                "off what leaves out layers at random (layerdrop), or train in one process"
            )
        if len(filled) < len(views):
            self.bucket.zero_()
        if filled:
            torch._foreach_copy_(list(filled), list(filled.values()))
        total.fill_(loss_sum)
        self.sum_up()
        for p, view in zip(self.trained, views, strict=True):
            p.grad = view  # until zero_grad: so nothing has to be copied back
        loss_total: Tensor = total[0].clone()
        return loss_total


def step_sum(model: torch.nn.Module, open_bucket: OpenBucket = open_bucket) -> Callable[[Tensor], Tensor] | None:
    """StepSum for the model; None for one process."""
    return StepSum(model, open_bucket) if world_size() > 1 else None
