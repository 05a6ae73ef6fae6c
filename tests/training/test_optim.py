"""The learning rate and the parameter groups against transformers' own."""

import pytest
import torch
from transformers import AutoModelForSequenceClassification, get_scheduler

from pairft.data.batches import Batch
from pairft.training.optim import build_optimizer, lr_at, warmup_steps
from pairft.training.step import update


@pytest.mark.parametrize(("total", "ratio"), [(10, 0.0), (10, 0.1), (1377, 0.1), (7, 0.5), (3, 1.0), (1, 0.1)])
@pytest.mark.parametrize("name", ["linear", "cosine", "constant"])
def test_the_schedules_are_those_of_transformers(name, total, ratio):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=5e-5)
    warmup = warmup_steps(total, ratio)
    schedule = get_scheduler(name.replace("constant", "constant_with_warmup"), optimizer, warmup, total)
    for step in range(total):
        assert lr_at(step, total, 5e-5, warmup, name) == schedule.get_last_lr()[0], step
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


def test_layer_decay_gives_each_layer_a_learning_rate_of_its_own(tiny_model):
    """Of one update, whose learning rate is 0.8: 0.8 above the layers, then times 0.5 for each step down."""
    model = AutoModelForSequenceClassification.from_pretrained(tiny_model)
    optimizer = build_optimizer(model, 0.01, layer_decay=0.5)
    ids = torch.tensor([[2, 5, 9, 3]])
    batch = Batch(ids, torch.ones_like(ids), None, torch.tensor([1]), 4)
    about = {"device": torch.device("cpu"), "amp_dtype": None, "max_grad_norm": 1.0}
    update(model, optimizer, torch.amp.GradScaler("cpu", enabled=False), torch.zeros(()), [batch], 1, 0.8, **about)
    names = {parameter: name for name, parameter in model.named_parameters()}
    lrs = {names[p]: (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]}
    assert lrs.keys() == set(names.values())
    beginnings = {
        **{"classifier.": 0.8, "bert.pooler.": 0.8, "bert.encoder.layer.1.": 0.4, "bert.encoder.layer.0.": 0.2},
        "bert.embeddings.": 0.1,
    }
    for name, (lr, decay) in lrs.items():
        [wanted] = [lr for beginning, lr in beginnings.items() if name.startswith(beginning)]
        assert lr == pytest.approx(wanted, rel=1e-15), name
        assert decay == (0.0 if name.endswith("bias") or "LayerNorm" in name else 0.01), name
    assert len(optimizer.param_groups) == 8
