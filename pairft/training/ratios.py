"""The update-to-weight ratio of each layer: how far the latest step moved its weights, relative to their size."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pairft.errors import UserError
from pairft.training.layers import heights

SAMPLE = 16_384  # elements of each layer's matrices that are read, evenly spaced: RMS values are within about 1 %


@dataclass(frozen=True)
class Sample:
    """Evenly spaced elements of the trained weights and of AdamW's moments. The tensors are views, so that reading them
    after a step gives that step's values."""

    names: list[str]  # of the layers: "embeddings", "layer_01", …, "head"
    weights: list[Tensor]
    moments: list[Tensor]  # exp_avg
    variances: list[Tensor]  # exp_avg_sq
    steps: list[Tensor]  # [] for each parameter: the number of its updates
    parameter: Tensor  # int64 [elements] on the device: the index in `steps`
    layer: Tensor  # int64 [elements] on the device: the index in `names`
    stands_for: Tensor  # [elements] on the device: the number of elements that this one stands for
    lr_factor: Tensor  # [elements] on the device
    weight_decay: Tensor  # [elements] on the device
    betas: tuple[float, float]
    eps: float


def names_of(model: nn.Module) -> dict[str, str]:
    """The layer of each parameter by name, embeddings first, head last. {} if the layers can't be counted."""
    try:
        at = heights(model, "")
    except UserError:
        return {}
    top = max(at.values())
    called = {0: "embeddings", top: "head"}
    return {
        name: called.get(height, f"layer_{height:02d}") for name, height in sorted(at.items(), key=lambda item: item[1])
    }


def local(tensor: Any) -> Tensor:
    """The tensor, or this process's share of a sharded one."""
    share: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return share


def sample_of(model: nn.Module, optimizer: torch.optim.Optimizer) -> Sample | None:
    """A sample of what the optimizer, AdamW, has updated so far. None if that is nothing, or if the model's layers
    can't be counted. Frozen weights have no updates and don't count."""
    group_of = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    layer_of, parameters = names_of(model), dict(model.named_parameters())
    trained = [
        (layer, parameters[name])
        for name, layer in layer_of.items()
        if parameters[name] in optimizer.state and local(parameters[name]).numel()
    ]
    if not trained:
        return None
    names = list(dict.fromkeys(layer for layer, _ in trained))
    sizes = dict.fromkeys(names, 0)
    for layer, parameter in trained:
        sizes[layer] += local(parameter).numel()
    parts: dict[str, list[Tensor]] = {"weights": [], "moments": [], "variances": []}
    for layer, parameter in trained:
        # An odd stride, so that it doesn't hit the same columns of a matrix again and again. The few elements of biases
        # and norms are all read, since those of a norm are much larger than others.
        stride = sizes[layer] // SAMPLE | 1 if parameter.ndim > 1 else 1
        state = optimizer.state[parameter]
        tensors = parameter.detach(), state["exp_avg"], state["exp_avg_sq"]
        for part, tensor in zip(parts.values(), tensors, strict=True):
            part.append(local(tensor).reshape(-1)[::stride])
    counts = torch.tensor([len(part) for part in parts["weights"]])
    stands_for = [local(p).numel() / len(part) for (_, p), part in zip(trained, parts["weights"], strict=True)]
    groups = [group_of[id(parameter)] for _, parameter in trained]
    device = parts["weights"][0].device

    def expanded(values: Sequence[float]) -> Tensor:
        return torch.tensor(values).repeat_interleave(counts).to(device)

    return Sample(
        names,
        **parts,
        steps=[local(optimizer.state[parameter]["step"]) for _, parameter in trained],
        parameter=expanded(range(len(trained))),
        layer=expanded([names.index(layer) for layer, _ in trained]),
        stands_for=expanded(stands_for),
        lr_factor=expanded([group.get("lr_factor", 1.0) for group in groups]),
        weight_decay=expanded([group["weight_decay"] for group in groups]),
        betas=optimizer.defaults["betas"],
        eps=optimizer.defaults["eps"],
    )


@torch.no_grad()
def squares(sample: Sample | None, lr: float) -> dict[str, tuple[float, float]]:
    """The sums of the squares of the latest update and of the weights, for each layer by name; {} without a sample.
    `lr`: of that update.

    AdamW (Loshchilov and Hutter 2019) has made w of v, with the moments m and s after t updates:

        w = (1 - lr * weight_decay) * v - a        a = lr * (m / (1 - beta1^t)) / (sqrt(s / (1 - beta2^t)) + eps)

    so v = (w + a) / (1 - lr * weight_decay), and the update is w - v.
    """
    if sample is None:
        return {}
    dtype = torch.float32 if sample.layer.device.type == "mps" else torch.float64
    w, m, s = (torch.cat(part).to(dtype) for part in (sample.weights, sample.moments, sample.variances))
    t = torch.stack(sample.steps).to(w.device, dtype)
    correction1, correction2 = ((1 - beta**t)[sample.parameter] for beta in sample.betas)
    rate = lr * sample.lr_factor.to(dtype)
    a = rate * (m / correction1) / ((s / correction2).sqrt() + sample.eps)
    v = (w + a) / (1 - rate * sample.weight_decay)
    sums = torch.zeros((2, len(sample.names)), dtype=dtype, device=w.device)
    sums.index_add_(1, sample.layer, torch.stack((w - v, w)).square_() * sample.stands_for)
    return dict(zip(sample.names, zip(*sums.tolist(), strict=True), strict=True))


def ratios(parts: Sequence[dict[str, tuple[float, float]]]) -> dict[str, float]:
    """The ratio RMS(update) / RMS(weights) of each layer by name. `parts`: from `squares`, those of each process if the
    model is sharded. An adapter (LoRA) whose weights are still 0 has no ratio."""
    names = dict.fromkeys(name for part in parts for name in part)
    sums = {name: [sum(s) for s in zip(*(part[name] for part in parts if name in part), strict=True)] for name in names}
    return {name: math.sqrt(update / weights) for name, (update, weights) in sums.items() if weights}
