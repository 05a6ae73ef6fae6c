"""What is measured for TensorBoard at each training line, beside what the log interval counts."""

import functools
import resource
import sys
from dataclasses import dataclass

import numpy
import torch

from pairft.training import distributed, ratios
from pairft.training.learner import Learner
from pairft.training.sharding import is_sharded
from pairft.training.state import LogInterval
from pairft.training.utilisation import flops_per_token, measured_peak

GIB = 2**30


@dataclass
class Measures:
    """What is measured in one run."""

    learner: Learner
    lengths: numpy.ndarray  # int32 [examples]: tokens of the training examples; with --streaming of the first ones

    def scalars(self, interval: LogInterval, lr: float, tokens: int) -> dict[str, float]:
        """Points by tag: where the interval's seconds went, the peak memory of this process so far, the share of the
        hardware's operations, and the update-to-weight ratio of each layer. `lr`: of the latest step. `tokens`: those
        of all processes. Every process must call it."""
        ratio_of = self.update_ratios(lr)
        if not distributed.is_main():
            return {}
        found = {
            "resources/seconds/data": interval.data_seconds,
            "resources/seconds/steps": interval.seconds - interval.data_seconds,
            **peak_memory(self.learner.device),
            **{f"update_ratio/{layer}": value for layer, value in ratio_of.items()},
        }
        if self.flops and self.peak:
            reached = tokens * self.flops / interval.seconds
            found["resources/flops_share"] = reached / (self.peak * distributed.world_size())
        return found

    def update_ratios(self, lr: float) -> dict[str, float]:
        """The update-to-weight ratio of each layer in the latest step. {} if the gradient scaler has skipped it, or if
        the layers can't be counted."""
        state = self.learner.state
        if int(state.bad_steps):
            return {}
        if is_sharded(state.model):
            return ratios.ratios(distributed.gathered(ratios.squares(self.sample, lr)))
        return ratios.ratios([ratios.squares(self.sample, lr)]) if distributed.is_main() else {}

    @functools.cached_property
    def sample(self) -> ratios.Sample | None:
        return ratios.sample_of(self.learner.state.model, self.learner.state.optimizer)

    @functools.cached_property
    def flops(self) -> float | None:
        """Floating point operations of training for each token."""
        lengths = self.lengths.astype(numpy.float64)
        attended = (lengths**2).sum() / lengths.sum()
        return flops_per_token(self.learner.state.model, lengths.mean(), attended)

    @functools.cached_property
    def peak(self) -> float | None:
        """Floating point operations a second of the device, measured when it is first asked for."""
        return measured_peak(self.learner.device, self.learner.amp_dtype or torch.float32)


def peak_memory(device: torch.device) -> dict[str, float]:
    """The largest memory so far, in GiB, by tag: this process's resident set and, on CUDA, torch's tensors."""
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
    found = {"resources/memory/process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GIB}
    if device.type == "cuda":
        found["resources/memory/cuda"] = torch.cuda.max_memory_allocated(device) / GIB
    return found
