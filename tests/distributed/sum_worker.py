"""One process of test_shared_sum.py, started by torchrun: sum gradients in each way, and write down what came out."""

import os
import resource
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed, nn

from pairft.runs.ranks import is_lost_connection
from pairft.speed.shared_sum import open_shared_bucket
from pairft.training.gradient_sum import OpenBucket, StepSum, open_bucket

SHAPES = ((200_003,), (7, 3), (5,), (2,))  # the first is summed in several pieces; the last never gets a gradient
STEPS = 2


def gradients(rank: int, step: int) -> list[torch.Tensor | None]:
    """Those of one rank. In the last step, it has none of one parameter."""
    random = torch.Generator().manual_seed(10 * rank + step)
    found: list[torch.Tensor | None] = [torch.randn(shape, generator=random) for shape in SHAPES]
    found[3] = None
    if step == STEPS - 1:
        found[rank % 3] = None
    return found


def sums(rank: int, open_one: OpenBucket) -> tuple[StepSum, list[dict[str, Any]]]:
    """The sums of each step, and the gradients after a clipping that differs from rank to rank."""
    model = nn.ParameterList(nn.Parameter(torch.zeros(shape)) for shape in SHAPES)
    step_sum, found = StepSum(model, open_one), []
    for step in range(STEPS):
        for p, grad in zip(model.parameters(), gradients(rank, step), strict=True):
            p.grad = grad
        loss_sum = step_sum(torch.tensor(rank + step + 0.5))
        summed = [p.grad if p.grad is None else p.grad.clone() for p in model.parameters()]
        distributed.barrier()  # none clips before all have their copies
        nn.utils.clip_grad_norm_(model.parameters(), rank + 1.0)
        distributed.barrier()  # all have clipped
        clipped = [p.grad if p.grad is None else p.grad.clone() for p in model.parameters()]
        found.append({"loss": loss_sum.item(), "summed": summed, "clipped": clipped})
        model.zero_grad()
    return step_sum, found


def shared_files() -> tuple[int, int]:
    """How many shared buckets this process has in its memory, and how many as open files."""
    mapped = {line.split()[5] for line in Path("/proc/self/maps").read_text().splitlines() if "/memfd:pairft-" in line}
    links = (os.path.realpath(link) for link in Path("/proc/self/fd").iterdir())
    return len(mapped), sum("pairft-" in link for link in links)


def main(out: Path) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", timeout=timedelta(seconds=60))
    rank, world = distributed.get_rank(), distributed.get_world_size()
    found: dict[str, Any] = {"gloo": sums(rank, open_bucket)[1]}

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    if rank == 0:  # the file can't have the bucket's size
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    found["no room"] = sums(rank, open_shared_bucket)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    os.environ["LOCAL_WORLD_SIZE"] = "1"
    found["several machines"] = sums(rank, open_shared_bucket)[1]
    os.environ["LOCAL_WORLD_SIZE"] = str(world)
    found["files without"] = shared_files()

    step_sum, found["shared"] = sums(rank, open_shared_bucket)
    found["files with"] = shared_files()
    if rank == world - 1:
        torch.save(found, out / f"rank-{rank}")
        os._exit(0)  # without a word to the others
    try:
        step_sum.sum_up()
    except Exception as error:
        found["lost"] = is_lost_connection(error)
    torch.save(found, out / f"rank-{rank}")
    os._exit(0)  # the group is broken


if __name__ == "__main__":
    main(Path(sys.argv[1]))
