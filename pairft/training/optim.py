"""AdamW with two parameter groups (with --layer-decay, for each layer), and the learning rate schedule."""

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from pairft.config import Config
from pairft.training import layers

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def build_optimizer(
    model: "PreTrainedModel", weight_decay: float, layer_decay: float = 1.0, capturable: bool = False
) -> torch.optim.AdamW:
    """Fused AdamW (Loshchilov and Hutter 2019) with Trainer's betas and eps; `update` sets its learning rate at each
    step.

    Parameters with one dimension get no weight decay: in an encoder these are the biases and the norms' weights.
    `layer_decay`: the "lr_factor" of a group, by which `update` multiplies the learning rate, is this to the power of
        the group's distance from the top: 0 for the head, 1 for the last layer and so on, down to the embeddings.
    `capturable`: for a step captured as a CUDA graph, which reads the learning rate from the device.
    """
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    height = dict.fromkeys(trained, 0) if layer_decay == 1 else layers.heights(model, "--layer-decay")
    groups = []
    for at in sorted({height[name] for name in trained}, reverse=True):
        of_layer = [p for name, p in trained.items() if height[name] == at]
        factor = layer_decay ** (max(height.values()) - at)
        matrices, vectors = ([p for p in of_layer if (p.ndim >= 2) == wanted] for wanted in (True, False))
        groups.append({"params": matrices, "weight_decay": weight_decay, "lr_factor": factor})
        groups.append({"params": vectors, "weight_decay": 0.0, "lr_factor": factor})
    return torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.999), eps=1e-8, fused=True, capturable=capturable)


def warmup_steps(total_steps: int, warmup_ratio: float) -> int:
    """The number of warmup steps, rounded up as in transformers."""
    return math.ceil(total_steps * warmup_ratio)


def lr_at(step: int, total_steps: int, peak: float, warmup: int, schedule: str = "linear") -> float:
    """The learning rate of a step, counted from 0: it rises linearly from 0 to `peak` in `warmup` steps. Then it falls
    to 0 at `total_steps`, linearly or as half a cosine, or stays constant. Operations are in the same order as in
    transformers, to get the same bits."""
    if step < warmup:
        return peak * (step / max(1, warmup))
    if schedule == "constant":
        return peak
    if schedule == "cosine":
        return peak * max(0.0, 0.5 * (1.0 + math.cos(math.pi * ((step - warmup) / max(1, total_steps - warmup)))))
    return peak * max(0.0, (total_steps - step) / max(1, total_steps - warmup))


def lr_schedule(config: Config, total_steps: int) -> Callable[[int], float]:
    """`lr_at` as a function of the step alone."""
    warmup = warmup_steps(total_steps, config.warmup_ratio)
    return functools.partial(lr_at, total_steps=total_steps, peak=config.lr, warmup=warmup, schedule=config.schedule)
