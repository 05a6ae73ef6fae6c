"""The sum of gradients in one process; tests/distributed/test_shared_sum.py has those of several."""

import pytest
import torch
from torch import nn

from pairft.errors import UserError
from pairft.training import gradient_sum


def test_a_weight_that_would_not_be_summed_is_an_error(monkeypatch):
    """As with layerdrop: its first gradient comes after the processes have agreed on what to sum."""
    monkeypatch.setattr(gradient_sum, "gathered", lambda value: [value])
    model = nn.ParameterList(nn.Parameter(torch.zeros(2)) for _ in range(2))

    def open_bucket(numel, device):
        bucket = torch.zeros(numel, device=device)
        return bucket, lambda: bucket.mul_(2)  # as of two processes with the same gradients

    step_sum = gradient_sum.StepSum(model, open_bucket)
    model[0].grad = torch.ones(2)
    assert step_sum(torch.tensor(3.0)) == 6
    assert model[0].grad.tolist() == [2, 2]
    model[1].grad = torch.ones(2)
    with pytest.raises(UserError, match="layerdrop"):
        step_sum(torch.tensor(3.0))
