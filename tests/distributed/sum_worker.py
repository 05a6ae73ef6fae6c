"""Sums the gradients of all processes by gloo and through shared memory, three steps each, and compares them.

The gradients are small whole numbers, of which any order of summing gives the same sum.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from pairft.speed.shared_sum import SHARED, open_shared_bucket
from pairft.training.gradient_sum import StepSum, open_bucket

torch.distributed.init_process_group("gloo")
rank, number = torch.distributed.get_rank(), torch.distributed.get_world_size()
model = torch.nn.ParameterList(torch.nn.Parameter(torch.zeros(*shape)) for shape in ((70, 1001), (3,), (1,)))
model.append(torch.nn.Parameter(torch.zeros(5)))  # gets no gradient on any rank
sums = StepSum(model, open_bucket), StepSum(model, open_shared_bucket)
before = set(SHARED.glob("pairft-*"))
for step in range(3):
    found = []
    for add_up in sums:
        generator = torch.Generator().manual_seed(step)
        everyone = [[torch.randint(-9, 9, p.shape, generator=generator).float() for p in model] for _ in range(number)]
        for p, gradient in zip(list(model)[:3], everyone[rank], strict=False):
            p.grad = None if step == 2 and rank == 1 else gradient.clone()  # a rank without examples in a step
        adding = [some for other, some in enumerate(everyone) if step < 2 or other != 1]
        loss = add_up(torch.tensor(2.0**rank))
        assert loss == 2**number - 1, loss
        for index, p in enumerate(list(model)[:3]):
            torch.testing.assert_close(p.grad, sum(some[index] for some in adding), rtol=0, atol=0)
        assert model[3].grad is None
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)  # changes the sums in place, on this rank alone
        found.append([p.grad.clone() for p in list(model)[:3]])
        for p in model:
            p.grad = None
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)
assert sums[1].bucket.untyped_storage().nbytes() == number * sums[0].bucket.nbytes, "not shared"
assert set(SHARED.glob("pairft-*")) <= before
bucket, _ = open_shared_bucket(10, torch.device("cpu"), Path("/nowhere"))
assert bucket.untyped_storage().nbytes() == 40
try:
    open_shared_bucket(1 << 45, torch.device("cpu"))  # 128 TiB a rank
except RuntimeError as error:
    assert "memory" in str(error), error  # gloo's bucket has no room either
assert set(SHARED.glob("pairft-*")) <= before
torch.distributed.destroy_process_group()
