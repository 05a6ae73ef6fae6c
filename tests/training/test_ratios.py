"""Update-to-weight ratios, compared with the weights before and after a step."""

import math

import pytest
import torch
from torch.nn.utils import parameters_to_vector
from transformers import AutoModelForSequenceClassification

from pairft.training import layers, lora, ratios
from pairft.training.optim import build_optimizer

LR = 3e-3


@pytest.fixture
def model(tiny_model):
    return AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=2)


def trained_by_layer(model):
    """The names of trained parameters of each layer."""
    at, found = layers.heights(model, ""), {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            found.setdefault(at[name], []).append(name)
    return [found[height] for height in sorted(found)]


def step(model, optimizer, lr=LR):
    """One step of AdamW. Returns RMS(update) / RMS(weights after it) of each layer, in float64."""
    model(input_ids=torch.randint(1, 50, (4, 9)), labels=torch.tensor([0, 1, 1, 0])).loss.backward()
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_factor"]
    before = {name: p.detach().clone().double() for name, p in model.named_parameters()}
    optimizer.step()
    optimizer.zero_grad()
    after = {name: p.detach().double() for name, p in model.named_parameters()}

    def norm(tensors):
        return parameters_to_vector(tensors).norm().item()

    changed = {name: after[name] - before[name] for name in after}
    return [
        norm(changed[name] for name in names) / norm(after[name] for name in names)
        for names in trained_by_layer(model)
        if norm(after[name] for name in names)
    ]


def found(model, optimizer, lr=LR):
    return ratios.ratios([ratios.squares(ratios.sample_of(model, optimizer), lr)])


@pytest.mark.parametrize("layer_decay", [1.0, 0.5])
def test_ratios_are_those_of_the_weights_before_and_after(model, layer_decay):
    optimizer = build_optimizer(model, weight_decay=0.5, layer_decay=layer_decay)
    for number in range(4):
        expected = step(model, optimizer, LR * (number + 1))
        got = found(model, optimizer, LR * (number + 1))
        assert list(got) == ["embeddings", "layer_01", "layer_02", "head"]
        assert list(got.values()) == pytest.approx(expected, rel=2e-3), number  # the change is rounded to float32
    assert found(model, optimizer, 0.0) == dict.fromkeys(got, 0.0)


def test_a_sample_of_the_elements_is_close(model, monkeypatch):
    optimizer = build_optimizer(model, weight_decay=0.5)
    expected = step(model, optimizer)
    monkeypatch.setattr(ratios, "SAMPLE", 400)  # of some thousands
    sample = ratios.sample_of(model, optimizer)
    assert sum(p.numel() for p in model.parameters()) > 3 * len(sample.layer)
    assert list(found(model, optimizer).values()) == pytest.approx(expected, rel=0.1)


def test_frozen_weights_do_not_count(model):
    layers.freeze(model, ["embeddings", "layers.0", "bert.encoder.layer.1.attention"])
    optimizer = build_optimizer(model, weight_decay=0.0)
    expected = step(model, optimizer)
    got = found(model, optimizer)
    assert list(got) == ["layer_02", "head"] and list(got.values()) == pytest.approx(expected, rel=2e-3)


def test_of_adapters_only_these_count(model):
    lora.add_adapters(model, rank=2, alpha=4, seed=0)
    optimizer = build_optimizer(model, weight_decay=0.1)
    expected = step(model, optimizer)
    got = found(model, optimizer)
    assert list(got) == ["layer_01", "layer_02", "head"]
    assert list(got.values()) == pytest.approx(expected, rel=2e-3)


def test_the_sample_is_read_again_after_each_step(model):
    optimizer = build_optimizer(model, weight_decay=0.0)
    step(model, optimizer)
    sample = ratios.sample_of(model, optimizer)
    expected = step(model, optimizer)
    assert list(ratios.ratios([ratios.squares(sample, LR)]).values()) == pytest.approx(expected, rel=2e-3)


def test_the_sums_of_sharded_layers_are_added():
    one, other = {"head": (9.0, 16.0), "layer_01": (1.0, 4.0)}, {"head": (16.0, 84.0)}
    assert ratios.ratios([one, other]) == {"head": math.sqrt(25 / 100), "layer_01": 0.5}


def test_without_updates_there_are_none(model):
    assert ratios.sample_of(model, build_optimizer(model, weight_decay=0.0)) is None
