"""One update of the weights, on one page."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from pairft.data.batches import MicroBatch
from pairft.errors import Diverged

MAX_SKIPPED = 20  # steps in a row; a scaler that starts at 65,536 and is halved by each has then come to 1/16


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
    bad_steps: Tensor,
    micro_batches: Sequence[MicroBatch],
    num_examples: int,
    lr: float | Tensor,
    *,
    device: torch.device,
    amp_dtype: torch.dtype | None,
    max_grad_norm: float,
) -> tuple[Tensor, Tensor]:
    """One optimizer step. Returns, on the device, the sum of the examples' losses and the gradients' norm before
    clipping; nothing here reads a value back from it.

    `num_examples`: of the whole step, over all its micro-batches. The gradient is the mean over them, however they are
    split: each micro-batch adds the sum of its losses over that number.

    `lr`: a number, or a tensor [] on the device for a captured step, whose replays read it anew each time.

    `bad_steps` [] counts how many of the latest steps in a row had a loss or gradient that is not finite. Such a step
    leaves weights and moments as they are, and so do all after it; with a gradient scaler, which lowers its scale then,
    only that step itself.
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
    loss_sum = torch.stack(losses).sum()
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
    """Raise Diverged where the latest `bad_steps` steps, up to `step`, were not finite: one of them is enough, or
    MAX_SKIPPED with a gradient scaler."""
    if bad_steps >= (MAX_SKIPPED if scaled else 1):
        raise Diverged(step - bad_steps + 1)
