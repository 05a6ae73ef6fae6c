"""The table of architectures that can be padding-free, and where their last layer is reduced to the CLS tokens.

Here the CLS token is the first token of each pair, whatever the tokenizer calls it. The heads of these models read only
that one, except for ModernBERT with mean pooling.
"""

from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class LastLayer:
    """The submodules of the last layer that PackedForward's hooks are registered on, as dotted paths from the base
    model; a number is an index."""

    projections: tuple[str, ...]  # linear layers of query, key and value; empty: attention is computed for all tokens
    cls_only: tuple[str, ...]  # after attention: compute the CLS tokens only, with 0 for the other tokens
    cls_from: str  # from this submodule on, the hidden states are those of the CLS tokens: [pairs, 1, width]


def paths(folder: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{folder}.{name}" for name in names)


QKV = ("query", "key", "value")
BERT = LastLayer(paths("encoder.layer.-1.attention.self", *QKV), (), "encoder.layer.-1.attention.output")
ALBERT = "encoder.albert_layer_groups.-1.albert_layers.-1.attention"
LAST_LAYERS = {
    "bert": BERT,
    "roberta": BERT,
    "xlm-roberta": BERT,
    "camembert": BERT,
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


def submodule(module: nn.Module, path: str) -> nn.Module:
    """The submodule at a dotted path in which a number, such as -1, is an index.

    Raises AttributeError or IndexError if there is none.
    """
    for part in path.split("."):
        module = module[int(part)] if part.lstrip("-").isdigit() else getattr(module, part)  # type: ignore[index]
    return module
