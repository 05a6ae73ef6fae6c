"""Dropout on the CPU with masks that cost a quarter of torch's: each random draw gives four elements."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LANES = 1 << 16  # values of a 16-bit lane; the rate is rounded to a multiple of 1 / LANES


def keep_mask(shape: torch.Size | tuple[int, ...], rate: float, like: Tensor) -> Tensor:
    """A dropout mask of `like`'s dtype: 0 with probability `rate`, else 1 / (1 - rate). Drawn from torch's global
    random state.

    torch draws a Bernoulli variable per element, one after the other; here each 64-bit draw gives four elements. Rates
    too close to 0 or 1 for 16 bits are left to torch.
    """
    kept = round((1 - rate) * LANES)
    if not 0 < kept < LANES:
        return F.dropout(torch.ones(shape, dtype=like.dtype), rate)
    count = torch.Size(shape).numel()
    draws = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None)
    lanes = draws.view(torch.int16)[:count].view(shape)
    return (lanes < kept - LANES // 2).to(like.dtype).mul_(LANES / kept)


class Dropout(nn.Dropout):
    """nn.Dropout with a mask from `keep_mask`."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return input
        return input * keep_mask(input.shape, self.p, input)


def replace_dropout(model: nn.Module) -> None:
    """Replace each nn.Dropout of a model on the CPU. On a GPU torch's own masks are cheap."""
    if next(model.parameters()).device.type != "cpu":
        return
    for name, module in list(model.named_modules()):
        if type(module) is nn.Dropout and 0 < module.p < 1:
            model.set_submodule(name, Dropout(module.p))
