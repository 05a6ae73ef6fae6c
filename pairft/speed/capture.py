"""Capture the whole step as a CUDA graph, once for each shape of its batches, and replay it with a single launch.

A step of bert-base consists of some 700 kernels, which take longer to launch one by one from Python than to run
(PyTorch's notes on CUDA semantics, "CUDA Graphs"). The control flow of `update` doesn't depend on values in tensors, so
it can be captured unchanged. A replay reads the batch and the learning rate from the captured tensors, and draws new
dropout masks.
"""

import linecache
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pairft.data.batches import Batch, MicroBatch
from pairft.errors import UserError
from pairft.output import say
from pairft.speed.packing import Packed
from pairft.speed.shapes import same_bucket
from pairft.training.memory import is_out_of_memory
from pairft.training.step import Update

MAX_GRAPHS = 64  # each takes a second to capture, and some megabytes; steps of further shapes run eagerly

Result = tuple[Tensor, Tensor]
Capture = Callable[[Callable[[], Result]], tuple[Result, Callable[[], None]]]
Watch = Callable[[], AbstractContextManager[list[str]]]


class Replayed(NamedTuple):
    update: Update
    release: Callable[[], bool]  # stops capturing and frees the graphs; False if there were none


def replay_steps(
    update: Update, device: torch.device, capture: Capture | None = None, watch: Watch | None = None
) -> Replayed:
    """Wrap `update`: it is captured when a shape occurs for the second time, and replayed from then on.

    The first step of each shape runs eagerly, which is also the warm-up that libraries need, and is watched: if
    anything in it waits for the device, no step is captured, and a message says so. The very first step isn't watched
    and doesn't count, because libraries are initialised in it.

    `capture`: makes a function replayable. `watch`: collects what waits for the device. By default both are for CUDA.

    The returned update raises UserError if a capture fails.
    """
    steps = CapturedSteps(update, torch.zeros((), device=device), capture or graph_capture(), watch or waits)
    return Replayed(steps.update, steps.release)


class CapturedStep(NamedTuple):
    """A step that `replay` repeats on the current content of `batches`."""

    batches: list[MicroBatch]  # on the device
    result: Result  # overwritten by each replay
    replay: Callable[[], None]


@dataclass
class CapturedSteps:
    """The steps captured so far, one for each shape."""

    eager: Update  # the update that is captured, and runs eagerly if there is no captured step
    lr: Tensor  # [] on the device: a replay reads the learning rate from it
    capture: Capture
    watch: Watch
    graphs: dict[Any, CapturedStep] = field(default_factory=dict)
    seen: set[Any] = field(default_factory=set)  # shapes that have run eagerly, watched
    started: bool = False  # the very first step is done
    capturing: bool = False  # still True after a capture that ran out of memory
    given_up: bool = False

    def update(self, micro_batches: Sequence[MicroBatch], num_examples: int, lr: float | Tensor) -> Result:
        """One step, replayed if its shape has been captured or occurs for the second time."""
        self.lr.fill_(lr)
        batches = same_bucket(micro_batches)
        shape = (num_examples, *(shape_of(batch) for batch in batches))
        full = shape not in self.graphs and len(self.graphs) == MAX_GRAPHS
        if not self.started or self.given_up or full:
            self.started = True
            return self.eager(batches, num_examples, self.lr)
        if shape not in self.seen:
            self.seen.add(shape)
            return self.watched(batches, num_examples)
        if shape not in self.graphs:
            self.graphs[shape] = self.captured(batches, num_examples)
        step = self.graphs[shape]
        for static, batch in zip(step.batches, batches, strict=True):
            copy_into(static, batch)
        step.replay()
        return step.result

    def watched(self, batches: list[MicroBatch], num_examples: int) -> Result:
        """Run the step eagerly. If anything in it waits for the device, no step is captured from then on."""
        with self.watch() as found:
            result = self.eager(batches, num_examples, self.lr)
        if found:
            self.given_up = True
            self.graphs.clear()
            say(f"steps are not captured as CUDA graphs, because each waits for the GPU: {found[0]}")
        return result

    def captured(self, batches: list[MicroBatch], num_examples: int) -> CapturedStep:
        """Capture the step without running it. Raises UserError if that fails, or torch's own error if memory runs
        out."""
        self.capturing = True
        static = [without_numbers(batch.to(self.lr.device)) for batch in batches]
        try:
            result, replay = self.capture(lambda: self.eager(static, num_examples, self.lr))
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            what = str(first_of(error)).splitlines()[0]
            raise UserError(f"the step can't be captured as a CUDA graph ({what}): add --capture never") from error
        self.capturing = False
        return CapturedStep(static, result, replay)

    def release(self) -> bool:
        """Stop capturing and free the graphs, after memory ran out. Returns False if there was nothing to free."""
        if not (self.graphs or self.capturing):
            return False
        self.graphs.clear()
        self.given_up, self.capturing = True, False
        say("out of memory: steps are no longer captured as CUDA graphs, which need memory of their own")
        return True


def first_of(error: BaseException) -> BaseException:
    """The first error in the context: the last one only says that the capture is invalid."""
    while error.__context__ is not None:
        error = error.__context__
    return error


def shape_of(batch: MicroBatch) -> tuple[Any, ...]:
    """A key that is equal for batches that differ only in the values of their tensors."""
    max_seqlen = batch.max_seqlen if isinstance(batch, Packed) else None
    return max_seqlen, *((part.shape, part.dtype) for part in parts_of(batch) if isinstance(part, Tensor))


def parts_of(batch: MicroBatch) -> tuple[Any, ...]:
    """The fields of a batch: both kinds are named tuples."""
    assert isinstance(batch, Batch | Packed), type(batch)
    return batch


def without_numbers(batch: MicroBatch) -> MicroBatch:
    """The batch without numbers outside tensors: in a replay they would be those of another batch."""
    assert isinstance(batch, Batch | Packed), type(batch)
    return batch._replace(num_tokens=0, lengths=()) if isinstance(batch, Packed) else batch._replace(num_tokens=0)


def copy_into(static: MicroBatch, batch: MicroBatch) -> None:
    """Copy the tensors of a batch on the CPU into those that a captured step reads."""
    for there, part in zip(parts_of(static), parts_of(batch), strict=True):
        if isinstance(there, Tensor) and isinstance(part, Tensor):
            there.copy_(part.pin_memory() if there.is_cuda else part, non_blocking=True)


def graph_capture() -> Capture:
    """A function that captures CUDA graphs in one memory pool. They can share it, because only one is replayed at a
    time and nothing in the pool but a step's result is needed after it."""
    pool = torch.cuda.graph_pool_handle()

    def capture(step: Callable[[], Result]) -> tuple[Result, Callable[[], None]]:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool, stream=torch.cuda.current_stream()):
            result = step()
        return result, graph.replay

    return capture


@contextmanager
def waits() -> Iterator[list[str]]:
    """Collect the places, as file:line, where this process waits for the GPU. The list is filled on leaving."""
    found: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        before = torch.cuda.get_sync_debug_mode()
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield found
        finally:
            torch.cuda.set_sync_debug_mode(before)
    places = [(w.filename, w.lineno) for w in caught if "called a synchronizing" in str(w.message)]
    found += [f"{file}:{line}" for file, line in places if not is_look_at_mask(file, line)]


def is_look_at_mask(file: str, line: int) -> bool:
    """Whether this is the line where transformers checks if a mask is needed at all. During a capture it makes the mask
    without the check, so this wait doesn't matter; without this exception, no step with padded batches would be
    captured. The line is tested, not just the file: in 5.17 the file has another wait, which no capture survives."""
    return file.endswith("masking_utils.py") and ".all()" in linecache.getline(file, line)
