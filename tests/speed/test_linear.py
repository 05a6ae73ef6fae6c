"""Linear layers through oneDNN: the same numbers, and only where no gradient is asked for."""

import pytest
import torch
from torch import nn

from pairft.speed import linear


def layers() -> nn.Sequential:
    return nn.Sequential(nn.Linear(32, 48), nn.GELU(), nn.Linear(48, 16, bias=False))


@pytest.mark.parametrize("shape", [(1, 32), (7, 32), (3, 5, 32)])
def test_the_same_numbers(shape):
    model, input = layers(), torch.randn(shape)
    with torch.inference_mode():
        expected = model(input)
        assert linear.use_onednn(model) == 2
        got = model(input)
    assert got.shape == expected.shape
    assert torch.allclose(got, expected, rtol=0, atol=1e-5)


def test_changed_weights_are_read_and_the_random_state_is_not_touched():
    model, input = layers(), torch.randn(4, 32)
    before = torch.get_rng_state()
    linear.use_onednn(model)
    assert torch.equal(torch.get_rng_state(), before)
    with torch.inference_mode():
        first = model(input)
        model[2].weight *= 2
        assert torch.allclose(model(input), 2 * first, atol=1e-5)


def test_gradients_and_autocast_go_through_torch():
    model, input = layers(), torch.randn(4, 32)
    model(input).sum().backward()
    expected = model[0].weight.grad.clone()
    model.zero_grad()
    linear.use_onednn(model)
    model(input).sum().backward()
    assert torch.equal(model[0].weight.grad, expected)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert model(input).dtype == torch.bfloat16


def test_a_torch_without_the_operation_keeps_its_own(monkeypatch):
    def missing(layer, input):
        raise AttributeError("_linear_pointwise")

    model, input = layers(), torch.randn(4, 32)
    expected = model(input)
    monkeypatch.setattr(linear, "through_onednn", missing)
    assert linear.use_onednn(model) == 0
    assert torch.equal(model(input), expected)
    assert linear.use_onednn(layers().to(torch.float64)) == 0
