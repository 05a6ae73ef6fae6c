"""AdamW with two parameter groups, and the learning rate schedule."""

import functools
import math
from collections.abc import Callable

import torch

from pairft.config import Config


def build_optimizer(model: torch.nn.Module, weight_decay: float, capturable: bool = False) -> torch.optim.AdamW:
    """Fused AdamW (Loshchilov and Hutter 2019) with Trainer's betas and eps; `update` sets its learning rate at each
    step.

    Parameters with one dimension get no weight decay: in an encoder these are the biases and the norms' weights.
    `capturable`: for a step captured as a CUDA graph, which reads the learning rate from the device.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.999), eps=1e-8, fused=True, capturable=capturable)


def warmup_steps(total_steps: int, warmup_ratio: float) -> int:
    """The number of warmup steps, rounded up as in transformers."""
    return math.ceil(total_steps * warmup_ratio)


def lr_at(step: int, total_steps: int, peak: float, warmup: int) -> float:
    """The learning rate of a step, counted from 0: it rises linearly from 0 to `peak` in `warmup` steps, then falls
    linearly to 0 at `total_steps`. Operations are in the same order as in transformers, to get the same bits."""
    if step < warmup:
        return peak * (step / max(1, warmup))
    return peak * max(0.0, (total_steps - step) / max(1, total_steps - warmup))


def lr_schedule(config: Config, total_steps: int) -> Callable[[int], float]:
    """`lr_at` as a function of the step alone."""
    warmup = warmup_steps(total_steps, config.warmup_ratio)
    return functools.partial(lr_at, total_steps=total_steps, peak=config.lr, warmup=warmup)
