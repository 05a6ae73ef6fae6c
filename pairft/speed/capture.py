"""The whole step as a CUDA graph: recorded once for each shape of its batches, then replayed by a single launch.

A step of bert-base is some 700 kernels, which take longer to launch one by one from Python than to run (PyTorch's notes
on CUDA semantics, "CUDA Graphs"). Nothing in `update` depends on the values in its tensors, so that it can be recorded
as it stands; a replay reads the batch and the learning rate from where they were at the recording, and draws new masks.
"""

import linecache
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pairft.data.batches import Batch, Packed
from pairft.errors import UserError
from pairft.output import say
from pairft.speed.shapes import alike
from pairft.training.memory import Update, is_out_of_memory

MAX_GRAPHS = 64  # each takes a second to record and some megabytes; steps of further shapes are not recorded

Result = tuple[Tensor, Tensor]
Recorder = Callable[[Callable[[], Result]], tuple[Result, Callable[[], None]]]


@dataclass(frozen=True)
class Recorded:
    """A step that can be done again by `replay`, on what `batches` then hold."""

    batches: list[Batch | Packed]  # on the device
    result: Result  # overwritten by each replay
    replay: Callable[[], None]


class Replayed(NamedTuple):
    update: Update
    release: Callable[[], bool]  # gives up recording and the memory of what is recorded; False if there was none


def replay_steps(
    update: Update,
    device: torch.device,
    record: Recorder | None = None,
    watch: Callable[[], AbstractContextManager[list[str]]] | None = None,
) -> Replayed:
    """`update`, recorded when a shape comes for the second time, and replayed from then on.

    The first step of each shape is done as it is, which is also the warm-up that libraries need, and watched: where
    something in it waits for the device, no step can be recorded, and this is said. The very first step isn't watched
    and doesn't count, for libraries start up in it. Raises UserError where the recording fails all the same.

    `record` makes a function's work repeatable, `watch` collects what waits for the device: both for CUDA by default.
    """
    record, watch = record or graph_recorder(), watch or waits
    lr_now = torch.zeros((), device=device)  # a replay reads it from the device
    recorded: dict[Any, Recorded] = {}
    seen: set[Any] = set()
    started, recording, given_up = False, False, False

    def release() -> bool:
        nonlocal given_up, recording
        if not (recorded or recording):
            return False
        recorded.clear()
        given_up, recording = True, False
        say("out of memory: steps are no longer recorded as CUDA graphs, for these hold memory of their own")
        return True

    def replayed(micro_batches: Sequence[Batch | Packed], num_examples: int, lr: float | Tensor) -> Result:
        nonlocal started, recording, given_up
        lr_now.fill_(lr)
        ready = alike(micro_batches)
        shape = (num_examples, *(shape_of(batch) for batch in ready))
        if not started or given_up or (shape not in recorded and len(recorded) == MAX_GRAPHS):
            started = True
            return update(ready, num_examples, lr_now)
        if shape not in seen:
            seen.add(shape)
            with watch() as found:
                result = update(ready, num_examples, lr_now)
            if found:
                given_up = True
                recorded.clear()
                say(f"steps are not recorded as CUDA graphs, because each waits for the GPU: {found[0]}")
            return result
        if shape not in recorded:
            recording = True
            static = [still(batch.to(device)) for batch in ready]
            try:
                result, replay = record(lambda: update(static, num_examples, lr_now))
            except RuntimeError as error:
                if is_out_of_memory(error):
                    raise
                what = str(first_of(error)).splitlines()[0]
                raise UserError(f"the step can't be recorded as a CUDA graph ({what}): add --capture never") from error
            recording = False
            recorded[shape] = Recorded(static, result, replay)
        step = recorded[shape]
        for held, batch in zip(step.batches, ready, strict=True):
            put(held, batch)
        step.replay()
        return step.result

    return Replayed(replayed, release)


def first_of(error: BaseException) -> BaseException:
    """What went wrong first: CUDA's end of a recording only says that it is invalid."""
    while error.__context__ is not None:
        error = error.__context__
    return error


def shape_of(batch: Batch | Packed) -> tuple[Any, ...]:
    """Equal for batches whose steps are the same but for the numbers in the tensors."""
    longest = batch.longest if isinstance(batch, Packed) else None
    return longest, *((part.shape, part.dtype) for part in batch if isinstance(part, Tensor))


def still(batch: Batch | Packed) -> Batch | Packed:
    """Without the numbers that are not in tensors: in a replay they would be those of another batch."""
    return batch._replace(num_tokens=0, lengths=()) if isinstance(batch, Packed) else batch._replace(num_tokens=0)


def put(held: Batch | Packed, batch: Batch | Packed) -> None:
    """Copy the batch's tensors, in CPU memory, into those that are held."""
    for there, part in zip(held, batch, strict=True):
        if isinstance(there, Tensor) and isinstance(part, Tensor):
            there.copy_(part.pin_memory() if there.is_cuda else part, non_blocking=True)


def graph_recorder() -> Recorder:
    """Records CUDA graphs, which share one pool of memory: of two graphs only one is replayed at a time, and nothing in
    the pool but a step's result is needed after it."""
    pool = torch.cuda.graph_pool_handle()

    def record(step: Callable[[], Result]) -> tuple[Result, Callable[[], None]]:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool, stream=torch.cuda.current_stream()):
            result = step()
        return result, graph.replay

    return record


@contextmanager
def waits() -> Iterator[list[str]]:
    """What makes this process wait for the GPU, as file:line; complete at the end."""
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
    """Where transformers looks whether a mask is needed at all; while a step is recorded, it makes the mask without
    looking. Of the line, not of the file: in 5.17 that one has another wait, which a recording does not survive."""
    return file.endswith("masking_utils.py") and ".all()" in linecache.getline(file, line)
