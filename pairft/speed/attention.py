"""Softmax attention within each pair of a packed batch."""

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
    """Attention for one pair after the other. On a CPU with dropout it is twice as fast as one padded matmul for all
    pairs, because a pair's attention weights stay in the cache (docs/log.md).

    query, key, value and the output: [tokens, heads, head width]. `lengths`: tokens of each pair. `rate`: of dropout.
    `window`: a token attends to tokens fewer than `window` positions away; None: to all.
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
        if rate:  # one draw for all pairs
            drawn = keep_mask((heads * sum(n * n for n in lengths),), rate, query)
            masks = [
                m.view(heads, n, n) for m, n in zip(drawn.split([heads * n * n for n in lengths]), lengths, strict=True)
            ]
        weights = []
        for q, k, v, o, mask in zip(*by_pair(lengths, query, key, value, out), masks, strict=True):
            scores = scaled_bmm(q, k.transpose(1, 2), scaling)
            if window is not None and q.shape[1] > window:
                scores += window_mask(window, q.shape[1], scores)
            weight = torch.softmax(scores, -1, dtype=torch.promote_types(scores.dtype, torch.float32)).to(query.dtype)
            weights.append(weight)
            o.copy_(torch.bmm(weight if mask is None else weight * mask, v))
        ctx.save_for_backward(query, key, value, *weights, *(m for m in masks if m is not None))
        ctx.lengths, ctx.scaling = lengths, scaling
        return out

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, *saved = ctx.saved_tensors
        pairs = len(ctx.lengths)
        weights, masks = saved[:pairs], saved[pairs:] or [None] * pairs
        grad_query, grad_key, grad_value = map(torch.empty_like, (query, key, value))
        parts = by_pair(ctx.lengths, query, key, value, grad_output, grad_query, grad_key, grad_value)
        for q, k, v, grad_o, grad_q, grad_k, grad_v, weight, mask in zip(*parts, weights, masks, strict=True):
            grad_weight, dropped = torch.bmm(grad_o, v.transpose(1, 2)), weight
            if mask is not None:
                grad_weight *= mask
                dropped = weight * mask
            grad_v.copy_(torch.bmm(dropped.transpose(1, 2), grad_o))
            grad_scores = torch.ops.aten._softmax_backward_data(grad_weight, weight, -1, weight.dtype)
            grad_q.copy_(scaled_bmm(grad_scores, k, ctx.scaling))
            grad_k.copy_(scaled_bmm(grad_scores.transpose(1, 2), q, ctx.scaling))
        return grad_query, grad_key, grad_value, None, None, None, None


def jagged_attention(
    query: Tensor, key: Tensor, value: Tensor, packed: "Packed", scaling: float, rate: float
) -> Tensor:
    """The same as PairAttention, with torch's nested tensors. Only the values in `packed.cu_seqlens` depend on the
    lengths, so a captured step can be replayed for other lengths.

    On a GPU it uses flash attention, or raises RuntimeError. torch's memory-efficient kernel drops other weights of
    nested tensors in the backward pass than in the forward pass, so it is used for float32 without gradients only: in
    evaluation without autocast, which has no dropout.
    """

    def nested(part: Tensor) -> Tensor:
        """[pairs, heads, tokens of the pair, head width]. Without length bounds, torch would wait for the device."""
        rows = torch.nested.nested_tensor_from_jagged(
            part, packed.cu_seqlens, min_seqlen=1, max_seqlen=packed.max_seqlen
        )
        return rows.transpose(1, 2)

    plain = query.dtype == torch.float32 and not query.requires_grad
    kernel = SDPBackend.EFFICIENT_ATTENTION if plain else SDPBackend.FLASH_ATTENTION
    with sdpa_kernel(kernel) if query.is_cuda else nullcontext():
        found = F.scaled_dot_product_attention(nested(query), nested(key), nested(value), dropout_p=rate, scale=scaling)
    return found.transpose(1, 2).values()


def by_pair(lengths: tuple[int, ...], *tensors: Tensor) -> list[tuple[Tensor, ...]]:
    """For each tensor [tokens, heads, head width], the views of its pairs: [heads, tokens of the pair, head width]."""
    return [tensor.transpose(0, 1).split(lengths, 1) for tensor in tensors]


def scaled_bmm(a: Tensor, b: Tensor, scale: float) -> Tensor:
    """bmm(a, b) * scale, without another pass over memory."""
    return torch.baddbmm(a.new_empty(()), a, b, beta=0, alpha=scale)


def window_mask(window: int, length: int, like: Tensor) -> Tensor:
    """The mask of sliding window attention, [length, length]: -inf for tokens `window` or more apart, else 0."""
    position = torch.arange(length)
    far = (position[:, None] - position).abs() >= window
    return torch.zeros(length, length, dtype=like.dtype).masked_fill_(far, float("-inf"))


def attend_from_cls(
    hidden: Tensor, packed: "Packed", projections: tuple[nn.Linear, ...], heads: int, scaling: float, rate: float
) -> Tensor:
    """The attention output for the CLS token of each pair: [pairs, heads, head width].

    hidden: [tokens, width], the layer's input. projections: the linear layers of query, key and value. With one query
    per pair, no keys or values need be computed: q · (K x) is (Kᵀ q) · x, and the weighted mean of the values is V
    times the weighted mean of the inputs. That takes 20 times fewer operations.
    """
    query_proj, key_proj, value_proj = projections
    assert packed.attention_mask is not None and packed.indices is not None
    pairs, length = packed.attention_mask.shape
    width = hidden.shape[1]
    grid = hidden.new_zeros(pairs * length, width).index_copy(0, packed.indices, hidden).view(pairs, length, width)
    query = F.linear(hidden[packed.cls_positions], query_proj.weight, query_proj.bias).view(pairs, heads, -1) * scaling

    def split(projection: nn.Linear) -> tuple[Tensor, Tensor]:
        """Its weight [heads, head width, width] and bias [heads, head width]."""
        return projection.weight.view(heads, -1, width), projection.bias.view(heads, -1)

    weight, bias = split(key_proj)
    scores = torch.bmm(torch.einsum("phw,hwd->phd", query, weight), grid.transpose(1, 2))
    scores = scores + (query * bias).sum(-1, keepdim=True)
    scores = scores.masked_fill(packed.attention_mask[:, None] == 0, float("-inf"))
    weights = torch.softmax(scores, -1, dtype=torch.promote_types(scores.dtype, torch.float32)).to(scores.dtype)
    if rate:
        weights = weights * keep_mask(weights.shape, rate, weights)
    weight, bias = split(value_proj)
    return torch.einsum("phd,hwd->phw", torch.bmm(weights, grid), weight) + weights.sum(-1, keepdim=True) * bias
