"""The forward pass on real tokens alone: no padding goes through the linear layers, attention stays within each pair,
and the last layer computes only what the head reads.

transformers' own model code does it, given one long row with position ids. Two of its openings are used: the interface
for attention functions, and forward hooks on the submodules that the table below names. CPU only.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from pairft.batches import Batch, Collate, Packed, pack
from pairft.dropout import keep_mask

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ATTENTION = "pairft_unpadded"  # our function's name in transformers' interface
TOLERANCE = 1e-4  # of the largest logit: float32's rounding stays a hundred times below, a mistake doesn't


@dataclass(frozen=True)
class LastLayer:
    """How the last layer is cut down to the first token of each pair, the only one that the head reads. Paths from the
    base model; a number is an index."""

    query: str | None  # makes the queries: for the first tokens alone, the other rows 0
    alone: tuple[str, ...]  # the same for what follows the attention, token by token
    narrow: str  # from this submodule on there is nothing but first tokens: [pairs, 1, width]


BERT = LastLayer("encoder.layer.-1.attention.self.query", (), "encoder.layer.-1.attention.output")
ALBERT = "encoder.albert_layer_groups.-1.albert_layers.-1.attention"
LAST_LAYERS = {
    "bert": BERT,
    "roberta": BERT,
    "electra": BERT,
    "distilbert": LastLayer(
        "transformer.layer.-1.attention.q_lin",
        ("transformer.layer.-1.attention.out_lin",),
        "transformer.layer.-1.sa_layer_norm",
    ),
    "albert": LastLayer(f"{ALBERT}.query", (f"{ALBERT}.dense",), f"{ALBERT}.LayerNorm"),
    "modernbert": LastLayer(None, ("layers.-1.attn.Wo", "layers.-1.mlp"), "final_norm"),
}


@dataclass
class Pass:
    """One forward pass: its batch, the number of the layer where only first tokens ask (0: none), and how many layers
    have attended. Counted, because ALBERT runs the same layer again and again."""

    packed: Packed
    last: int
    attended: int = 0


class PairAttention(torch.autograd.Function):
    """Softmax attention within each pair, one pair after the other: on a CPU, and with dropout, twice as fast as one
    padded product for all (docs/log.md), and without masks.

    query, key, value: [tokens, heads, width]; the output, too. `firsts`: only the first token of each pair asks; the
    other rows of the output are 0.
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
        firsts: bool,
        window: int | None,
    ) -> Tensor:
        heads = query.shape[1]
        asking = [1 if firsts else length for length in lengths]
        queries, keys, values = (part.transpose(0, 1) for part in (query * scaling, key, value))
        sizes = [heads * asked * length for asked, length in zip(asking, lengths, strict=True)]
        masks: Any = [None] * len(lengths)
        if rate:  # drawn at once for all pairs
            drawn = keep_mask((sum(sizes),), rate, query).split(sizes)
            masks = [m.view(heads, a, n) for m, a, n in zip(drawn, asking, lengths, strict=True)]
        out = torch.zeros_like(query) if firsts else torch.empty_like(query)
        weights, start = [], 0
        for asked, length, mask in zip(asking, lengths, masks, strict=True):
            ours, end = slice(start, start + asked), start + length
            scores = torch.bmm(queries[:, ours], keys[:, start:end].transpose(1, 2))
            if window is not None and length > window:
                scores += beyond(window, length, asked, scores)
            weight = torch.softmax(scores, -1, dtype=torch.promote_types(scores.dtype, torch.float32)).to(query.dtype)
            weights.append(weight)
            kept = weight if mask is None else weight * mask
            out[ours] = torch.bmm(kept, values[:, start:end]).transpose(0, 1)
            start = end
        ctx.save_for_backward(query, key, value, *weights, *(m for m in masks if m is not None))
        ctx.lengths, ctx.asking, ctx.scaling = lengths, asking, scaling
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, *saved = ctx.saved_tensors
        pairs = len(ctx.lengths)
        weights, masks = saved[:pairs], saved[pairs:] or [None] * pairs
        queries, keys, values, upstream = (part.transpose(0, 1) for part in (query, key, value, gradient))
        to_query, to_key, to_value = torch.zeros_like(query), torch.empty_like(key), torch.empty_like(value)
        start = 0
        for asked, length, weight, mask in zip(ctx.asking, ctx.lengths, weights, masks, strict=True):
            ours, whole = slice(start, start + asked), slice(start, start + length)
            kept = weight if mask is None else weight * mask
            to_value[whole] = torch.bmm(kept.transpose(1, 2), upstream[:, ours]).transpose(0, 1)
            to_weight = torch.bmm(upstream[:, ours], values[:, whole].transpose(1, 2))
            if mask is not None:
                to_weight *= mask
            to_scores = torch.ops.aten._softmax_backward_data(to_weight, weight, -1, weight.dtype)
            to_query[ours] = torch.bmm(to_scores, keys[:, whole]).transpose(0, 1)
            to_key[whole] = torch.bmm(to_scores.transpose(1, 2), queries[:, ours]).transpose(0, 1)
            start += length
        return to_query.mul_(ctx.scaling), to_key.mul_(ctx.scaling), to_value, None, None, None, None, None


def beyond(window: int, length: int, asked: int, like: Tensor) -> Tensor:
    """What keeps a token from those `window` or more away: [asked, length], -inf there, else 0."""
    place = torch.arange(length)
    far = (place[:asked, None] - place).abs() >= window
    return torch.zeros(asked, length, dtype=like.dtype).masked_fill_(far, float("-inf"))


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    packing: Pass | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """An attention function as transformers calls it: query, key, value [1, heads, tokens, width] of a Packed batch.
    Returns [1, tokens, heads, width]."""
    assert packing is not None, "unpadded attention, but no Packed batch"
    packing.attended += 1
    firsts = packing.attended == packing.last
    rows = (part[0].transpose(0, 1) for part in (query, key, value))
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    out = PairAttention.apply(*rows, packing.packed.lengths, scaling, dropout, firsts, sliding_window)
    return out[None], None


def prepare(
    model: "PreTrainedModel", collate: Collate, rows: dict[str, Any], first_position: int
) -> tuple[Collate, str]:
    """Make the model compute without padding, if its logits for `rows` then equal those it gives with it. Returns the
    collate for it, which makes Packed batches, and how it computes, in words; else `collate` and why not.

    `first_position`: the position id of each pair's first token. Leaves the model in evaluation mode.
    """
    kind = model.config.model_type
    if model.device.type != "cpu" or kind not in LAST_LAYERS:
        return collate, f"with padding: for {kind} on {model.device.type} there is no way around it yet"
    model.eval()
    padded = collate(rows)
    assert isinstance(padded, Batch), type(padded)
    before = model.config._attn_implementation
    with torch.inference_mode():
        wanted = model(**padded.inputs()).logits
        hooks: list[RemovableHandle] = []
        try:
            install(model, hooks)
            got = model(**pack(padded, first_position).inputs()).logits
            error = (got - wanted).abs().max().item() if got.shape == wanted.shape else float("inf")
            trouble = "" if error <= TOLERANCE * wanted.abs().max().item() else f"the logits differ by {error:.1e}"
        except Exception as raised:  # whatever another version of transformers makes of it
            trouble = f"{type(raised).__name__}: {raised}"
    if trouble:
        for hook in hooks:
            hook.remove()
        model.set_attn_implementation(before)
        return collate, f"with padding: without it, {trouble}"

    def collate_packed(rows: dict[str, Any]) -> Packed:
        batch = collate(rows)
        assert isinstance(batch, Batch), type(batch)
        return pack(batch, first_position)

    return collate_packed, "on real tokens alone"


def install(model: "PreTrainedModel", hooks: list[RemovableHandle]) -> None:
    """Set the attention and register the hooks, which are added to `hooks`."""
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION, attend)
    model.set_attn_implementation(ATTENTION)
    config, row = model.config, LAST_LAYERS[model.config.model_type]
    layers = config.num_hidden_layers * getattr(config, "inner_group_num", 1)
    reads_all = getattr(config, "classifier_pooling", "cls") == "mean"
    now: Pass

    def begin(_: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
        nonlocal now
        now = Pass(kwargs["packing"], last=0 if reads_all else layers)
        return args, {**kwargs, "packing": now}

    def take_firsts(rows: Tensor) -> Tensor:  # [1, tokens, width] to [1, pairs, width]
        return rows.index_select(1, now.packed.first)

    def put_firsts(rows: Tensor) -> Tensor:  # and back, 0 between them
        return rows.new_zeros(1, now.packed.num_tokens, rows.shape[2]).index_copy(1, now.packed.first, rows)

    def narrow(_: nn.Module, args: tuple[Tensor, ...]) -> Any:
        if now.attended == layers:
            return tuple(take_firsts(rows).transpose(0, 1) for rows in args)
        return None

    def pad(_: nn.Module, args: tuple[Tensor, ...]) -> Any:
        pairs, length = now.packed.attention_mask.shape
        grid = args[0].new_zeros(pairs * length, args[0].shape[2]).index_copy(0, now.packed.slots, args[0][0])
        return (grid.view(pairs, length, -1),)

    base = model.base_model
    hooks.append(model.register_forward_pre_hook(begin, with_kwargs=True))
    if reads_all:
        hooks.append(submodule(base, row.narrow).register_forward_pre_hook(pad))
        return
    hooks.append(submodule(base, row.narrow).register_forward_pre_hook(narrow))
    for path, when in ((row.query, layers - 1), *((path, layers) for path in row.alone)):
        if path is not None:
            part = submodule(base, path)

            def before(_: nn.Module, args: tuple[Tensor, ...], when: int = when) -> Any:
                return (take_firsts(args[0]),) if now.attended == when else None

            def after(_: nn.Module, args: Any, out: Tensor, when: int = when) -> Any:
                return put_firsts(out) if now.attended == when else None

            hooks += [part.register_forward_pre_hook(before), part.register_forward_hook(after)]


def submodule(module: nn.Module, path: str) -> nn.Module:
    """By a dotted path in which a number, such as -1, is an index."""
    for part in path.split("."):
        module = module[int(part)] if part.lstrip("-").isdigit() else getattr(module, part)  # type: ignore[index]
    return module
