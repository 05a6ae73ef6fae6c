"""Where a parameter is in the encoder, from the embeddings up to the head: for --layer-decay, --freeze and LoRA."""

import contextlib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import nn

from pairft.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LAYERS = re.compile(r"layers\.(\d+)(?:-(\d+))?")  # layers.3 or layers.0-3
# What DeBERTa registers after the layers: the norm of the embeddings of relative positions, and what it adds to the
# output of the first layer.
DEBERTA = {"encoder.LayerNorm.": 0, "encoder.conv.": 1}


def layer_lists(module: nn.Module, prefix: str = "") -> list[list[str]]:
    """The names of the layers in each outermost ModuleList. Lists directly within a list are joined (Funnel's
    blocks)."""
    found = []
    for name, part in module.named_children():
        if isinstance(part, nn.ModuleList):
            within = [(f"{prefix}{name}.{index}", layer) for index, layer in part.named_children()]
            lists = [
                [f"{path}.{index}" for index, _ in layer.named_children()]
                if isinstance(layer, nn.ModuleList)
                else [path]
                for path, layer in within
            ]
            found.append([path for paths in lists for path in paths])
        else:
            found += layer_lists(part, f"{prefix}{name}.")
    return found


def heights(model: "PreTrainedModel", flag: str) -> dict[str, int]:
    """The height of each parameter by name: 0 for embeddings and all else below the first layer, 1 for the first layer,
    …, L for the last one, and L + 1 above it: the head, a pooler, the last norm. `flag`: for the message.

    Raises UserError if the model is an encoder-decoder or has no layers in a ModuleList.
    """
    lists = [names for names in layer_lists(model) if names]
    if model.config.is_encoder_decoder or not lists:
        what = "is an encoder-decoder" if lists else "has no list of layers"
        raise UserError(
            f"{flag}: this {model.config.model_type} {what}, so that its layers can't be counted: leave it out"
        )
    top = max(map(len, lists)) + 1
    of_layer = {name: index + 1 for names in lists for index, name in enumerate(names)}  # XLM has parallel lists
    embeddings = [name for name, module in model.base_model.named_modules() if isinstance(module, nn.Embedding)]
    prefix = "" if model.base_model is model else model.base_model_prefix + "."
    found, passed = {}, False
    for name, _ in model.named_parameters():
        layer = next((index for path, index in of_layer.items() if name.startswith(path + ".")), None)
        passed |= layer is not None
        in_encoder = name.startswith(prefix)
        # DeBERTa registers the embeddings of positions after the layers; XLM-RoBERTa its head before the encoder.
        is_embedding = in_encoder and name.rpartition(".")[0].removeprefix(prefix) in embeddings
        below = is_embedding or (in_encoder and not passed)
        found[name] = layer if layer is not None else 0 if below else top
        if model.config.model_type.startswith("deberta"):
            within = name.removeprefix(prefix)
            found[name] = next((at for start, at in DEBERTA.items() if within.startswith(start)), found[name])
    return found


def freeze(model: "PreTrainedModel", names: Sequence[str]) -> None:
    """Set requires_grad of the named parameters to False, before an optimizer is built. `names`: "embeddings",
    "layers.3", "layers.0-3", or the name of a module or parameter. Raises UserError for a name that matches nothing,
    and if nothing is left to train."""
    parameters = dict(model.named_parameters(remove_duplicate=False))  # shared ones under each of their names
    height_of = heights(model, "--freeze") if any(map(is_height, names)) else {}
    top = max(height_of.values(), default=0)
    unknown = []
    for name in names:
        chosen = [p for key, p in parameters.items() if name == key or key.startswith(name + ".")]
        if is_height(name):
            first, last = range_of(name)
            chosen = [] if last >= top else [parameters[key] for key, at in height_of.items() if first <= at <= last]
        if not chosen:
            unknown.append(name)
        for parameter in chosen:
            parameter.requires_grad_(False)
    if unknown:
        raise UserError(f"--freeze {','.join(unknown)}: the model has no such part; it has {', '.join(choices(model))}")
    if not any(parameter.requires_grad for parameter in parameters.values()):
        raise UserError(f"--freeze {','.join(names)} freezes all weights, so that nothing is left to train")


def is_height(name: str) -> bool:
    return name == "embeddings" or LAYERS.fullmatch(name) is not None


def range_of(name: str) -> tuple[int, int]:
    """The lowest and the highest height that "embeddings" or "layers.0-3" names."""
    match = LAYERS.fullmatch(name)
    if match is None:
        return 0, 0
    first, last = int(match[1]), int(match[2] or match[1])
    return first + 1, last + 1


def choices(model: "PreTrainedModel") -> list[str]:
    """The names that --freeze takes, without those of modules within the ones listed."""
    found = []
    with contextlib.suppress(UserError):  # no layers that can be counted
        number = max(heights(model, "--freeze").values()) - 1
        found = ["embeddings", "layers.0" if number == 1 else f"layers.0-{number - 1}"]
    prefix = model.base_model_prefix
    parts = [(f"{prefix}.{name}", part) for name, part in model.base_model.named_children()]
    parts += [(name, part) for name, part in model.named_children() if part is not model.base_model]
    return found + [name for name, part in parts if any(True for _ in part.parameters())]


def checkpoint_layers(model: "PreTrainedModel", **options: Any) -> None:
    """Turn gradient checkpointing on: the backward pass computes each layer again, with the same dropout masks, instead
    of keeping its activations. `options`: of torch's checkpoint. Raises UserError if transformers doesn't have it for
    this kind of model."""
    # transformers has renamed it.
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    try:
        enable({"use_reentrant": False, **options})
    except ValueError:
        kind = model.config.model_type
        raise UserError(f"--gradient-checkpointing: transformers doesn't have it for {kind}: leave it out") from None


def are_checkpointed(model: "PreTrainedModel") -> bool:
    return any(getattr(part, "gradient_checkpointing", False) for part in model.modules())
