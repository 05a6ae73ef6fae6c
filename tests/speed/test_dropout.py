"""Masks of four lanes a draw: their rate, their independence, and that they are the random state's."""

import pytest
import torch

from pairft.speed.dropout import Dropout, keep_mask, replace_dropout

N = 400_000


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.33])
def test_each_lane_keeps_at_the_rate_and_none_follows_another(rate):
    mask = keep_mask((N,), rate, torch.ones(()))
    assert mask.unique().tolist() == pytest.approx([0, 1 / (1 - rate)], rel=1e-4)
    lanes = (mask > 0).double().view(-1, 4)
    allowed = 4 * (rate * (1 - rate) / (N / 4)) ** 0.5
    assert lanes.mean(0).tolist() == pytest.approx([1 - rate] * 4, abs=allowed)
    correlations = torch.corrcoef(lanes.T) - torch.eye(4)
    assert correlations.abs().max() < 4 / (N / 4) ** 0.5
    following = torch.corrcoef(torch.stack([lanes[1:, 0], lanes[:-1, 3]]))[0, 1]
    assert following.abs() < 4 / (N / 4) ** 0.5
    assert mask.mean().item() == pytest.approx(1, abs=allowed / (1 - rate))


@pytest.mark.parametrize("rate", [1e-12, 1 / 140_000, 1 - 1 / 140_000, 1.0])
def test_a_rate_beyond_16_bits_is_that_of_torch(rate):
    mask = keep_mask((1000, N // 1000), rate, torch.ones((), dtype=torch.float64))
    dropped = (mask == 0).double().mean().item()
    assert dropped == pytest.approx(rate, abs=4 * (rate * (1 - rate) / N) ** 0.5 + 1e-12)
    assert mask.unique().tolist() == pytest.approx([0, 1 / (1 - rate)] if 1e-9 < rate < 1 else [float(rate < 0.5)])


@pytest.mark.parametrize("rate", [1 / 100_000, 1 / 65_536, 1 - 1 / 65_536, 1 - 1 / 100_000])
def test_the_closest_rates_of_16_bits(rate):
    mask = keep_mask((4 * N,), rate, torch.ones(()))
    assert mask.unique().tolist() == pytest.approx([0, 65_536 / (65_535 if rate < 0.5 else 1)])
    assert (mask == 0).double().mean().item() == pytest.approx(rate, abs=2e-5)


def test_the_mask_is_drawn_from_the_global_random_state():
    state = torch.get_rng_state()
    first, second = keep_mask((3, 5), 0.5, torch.ones(())), keep_mask((3, 5), 0.5, torch.ones(()))
    torch.set_rng_state(state)
    assert torch.equal(keep_mask((3, 5), 0.5, torch.ones(())), first)
    assert not torch.equal(first, second)


def test_dropout_scales_what_it_keeps_and_its_gradient():
    layer = Dropout(0.25)
    x = torch.ones(1000, dtype=torch.float64, requires_grad=True)
    out = layer(x)
    out.sum().backward()
    assert out.unique().tolist() == pytest.approx([0, 4 / 3], rel=1e-4)
    assert torch.equal(x.grad, out.detach())
    assert layer.eval()(x) is x


def test_every_dropout_of_a_model_is_replaced():
    model = torch.nn.Sequential(
        torch.nn.Dropout(0.1), torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout(0.0))
    )
    replace_dropout(model)
    assert type(model[0]) is Dropout and model[0].p == 0.1
    assert type(model[1][1]) is torch.nn.Dropout  # it does nothing as it is
