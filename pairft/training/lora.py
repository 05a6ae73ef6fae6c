"""LoRA (Hu et al. 2021) by peft: train two small matrices beside each weight matrix of the layers, instead of that one.

The model stays the one of transformers, with peft's modules in place of the layers' linear ones. Checkpoints hold both;
a saved model has the product of the small matrices added to the weights, so that nothing else needs to know about them.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pairft.errors import UserError
from pairft.training import layers

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ADAPTER = "default"  # peft's name for the only one


def add_adapters(model: "PreTrainedModel", rank: int, alpha: int, seed: int) -> None:
    """Put adapters beside all linear modules of the layers, and set requires_grad so that only they and what is above
    the layers (head, pooler, last norm) are trained. Build the optimizer afterwards.

    The adapters change nothing at first. `alpha`: they are added times alpha / rank. `seed`: of their draw, which is
    the same in every process and leaves the random states as they are.
    """
    import peft

    height = layers.heights(model, "--lora-rank")
    top = max(height.values())
    modules = dict(model.named_modules())
    places = (name.removesuffix(".weight") for name, at in height.items() if 0 < at < top)
    targets = [place for place in places if type(modules.get(place)) is nn.Linear]
    if not targets:
        raise UserError(
            f"--lora-rank: the layers of this {model.config.model_type} have no linear modules: leave it out"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        peft.inject_adapter_in_model(peft.LoraConfig(r=rank, lora_alpha=alpha, target_modules=targets), model)
    for name, parameter in model.named_parameters():
        if height.get(name) == top:  # peft has frozen all but the adapters
            parameter.requires_grad_(True)


def merged_weights(model: "PreTrainedModel") -> dict[str, Tensor] | None:
    """The weights and buffers by the names that they have without adapters, with the adapters added. The model itself
    is not changed. None if it has no adapters."""
    adapted = {name: module for name, module in model.named_modules() if hasattr(module, "get_delta_weight")}
    if not adapted:
        return None
    state = {name: tensor for name, tensor in model.state_dict().items() if ".lora_" not in name}
    weights = {name.replace(".base_layer.", "."): tensor for name, tensor in state.items()}
    with torch.no_grad():
        for name, module in adapted.items():
            weights[f"{name}.weight"] = module.base_layer.weight + module.get_delta_weight(ADAPTER)
    return weights
