"""One call of the update, watched from outside by torch's hooks: the code that trains is the code that is explained."""

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pairft.data.batches import Batch
from pairft.model import head
from pairft.training.step import loss_of

if TYPE_CHECKING:
    from pairft.training.learner import Learner

SHIFT = 1e-2  # of the logit, in the finite difference: less would drown in float32's rounding of the loss


@dataclass(frozen=True)
class Watched:
    """What one update computes for a pair, and for one weight of the head."""

    logits: list[float]
    loss: float
    name: str  # of the weight, such as classifier.weight[1, 37]
    read: float  # the value that the weight multiplies
    weight: float  # before the step
    slope: float  # the loss's, by finite difference
    gradient: float  # before clipping
    norm: float  # of all gradients, before clipping
    num_weights: int
    clipped: float
    clipped_norm: float
    exp_avg: float
    exp_avg_sq: float
    new: float
    logits_after: list[float]
    loss_after: float


def watch(learner: "Learner", batch: Batch, lr: float) -> Watched:
    """Do one update on the one pair in `batch`, with dropout off, and keep what it computes. The weight that is
    followed is the one of the largest effect in the row of the pair's own class."""
    model: Any = learner.state.model.eval()
    name = next(name for name in head.output_parameters(model) if model.get_parameter(name).ndim == 2)
    weights = model.get_parameter(name)
    logits, _, read = forward(model, batch, name)
    at = int(batch.labels[0]), int(read.abs().argmax())
    weight = weights[at].item()
    slope = finite_difference(model, batch, name, at, SHIFT / max(1.0, abs(read[at[1]].item())))
    seen: dict[str, float] = {}
    with watching(learner, weights, at, seen):
        loss_sum, norm = learner.update([batch], len(batch.labels), lr)
    moments = learner.state.optimizer.state[weights]
    logits_after, loss_after, _ = forward(model, batch, name)
    return Watched(
        logits=logits.tolist(),
        loss=loss_sum.item(),
        name=f"{name}[{at[0]}, {at[1]}]",
        read=read[at[1]].item(),
        weight=weight,
        slope=slope,
        norm=norm.item(),
        num_weights=sum(p.numel() for p in model.parameters()),
        exp_avg=moments["exp_avg"][at].item(),
        exp_avg_sq=moments["exp_avg_sq"][at].item(),
        new=weights[at].item(),
        logits_after=logits_after.tolist(),
        loss_after=loss_after,
        **seen,
    )


def forward(model: Any, batch: Batch, name: str) -> tuple[Tensor, float, Tensor]:
    """Logits [classes] and loss of the pair in `batch`, and what the linear layer with the weights `name` reads,
    [width], at the last token if it reads them all."""
    read: list[Tensor] = []
    layer = model.get_submodule(name.rpartition(".")[0])
    handle = layer.register_forward_pre_hook(lambda _, args: read.append(args[0].flatten(0, -2)[-1]))
    try:
        with torch.no_grad():
            logits = model(**batch.inputs()).logits
    finally:
        handle.remove()
    return logits[0], loss_of(logits, batch.labels, "mean").item(), read[-1]


def finite_difference(model: Any, batch: Batch, name: str, at: tuple[int, int], size: float) -> float:
    """The slope of the loss by one weight: the model is computed with the weight greater and smaller by `size`."""
    weights = model.get_parameter(name)
    before, losses = weights[at].item(), []
    for shift in (size, -size):
        with torch.no_grad():
            weights[at] = before + shift
        losses.append(forward(model, batch, name)[1])
    with torch.no_grad():
        weights[at] = before
    return (losses[0] - losses[1]) / (2 * size)


@contextlib.contextmanager
def watching(learner: "Learner", weights: Tensor, at: tuple[int, int], seen: dict[str, float]) -> Iterator[None]:
    """Within the context, an update leaves in `seen` the gradient of a weight before and after clipping, and the norm
    of all gradients after it."""
    model, optimizer = learner.state.model, learner.state.optimizer

    def after_backward(parameter: Tensor) -> None:
        assert parameter.grad is not None
        seen["gradient"] = parameter.grad[at].item()

    def before_step(*_: object) -> None:
        assert weights.grad is not None
        seen["clipped"] = weights.grad[at].item()
        norms = [p.grad.double().norm().item() for p in model.parameters() if p.grad is not None]
        seen["clipped_norm"] = math.hypot(*norms)

    handles = [
        weights.register_post_accumulate_grad_hook(after_backward),
        optimizer.register_step_pre_hook(before_step),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
