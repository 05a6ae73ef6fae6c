"""The padding-free forward pass: no padding goes through the linear layers, attention stays within each pair,
and the last layer computes only what the head reads.

transformers' own model code does it, given one long row with position ids. Two of its openings are used: the interface
for attention functions, and forward hooks on the submodules that the table below names. On a GPU the attention is
flash attention, rows are filled up to few distinct sizes (shapes.py), and the last layer has keys and values.
"""

import logging
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from pairft.data.batches import Batch, Collate
from pairft.speed.attention import PairAttention, attend_from_firsts, jagged_attention
from pairft.speed.packing import Packed, pack
from pairft.speed.shapes import bucket_size, padded_to

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PretrainedConfig, PreTrainedModel

ATTENTION = "pairft_unpadded"  # our function's name in transformers' interface
# Of the norm of what the head's last linear layer reads. Not of the logits: two that nearly cancel say nothing.
TOLERANCE = 1e-4  # float32's rounding stays a hundred times below, a mistake doesn't
HALF_TOLERANCE = 2e-2  # bf16's rounding came to 6e-3 in 64 tries of four encoders, positions off by one to 0.3 and more
HALF = (torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class LastLayer:
    """How the last layer is cut down to the first token of each pair, the only one that the head reads. Paths from the
    base model; a number is an index."""

    projections: tuple[str, ...]  # make query, key and value; none: the attention is computed for all tokens
    alone: tuple[str, ...]  # after the attention, token by token: for the first tokens alone, the other rows 0
    narrow: str  # from this submodule on there is nothing but first tokens: [pairs, 1, width]


def paths(folder: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{folder}.{name}" for name in names)


QKV = ("query", "key", "value")
BERT = LastLayer(paths("encoder.layer.-1.attention.self", *QKV), (), "encoder.layer.-1.attention.output")
ALBERT = "encoder.albert_layer_groups.-1.albert_layers.-1.attention"
LAST_LAYERS = {
    "bert": BERT,
    "roberta": BERT,
    "electra": BERT,
    "distilbert": LastLayer(
        paths("transformer.layer.-1.attention", "q_lin", "k_lin", "v_lin"),
        ("transformer.layer.-1.attention.out_lin",),
        "transformer.layer.-1.sa_layer_norm",
    ),
    "albert": LastLayer(paths(ALBERT, *QKV), (f"{ALBERT}.dense",), f"{ALBERT}.LayerNorm"),
    "modernbert": LastLayer((), ("layers.-1.attn.Wo", "layers.-1.mlp"), "final_norm"),
}
JAGGED = LAST_LAYERS.keys() - {"modernbert"}  # torch's jagged attention has no sliding window


@dataclass
class Pass:
    """One forward pass: its batch, and how many layers have attended. Counted, because ALBERT runs the same layer again
    and again."""

    packed: Packed
    layers: int
    projections: tuple[Any, ...]  # nn.Linear: of the last layer, where only first tokens ask; none: all tokens ask
    jagged: bool  # the attention: jagged_attention, or PairAttention
    attended: int = 0
    hidden: Tensor | None = None  # [tokens, width]: the input of those


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
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    if packing.projections and packing.attended == packing.layers:
        hidden, packing.hidden = packing.hidden, None  # or it would keep this pass's graph until the next
        assert hidden is not None
        found = attend_from_firsts(hidden, packing.packed, packing.projections, query.shape[1], scaling, dropout)
        return put_firsts(found.flatten(1)[None], packing.packed).view(1, -1, *found.shape[1:]), None
    query, key, value = (part[0].transpose(0, 1) for part in (query, key, value))
    if packing.jagged:
        return jagged_attention(query, key, value, packing.packed, scaling, dropout)[None], None
    found = PairAttention.apply(query, key, value, packing.packed.lengths, scaling, dropout, sliding_window)
    return found[None], None


def take_firsts(rows: Tensor, packed: Packed) -> Tensor:
    """[1, tokens, width] to [1, pairs, width]."""
    return rows.index_select(1, packed.cls_positions)


def put_firsts(rows: Tensor, packed: Packed) -> Tensor:
    """And back, 0 between them."""
    return rows.new_zeros(1, packed.input_ids.shape[1], rows.shape[2]).index_copy(1, packed.cls_positions, rows)


def trial_rows(dataset: "Dataset", config: "PretrainedConfig", limit: int) -> dict[str, Any]:
    """Examples for `prepare`: the longest, the longest of at most three quarters and of at most half its length, and
    where the model attends within a window that none of them exceeds, one made up that does. `limit`: tokens at most.
    """
    lengths = dataset.with_format("numpy")["length"][:]
    longest = lengths.max()
    chosen = {int(numpy.where(lengths <= longest * share, lengths, 0).argmax()) for share in (1, 0.75, 0.5)}
    rows = {name: list(values) for name, values in dataset[sorted(chosen, key=lambda row: -lengths[row])].items()}
    window = getattr(config, "local_attention", limit)
    if longest <= window < limit:
        number = min(2 * window, limit)
        for values in rows.values():
            first = values[0]
            values.append((first * (number // len(first) + 1))[:number] if isinstance(first, list) else first)
    return rows


def prepare(
    model: "PreTrainedModel",
    collate: Collate,
    rows: dict[str, Any],
    first_position: int,
    amp_dtype: torch.dtype | None = None,
) -> tuple[Collate, str]:
    """Make the model compute without padding, if what it makes of `rows` then equals what it makes of them with it.
    Returns the collate for it, which makes Packed batches, and how it computes, in words; else `collate` and why not.

    `first_position`: the position id of each pair's first token. Leaves the model in evaluation mode.
    `amp_dtype`: autocast's, as in training.
    """
    kind, device = model.config.model_type, model.device
    on_gpu = device.type == "cuda"
    known = LAST_LAYERS if device.type == "cpu" else JAGGED if on_gpu else {}
    if kind not in known:
        return collate, f"with padding: for {kind} on {device.type} there is no way around it yet"
    if on_gpu and not (amp_dtype in HALF and torch.cuda.get_device_capability(device) >= (8, 0)):
        return (
            collate,
            "with padding: else it takes bf16 or fp16, and a GPU of compute capability 8.0, for flash attention",
        )
    model.eval()
    before = model.config._attn_implementation

    def collate_packed(rows: dict[str, Any]) -> Packed:
        batch = collate(rows)
        assert isinstance(batch, Batch), type(batch)
        packed = pack(batch, first_position)
        return padded_to(packed, bucket_size(packed.num_tokens)) if on_gpu else packed

    tolerance = HALF_TOLERANCE if amp_dtype in HALF else TOLERANCE
    last = [part for part in model.modules() if isinstance(part, nn.Linear)][-1]
    read: list[Tensor] = []  # [pairs, width], by it
    reader = last.register_forward_pre_hook(lambda _, args: read.append(args[0].float()))
    with torch.inference_mode(), torch.autocast(device.type, dtype=amp_dtype, enabled=amp_dtype is not None):
        model(**collate(rows).to(device).inputs())
        hooks: list[RemovableHandle] = []
        try:
            install(model, hooks, jagged=on_gpu)
            model(**collate_packed(rows).to(device).inputs())
            wanted, got = read
            error = ((got - wanted).norm() / wanted.norm()).item() if got.shape == wanted.shape else float("inf")
            trouble = "" if error <= tolerance else f"what its head reads differs by {error:.1e}"
        except Exception as raised:  # whatever another version of transformers makes of it
            trouble = f"{type(raised).__name__}: {raised}"
    reader.remove()
    if trouble:
        for hook in hooks:
            hook.remove()
        model.set_attn_implementation(before)
        return collate, f"with padding: without it, {trouble}"

    return collate_packed, "on real tokens alone"


def install(model: "PreTrainedModel", hooks: list[RemovableHandle], jagged: bool) -> None:
    """Set the attention and register the hooks, which are added to `hooks`."""
    from transformers import AttentionInterface

    if jagged:  # torch's words to its own developers at the first nested tensor
        logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)
        warnings.filterwarnings("ignore", message="The PyTorch API of nested tensors is in prototype stage")
    AttentionInterface.register(ATTENTION, attend)
    model.set_attn_implementation(ATTENTION)
    config, row = model.config, LAST_LAYERS[model.config.model_type]
    layers = config.num_hidden_layers * getattr(config, "inner_group_num", 1)
    reads_all = getattr(config, "classifier_pooling", "cls") == "mean"
    base = model.base_model
    projections = tuple(submodule(base, path) for path in (() if reads_all or jagged else row.projections))
    now: Pass

    def begin(_: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
        nonlocal now
        now = Pass(kwargs["packing"], layers, projections, jagged)
        return args, {**kwargs, "packing": now}

    # At the last layer the projections pass for computed: attend_from_firsts does it from their input and weights.
    def keep_input(_: nn.Module, args: tuple[Tensor, ...]) -> Any:
        if now.attended < layers - 1:
            return None
        now.hidden = args[0][0]
        return (args[0][:, :1],)

    def stretch(_: nn.Module, args: Any, out: Tensor) -> Any:
        return None if now.attended < layers - 1 else out.expand(-1, now.packed.num_tokens, -1)

    def narrow(_: nn.Module, args: tuple[Tensor, ...]) -> Any:
        if now.attended == layers:
            return tuple(take_firsts(rows, now.packed).transpose(0, 1) for rows in args)
        return None

    def only_firsts(_: nn.Module, args: tuple[Tensor, ...]) -> Any:
        return (take_firsts(args[0], now.packed),) if now.attended == layers else None

    def among_all(_: nn.Module, args: Any, out: Tensor) -> Any:
        return put_firsts(out, now.packed) if now.attended == layers else None

    def pad(_: nn.Module, args: tuple[Tensor, ...]) -> Any:
        assert now.packed.attention_mask is not None and now.packed.indices is not None
        pairs, length = now.packed.attention_mask.shape
        grid = args[0].new_zeros(pairs * length, args[0].shape[2]).index_copy(0, now.packed.indices, args[0][0])
        return (grid.view(pairs, length, -1),)

    hooks.append(model.register_forward_pre_hook(begin, with_kwargs=True))
    if reads_all:
        hooks.append(submodule(base, row.narrow).register_forward_pre_hook(pad))
        return
    hooks.append(submodule(base, row.narrow).register_forward_pre_hook(narrow))
    for part in projections:
        hooks += [part.register_forward_pre_hook(keep_input), part.register_forward_hook(stretch)]
    for path in row.alone:
        part = submodule(base, path)
        hooks += [part.register_forward_pre_hook(only_firsts), part.register_forward_hook(among_all)]


def submodule(module: nn.Module, path: str) -> nn.Module:
    """By a dotted path in which a number, such as -1, is an index."""
    for part in path.split("."):
        module = module[int(part)] if part.lstrip("-").isdigit() else getattr(module, part)  # type: ignore[index]
    return module
