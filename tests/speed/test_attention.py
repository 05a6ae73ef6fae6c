"""Attention within each pair, and of CLS tokens alone, against plain formulas."""

import pytest
import torch

from pairft.data.batches import Batch
from pairft.speed.attention import PairAttention, attend_from_cls
from pairft.speed.dropout import keep_mask
from pairft.speed.packing import pack


@pytest.mark.parametrize("window", [None, 3])
@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_the_gradient_of_attention_is_that_of_its_numbers(window, rate):
    lengths = (5, 2, 4)

    def attention(query, key, value):
        torch.manual_seed(1)  # the same mask each time
        return PairAttention.apply(query, key, value, lengths, 0.6, rate, window)

    parts = [torch.randn(11, 2, 3, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    assert torch.autograd.gradcheck(attention, parts)


@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_cls_tokens_get_what_keys_and_values_would_give_them(rate):
    """Against keys and values of every token, computed, and with the same mask."""
    lengths, heads, width = (5, 2, 4), 2, 6
    projections = tuple(torch.nn.Linear(width, width).double() for _ in range(3))
    hidden = torch.randn(11, width, dtype=torch.float64, requires_grad=True)
    mask = (torch.arange(5) < torch.tensor(lengths)[:, None]).long()
    nothing = torch.zeros(3, 5, dtype=torch.int64)
    packed = pack(Batch(nothing, mask, None, torch.zeros(3), 11), 0)

    torch.manual_seed(1)
    got = attend_from_cls(hidden, packed, projections, heads, 0.6, rate)
    torch.manual_seed(1)
    kept = keep_mask((3, heads, 5), rate, hidden) if rate else torch.ones(3, heads, 5)
    wanted = []
    for number, rows in enumerate(hidden.split(lengths)):
        query, key, value = (make(rows).view(-1, heads, width // heads).transpose(0, 1) for make in projections)
        weights = torch.softmax(query[:, :1] @ key.transpose(1, 2) * 0.6, -1) * kept[number, :, None, : len(rows)]
        wanted.append((weights @ value)[:, 0])
    assert torch.allclose(got, torch.stack(wanted), rtol=1e-12, atol=1e-12)

    leaves = [hidden, *(part for make in projections for part in make.parameters())]
    upstream = torch.randn_like(got)
    for a, b in zip(
        torch.autograd.grad(got, leaves, upstream),
        torch.autograd.grad(torch.stack(wanted), leaves, upstream),
        strict=True,
    ):
        assert torch.allclose(a, b, rtol=1e-10, atol=1e-12)


def test_attention_drops_at_its_rate():
    ones = torch.ones(900, 4, 8)
    out = PairAttention.apply(torch.zeros(900, 4, 8), ones, ones, (300, 300, 300), 1.0, 0.1, None)
    # Each number is a mean of 300 kept or dropped ones over 0.9: of mean 1, sd sqrt(0.1 / 0.9 / 300).
    assert out[..., 0].mean().item() == pytest.approx(1, abs=4 * (0.1 / 0.9 / 300 / 3600) ** 0.5)
    assert out[..., 0].std().item() == pytest.approx((0.1 / 0.9 / 300) ** 0.5, rel=0.1)
