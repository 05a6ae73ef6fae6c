"""Capturing a step and replaying it: everything but CUDA's part of it, which tests/speed/test_gpu.py has."""

import functools
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from test_unpad import batch_for, classifier, models  # noqa: F401  (models: a fixture)

from pairft.data.batches import Batch
from pairft.errors import UserError
from pairft.speed.capture import replay_steps
from pairft.speed.packed_forward import PackedForward
from pairft.speed.packing import Packed, pack
from pairft.speed.shapes import bucket_size, padded_to, same_bucket
from pairft.training.memory import retry_smaller
from pairft.training.optim import build_optimizer
from pairft.training.state import TrainState, new_interval
from pairft.training.step import update

CPU = torch.device("cpu")


class Again:
    """Captures a step by keeping the function: a replay calls it with what it was captured with. That it goes well
    shows that batch and learning rate come in through their tensors alone."""

    def __init__(self):
        self.captured = 0

    def __call__(self, step):
        self.captured += 1
        results = (torch.zeros(()), torch.zeros(()))

        def replay():
            for there, result in zip(results, step(), strict=True):
                there.copy_(result)

        return results, replay


def trained(folder, steps, wrap):
    """Losses, norms and final weights of training on `steps`, lists of rows per micro-batch."""
    model = classifier(folder, dropout=True)
    PackedForward(model, jagged=True).install(model)
    optimizer = build_optimizer(model, 0.01)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    state = TrainState(model, optimizer, scaler, new_interval(CPU), torch.zeros(()))
    one = functools.partial(
        update, model, optimizer, scaler, state.bad_steps, device=CPU, amp_dtype=None, max_grad_norm=1.0
    )
    do, found = wrap(one), []
    torch.manual_seed(7)
    for number, micro_batches in enumerate(steps):
        examples = sum(len(batch.labels) for batch in micro_batches)
        found.append([x.item() for x in do(micro_batches, examples, 1e-3 * (1 - number / len(steps)))])
    return found, {name: part.clone() for name, part in model.state_dict().items()}


def steps_of(folder, number, sizes):
    """Micro-batches of the given sizes, padded to buckets as unpad.prepare does on a GPU."""
    rows, padded = batch_for(folder, number)
    order, start, steps = list(range(number)), 0, []
    while start < number:
        step = []
        for size in sizes:
            here = order[start : start + size]
            if here:
                packed = pack(padded({key: [values[i] for i in here] for key, values in rows.items()}), 0)
                step.append(padded_to(packed, bucket_size(packed.num_tokens)))
            start += size
        steps.append(step)
    return steps


def eager(one):
    """The step as it is, with what capturing changes about its input: equal sizes, a learning rate in float32."""
    return lambda micro_batches, examples, lr: one(same_bucket(micro_batches), examples, torch.tensor(lr))


@pytest.mark.parametrize("sizes", [(8,), (4, 4), (5, 2)])
def test_replayed_steps_equal_eager_ones(models, capsys, sizes):  # noqa: F811
    folder = models("bert")
    steps = steps_of(folder, 203, sizes)  # the last is short
    wanted, weights = trained(folder, steps, eager)
    capture = Again()
    got, replayed = trained(folder, steps, lambda one: replay_steps(one, CPU, capture, lambda: nullcontext([])).update)
    assert got == wanted
    assert all(torch.equal(part, weights[name]) for name, part in replayed.items())
    assert 0 < capture.captured < len(steps) / 3
    assert not capsys.readouterr().err
    assert len({loss for loss, _ in got}) > len(got) - 2


def test_a_replay_uses_no_number_of_the_captured_batch(models):  # noqa: F811
    """Lengths and numbers of tokens are gone from what a graph holds, so that their use would be an error."""
    seen = []
    steps = steps_of(models("bert"), 64, (8,))

    def one(micro_batches, examples, lr):
        seen.append([(batch.num_tokens, batch.lengths) for batch in micro_batches])
        return torch.zeros(()), torch.zeros(())

    do = replay_steps(one, CPU, Again(), lambda: nullcontext([])).update
    for _ in range(4):
        do(steps[0], 8, 0.1)
    assert seen[0] == seen[1] != [(0, ())]
    assert seen[2] == seen[3] == [(0, ())]


def test_a_step_that_waits_is_not_captured(models, capsys):  # noqa: F811
    steps, capture = steps_of(models("bert"), 64, (8,)), Again()

    @contextmanager
    def watch():
        found = []
        yield found
        found.append("model.py:7")

    def one(micro_batches, examples, lr):
        return torch.ones(()), torch.ones(())

    do = replay_steps(one, CPU, capture, watch).update
    for step in steps * 3:
        assert do(step, 8, 0.1)[0] == 1
    assert capture.captured == 0
    [line] = capsys.readouterr().err.splitlines()
    assert "not captured" in line and line.endswith("model.py:7")


def test_a_capture_that_fails(models):  # noqa: F811
    step = steps_of(models("bert"), 8, (8,))[0]

    def fail(_):
        try:
            raise RuntimeError("operation not permitted\nwhen capturing")
        finally:
            raise RuntimeError("capture invalidated")

    do = replay_steps(lambda *_: (torch.ones(()),) * 2, CPU, fail, lambda: nullcontext([])).update
    do(step, 8, 0.1), do(step, 8, 0.1)
    with pytest.raises(UserError, match=r"\(operation not permitted\): add --capture never"):
        do(step, 8, 0.1)


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("fails_at", [0, 1])
def test_out_of_memory_while_capturing(models, monkeypatch, capsys, fails_at, hidden):  # noqa: F811
    """The graphs are given up, and the step done as it is, with the masks that it would have had; not in parts.
    Only memory that ends once more takes parts. `hidden`: behind another error, with which a capture ends then."""
    folder, states = models("bert"), []
    steps = steps_of(folder, 160, (8,))
    wanted, weights = trained(folder, steps, eager)

    def out_of_memory(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    class Full(Again):
        def __call__(self, step):
            if self.captured < fails_at:
                return super().__call__(step)
            with monkeypatch.context() as patch:  # masks are drawn and gradients there
                patch.setattr(torch.nn.utils, "clip_grad_norm_", out_of_memory)
                try:
                    return step()
                finally:
                    if hidden:
                        raise RuntimeError("CUDA error: the capture is invalid")

    def wrap(one):
        do, release = replay_steps(one, CPU, Full(), lambda: nullcontext([]))
        states.append(
            SimpleNamespace(bad_steps=torch.zeros(()), micro_batch_divisor=1, optimizer=one.args[1], scaler=one.args[2])
        )
        return retry_smaller(do, states[-1], release)

    got, replayed = trained(folder, steps, wrap)
    [line] = capsys.readouterr().err.splitlines()
    assert "no longer captured" in line
    assert states[0].micro_batch_divisor == 1
    assert got == wanted and all(torch.equal(part, weights[name]) for name, part in replayed.items())


def test_out_of_memory_after_a_capture_that_failed(capsys):
    tries = iter(range(20))  # or it would try for ever

    def one(micro_batches, num_examples, lr):
        next(tries)
        if max(len(batch.labels) for batch in micro_batches) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return torch.ones(()), torch.ones(())

    def full(_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)])
    state = SimpleNamespace(
        bad_steps=torch.zeros(()),
        micro_batch_divisor=1,
        optimizer=optimizer,
        scaler=torch.amp.GradScaler("cpu", enabled=False),
    )
    do, release = replay_steps(one, CPU, full, lambda: nullcontext([]))
    do = retry_smaller(do, state, release)
    for number in (4, 4, 4, 8):  # started, watched, captured in vain; too large
        ids = torch.ones(number, 5, dtype=torch.long)
        do([Batch(ids, ids, None, torch.zeros(number, dtype=torch.long), 5 * number)], number, 0.1)
    assert state.micro_batch_divisor == 2
    captures, parts = capsys.readouterr().err.splitlines()
    assert "no longer captured" in captures and "smaller micro-batches" in parts


def test_only_the_look_at_a_mask_is_no_wait():
    from transformers import masking_utils

    from pairft.speed.capture import is_look_at_mask

    file = masking_utils.__file__
    lines = Path(file).read_text(encoding="utf-8").splitlines()
    looks = [n for n, line in enumerate(lines, 1) if "padding_mask is None or padding_mask.all()" in line]
    others = [n for n, line in enumerate(lines, 1) if "mask = torch.where(mask," in line]  # copies a number, in 5.17
    assert looks and all(is_look_at_mask(file, n) for n in looks)
    assert others and not any(is_look_at_mask(file, n) for n in others)


def test_shapes_beyond_the_limit_are_not_captured(models, monkeypatch):  # noqa: F811
    monkeypatch.setattr("pairft.speed.capture.MAX_GRAPHS", 1)
    whole, half = steps_of(models("bert"), 8, (8,))[0], steps_of(models("bert"), 4, (4,))[0]
    assert isinstance(half[0], Packed)
    capture = Again()
    do = replay_steps(lambda *_: (torch.ones(()),) * 2, CPU, capture, lambda: nullcontext([])).update
    for _ in range(4):
        do(whole, 8, 0.1)
        do(half, 4, 0.1)
    assert capture.captured == 1
