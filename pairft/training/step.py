"""The loss and one update of the weights."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from pairft.data.batches import MicroBatch
from pairft.errors import Diverged

# `update` for one model: (micro-batches, number of examples, learning rate) to (sum of the losses, gradient norm).
Update = Callable[[Sequence[MicroBatch], int, float | Tensor], tuple[Tensor, Tensor]]

MAX_SKIPPED = 20  # steps in a row; each halves the scale, from 65,536 to 1/16


def loss_of(
    logits: Tensor, labels: Tensor, reduction: str, class_weights: Tensor | None = None, label_smoothing: float = 0.0
) -> Tensor:
    """Cross entropy; for labels [examples] of floats, the squared error; for labels [examples, classes], the binary
    cross entropy of each class. Computed in float32, or float64 for such logits.

    logits: [examples, classes], or [examples, 1] for a regression.
    labels: [examples], int64 class ids or float32 values, or [examples, classes], float32 0 and 1 (multi-label).
    reduction: "none" for the loss of each example [examples], which is the mean over the classes if it is multi-label;
        "mean" for their mean []; "sum" for a scalar [], the sum over the examples and, if it is multi-label, classes.
    class_weights: [classes], label_smoothing: those of torch's cross_entropy. A "sum" with weights is divided by the
        number of examples, not by the sum of their weights: the mean of "balanced" weights over the split is 1.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if is_multi_label(labels):
        losses = F.binary_cross_entropy_with_logits(logits, labels, reduction=reduction)
        return losses.mean(dim=1) if reduction == "none" else losses
    if labels.is_floating_point():
        return F.mse_loss(logits.squeeze(-1), labels, reduction=reduction)
    return F.cross_entropy(logits, labels, class_weights, reduction=reduction, label_smoothing=label_smoothing)


def is_multi_label(labels: Tensor) -> bool:
    return labels.ndim == 2


def losses_of_example(labels: Tensor) -> int:
    """How many terms each example has in the sum that `loss_of` returns: its classes if it is multi-label, else 1."""
    return labels.shape[1:].numel()


def update(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    bad_steps: Tensor,
    micro_batches: Sequence[MicroBatch],
    num_examples: int,
    lr: float | Tensor,
    *,
    device: torch.device,
    amp_dtype: torch.dtype | None,
    max_grad_norm: float,
    class_weights: Tensor | None = None,
    label_smoothing: float = 0.0,
    sum_over_ranks: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """One optimizer step. Returns the sum of the losses (see `loss_of`) and the gradient norm before clipping, as
    tensors [] on the device. Nothing here waits for the device.

    num_examples: the number of examples in the whole step. Each micro-batch adds the sum of its losses divided by it,
        so that the gradient is the mean over all examples, however they are split into micro-batches. (Class weights
        don't change the divisor; the loss of a multi-label example is the mean over its classes.)
    lr: a float or, for a captured step, a tensor [] on the device, which each replay reads again.
    bad_steps: [], the number of latest steps in a row whose loss or gradient is not finite. Such a step leaves weights
        and moments unchanged, and so do all steps after it. With a gradient scaler, only that step is skipped, and the
        scale is lowered.
    sum_over_ranks: with several processes, replaces the gradients by their sums over all of them, and returns that of
        its argument (gradient_sum.py). Then `micro_batches` are this process's share of the step, which may be empty.
    """
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_factor", 1.0)  # of the layer, with --layer-decay
    losses = []
    for batch in micro_batches:
        batch = batch.to(device)
        with torch.autocast(device.type, dtype=amp_dtype, enabled=amp_dtype is not None):
            logits = model(**batch.inputs()).logits
        loss = loss_of(logits, batch.labels, "sum", class_weights, label_smoothing)
        share = loss / num_examples
        if is_multi_label(batch.labels):  # as in Trainer, to the last bit: torch's "mean" divides in the backward pass
            share = loss_of(logits, batch.labels, "mean") * (len(batch.labels) / num_examples)
        scaler.scale(share).backward()
        losses.append(loss.detach())
    loss_sum = torch.stack(losses or [torch.zeros((), device=device)]).sum()
    if sum_over_ranks is not None:
        loss_sum = sum_over_ranks(loss_sum)
    scaler.unscale_(optimizer)  # so that the norm is that of the gradients themselves
    grad_norm = torch.nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
    if hasattr(grad_norm, "full_tensor"):  # of a sharded model: each process has the norm of its share so far
        grad_norm = grad_norm.full_tensor()
    finite = loss_sum.isfinite() & grad_norm.isfinite()
    if scaler.is_enabled():
        bad_steps.add_(1).mul_(~finite)
    else:
        bad_steps.add_(~finite | (bad_steps > 0))
        optimizer.found_inf = (bad_steps > 0).float()  # type: ignore[attr-defined]  # a fused optimizer then does nothing
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad()
    return loss_sum, grad_norm


def check_finite(bad_steps: int, step: int, scaled: bool) -> None:
    """Raise Diverged if training has diverged: after one bad step or, with a gradient scaler (`scaled`), after
    MAX_SKIPPED.

    `bad_steps`: how many of the latest steps in a row, up to `step`, were not finite.
    """
    if bad_steps >= (MAX_SKIPPED if scaled else 1):
        raise Diverged(step - bad_steps + 1)
