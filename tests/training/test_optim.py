"""The learning rate and the parameter groups against transformers' own."""

import pytest
import torch
from transformers import AutoModelForSequenceClassification, get_linear_schedule_with_warmup

from pairft.training.optim import build_optimizer, lr_at, warmup_steps


@pytest.mark.parametrize(("total", "ratio"), [(10, 0.0), (10, 0.1), (1377, 0.1), (7, 0.5), (3, 1.0), (1, 0.1)])
def test_the_schedule_is_transformers_linear_one(total, ratio):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=5e-5)
    warmup = warmup_steps(total, ratio)
    schedule = get_linear_schedule_with_warmup(optimizer, warmup, total)
    for step in range(total):
        assert lr_at(step, total, 5e-5, warmup) == schedule.get_last_lr()[0], step
        optimizer.step()
        schedule.step()


def test_warmup_begins_at_zero_and_peaks():
    assert [lr_at(step, 10, 1.0, 2) for step in range(4)] == [0.0, 0.5, 1.0, 7 / 8]


def test_biases_and_norms_do_not_decay(tiny_model):
    model = AutoModelForSequenceClassification.from_pretrained(tiny_model)
    optimizer = build_optimizer(model, 0.01)
    names = {parameter: name for name, parameter in model.named_parameters()}
    decayed, others = ({names[p] for p in group["params"]} for group in optimizer.param_groups)
    assert others == {name for name in names.values() if name.endswith("bias") or "LayerNorm" in name}
    assert decayed | others == set(names.values())
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.01, 0.0]
    assert optimizer.defaults["fused"] is True
