"""Softmax attention among the tokens of each pair, in a batch without padding."""

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from pairft.speed.dropout import keep_mask

if TYPE_CHECKING:
    from pairft.speed.packing import Packed


class PairAttention(torch.autograd.Function):
    """One pair after the other: on a CPU, and with dropout, twice as fast as one padded product for all, because a
    pair's weights stay in the cache (docs/log.md); and without masks.

    query, key, value: [tokens, heads, width]; the output, too. `window`: a token sees those nearer than that, or all.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        lengths: tuple[int, ...],
        scaling: float,
        rate: float,
        window: int | None,
    ) -> Tensor:
        out, heads = torch.empty_like(query), query.shape[1]
        masks: Any = [None] * len(lengths)
        if rate:  # drawn at once for all pairs
            drawn = keep_mask((heads * sum(n * n for n in lengths),), rate, query)
            masks = [
                m.view(heads, n, n) for m, n in zip(drawn.split([heads * n * n for n in lengths]), lengths, strict=True)
            ]
        weights = []
        for q, k, v, o, mask in zip(*by_pair(lengths, query, key, value, out), masks, strict=True):
            scores = scaled_bmm(q, k.transpose(1, 2), scaling)
            if window is not None and q.shape[1] > window:
                scores += beyond(window, q.shape[1], scores)
            weight = torch.softmax(scores, -1, dtype=torch.promote_types(scores.dtype, torch.float32)).to(query.dtype)
            weights.append(weight)
            o.copy_(torch.bmm(weight if mask is None else weight * mask, v))
        ctx.save_for_backward(query, key, value, *weights, *(m for m in masks if m is not None))
        ctx.lengths, ctx.scaling = lengths, scaling
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, *saved = ctx.saved_tensors
        pairs = len(ctx.lengths)
        weights, masks = saved[:pairs], saved[pairs:] or [None] * pairs
        to_query, to_key, to_value = torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)
        parts = by_pair(ctx.lengths, query, key, value, gradient, to_query, to_key, to_value)
        for q, k, v, upstream, to_q, to_k, to_v, weight, mask in zip(*parts, weights, masks, strict=True):
            to_weight, kept = torch.bmm(upstream, v.transpose(1, 2)), weight
            if mask is not None:
                to_weight *= mask
                kept = weight * mask
            to_v.copy_(torch.bmm(kept.transpose(1, 2), upstream))
            to_scores = torch.ops.aten._softmax_backward_data(to_weight, weight, -1, weight.dtype)
            to_q.copy_(scaled_bmm(to_scores, k, ctx.scaling))
            to_k.copy_(scaled_bmm(to_scores.transpose(1, 2), q, ctx.scaling))
        return to_query, to_key, to_value, None, None, None, None


def jagged_attention(
    query: Tensor, key: Tensor, value: Tensor, packed: "Packed", scaling: float, rate: float
) -> Tensor:
    """The same as PairAttention by torch's nested tensors: nothing in it depends on the lengths but the contents of
    `packed.cu_seqlens`. On a GPU by flash attention, or it raises RuntimeError: of torch's kernels for nested tensors
    the memory-efficient one drops other weights in the backward pass than in the forward pass. That one computes
    float32, which comes without autocast: in an evaluation, where nothing is dropped."""

    def nested(part: Tensor) -> Tensor:
        """[pairs, heads, tokens of the pair, width]. The lengths' bounds are given, or it would wait for the device."""
        rows = torch.nested.nested_tensor_from_jagged(
            part, packed.cu_seqlens, min_seqlen=1, max_seqlen=packed.max_seqlen
        )
        return rows.transpose(1, 2)

    plain = query.dtype == torch.float32 and not query.requires_grad
    kernel = SDPBackend.EFFICIENT_ATTENTION if plain else SDPBackend.FLASH_ATTENTION
    with sdpa_kernel(kernel) if query.is_cuda else nullcontext():
        found = F.scaled_dot_product_attention(nested(query), nested(key), nested(value), dropout_p=rate, scale=scaling)
    return found.transpose(1, 2).values()


def by_pair(lengths: tuple[int, ...], *rows: Tensor) -> list[tuple[Tensor, ...]]:
    """Of each [tokens, heads, width], the pairs' views: [heads, tokens of the pair, width]."""
    return [part.transpose(0, 1).split(lengths, 1) for part in rows]


def scaled_bmm(a: Tensor, b: Tensor, scale: float) -> Tensor:
    """bmm(a, b) * scale without another pass over the memory."""
    return torch.baddbmm(a.new_empty(()), a, b, beta=0, alpha=scale)


def beyond(window: int, length: int, like: Tensor) -> Tensor:
    """What keeps a token from those `window` or more away: [length, length], -inf there, else 0."""
    place = torch.arange(length)
    far = (place[:, None] - place).abs() >= window
    return torch.zeros(length, length, dtype=like.dtype).masked_fill_(far, float("-inf"))


def attend_from_cls(
    hidden: Tensor, packed: "Packed", projections: tuple[nn.Linear, ...], heads: int, scaling: float, rate: float
) -> Tensor:
    """What attention gives the CLS token of each pair: [pairs, heads, head width].

    hidden: [tokens, width], the layer's input; projections: the linear layers that make query, key and value. With one
    query per pair, no token's key or value need be computed: q · (K x) is (Kᵀ q) · x, and the mean of the values is V
    times the mean of the inputs, 20 times fewer operations for these two.
    """
    to_query, to_key, to_value = projections
    assert packed.attention_mask is not None and packed.indices is not None
    pairs, length = packed.attention_mask.shape
    width = hidden.shape[1]
    grid = hidden.new_zeros(pairs * length, width).index_copy(0, packed.indices, hidden).view(pairs, length, width)
    query = F.linear(hidden[packed.cls_positions], to_query.weight, to_query.bias).view(pairs, heads, -1) * scaling

    def split(projection: nn.Linear) -> tuple[Tensor, Tensor]:
        """Weight [heads, width of a head, width] and bias [heads, width of a head]."""
        return projection.weight.view(heads, -1, width), projection.bias.view(heads, -1)

    weight, bias = split(to_key)
    scores = torch.bmm(torch.einsum("phw,hwd->phd", query, weight), grid.transpose(1, 2))
    scores = scores + (query * bias).sum(-1, keepdim=True)
    scores = scores.masked_fill(packed.attention_mask[:, None] == 0, float("-inf"))
    weights = torch.softmax(scores, -1, dtype=torch.promote_types(scores.dtype, torch.float32)).to(scores.dtype)
    if rate:
        weights = weights * keep_mask(weights.shape, rate, weights)
    weight, bias = split(to_value)
    return torch.einsum("phd,hwd->phw", torch.bmm(weights, grid), weight) + weights.sum(-1, keepdim=True) * bias
