"""One update of the weights, on one page."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from pairft.batches import Batch


def loss_of(logits: Tensor, labels: Tensor, reduction: str) -> Tensor:
    """Cross entropy, or the squared error where the labels are numbers, in float32 or better. Of each example
    (`reduction` "none": [examples]), or their "sum" or "mean".

    logits: [examples, classes], or [examples, 1] for a regression; labels [examples]: int64 class ids, float32 values.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if labels.is_floating_point():
        return F.mse_loss(logits.squeeze(-1), labels, reduction=reduction)
    return F.cross_entropy(logits, labels, reduction=reduction)


def update(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    micro_batches: Sequence[Batch],
    num_examples: int,
    lr: float,
    *,
    device: torch.device,
    amp_dtype: torch.dtype | None,
    max_grad_norm: float,
) -> tuple[Tensor, Tensor]:
    """One optimizer step. Returns, on the device, the sum of the examples' losses and the gradients' norm before
    clipping; nothing here reads a value back from it.

    `num_examples`: of the whole step, over all micro-batches and processes. The gradient is the mean over them, however
    they are split: each micro-batch adds the sum of its losses over that number.
    """
    for group in optimizer.param_groups:
        group["lr"] = lr
    losses = []
    for batch in micro_batches:
        batch = batch.to(device)
        with torch.autocast(device.type, dtype=amp_dtype, enabled=amp_dtype is not None):
            logits = model(**batch.inputs()).logits
        loss = loss_of(logits, batch.labels, "sum")
        scaler.scale(loss / num_examples).backward()
        losses.append(loss.detach())
    scaler.unscale_(optimizer)  # so that the norm is that of the gradients themselves
    grad_norm = torch.nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad()
    return torch.stack(losses).sum(), grad_norm
