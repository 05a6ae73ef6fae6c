"""Memory that runs out: a step done again in parts, and which errors are that."""

import functools
from types import SimpleNamespace

import pytest
import torch
from conftest import read_lines, same_weights, undone, write_tiny_model

from pairft.data.batches import Batch
from pairft.errors import UserError
from pairft.speed.packing import pack
from pairft.training import memory, step


def state_for(optimizer):
    """What retry_smaller needs of a TrainState."""
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    return SimpleNamespace(bad_steps=torch.zeros(()), micro_batch_divisor=1, optimizer=optimizer, scaler=scaler)


@pytest.mark.parametrize("unpad", ["auto", "never"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_step_out_of_memory_is_done_again_in_smaller_parts(go, tmp_path, capsys, monkeypatch, unpad, accumulate):
    changes = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}  # other shapes draw other masks
    model = write_tiny_model(tmp_path / "model", "bert", **changes)
    flags = ("--model", model, "--max-steps", 12, "--lr", "1e-3", "--accumulate", accumulate, "--unpad", unpad)
    assert go(*flags, "--run-name", "whole") == 0
    loss_of = step.loss_of

    def limited(logits, labels, reduction, *settings):
        if reduction == "sum" and len(labels) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return loss_of(logits, labels, reduction, *settings)

    monkeypatch.setattr(step, "loss_of", limited)
    capsys.readouterr()
    assert go(*flags, "--save-every", 5, "--run-name", "small") == 0
    assert capsys.readouterr().err.count("out of memory") == 1
    for one, other in zip(*(read_lines(tmp_path / "runs" / name, "train") for name in ("whole", "small")), strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-5)
        assert other["grad_norm"] == pytest.approx(one["grad_norm"], rel=1e-4)
    undone(tmp_path / "runs" / "small", tmp_path / "runs" / "again", 10)
    assert go("--resume", "--model", model, "--run-name", "again") == 0  # with the smaller micro-batches
    assert same_weights(tmp_path / "runs" / "small", tmp_path / "runs" / "again")
    monkeypatch.setattr(step, "loss_of", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("out of memory")))
    assert go(*flags, "--run-name", "none") == 2
    assert "--max-length" in capsys.readouterr().err


def test_a_retry_draws_what_the_first_try_drew(tiny_model):
    state = state_for(torch.optim.SGD([torch.zeros(1)]))
    drawn = []

    def update(micro_batches, num_examples, lr):
        drawn.append((len(micro_batches), torch.rand(3).tolist()))
        if len(micro_batches) < 8:
            raise torch.OutOfMemoryError("out of memory")
        return torch.zeros(()), torch.zeros(())

    mask = torch.ones(5, 7, dtype=torch.int64)
    batch = Batch(mask, mask, None, torch.arange(5), 35)
    memory.retry_smaller(update, state)([batch, pack(batch, 0)], 10, 0.1)
    assert [number for number, _ in drawn] == [2, 4, 8]
    assert len({tuple(numbers) for _, numbers in drawn}) == 1
    assert state.micro_batch_divisor == 4


def test_a_retry_unscales_anew(monkeypatch):
    """Memory ends between unscaling and the optimizer's step: the gradients of the second try are scaled again."""

    class Head(torch.nn.Linear):
        def forward(self, input_ids, attention_mask):
            return SimpleNamespace(logits=super().forward(input_ids.float()))

    clip, norms = torch.nn.utils.clip_grad_norm_, []
    ids = torch.arange(12).view(4, 3)
    batch = Batch(ids, torch.ones_like(ids), None, torch.tensor([0, 1, 1, 0]), 12)
    for fails in (0, 1):
        torch.manual_seed(1)
        model, tries = Head(3, 2), [torch.OutOfMemoryError("out of memory")] * fails

        def limited(*given, tries=tries):
            if tries:
                raise tries.pop()
            return clip(*given)

        monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", limited)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, fused=True)
        scaler, bad_steps = torch.amp.GradScaler("cpu", init_scale=1024.0), torch.zeros(())
        state = SimpleNamespace(bad_steps=bad_steps, micro_batch_divisor=1, optimizer=optimizer, scaler=scaler)
        one = functools.partial(
            step.update, model, optimizer, scaler, bad_steps,
            device=torch.device("cpu"), amp_dtype=None, max_grad_norm=1.0,
        )  # fmt: skip
        norms.append(memory.retry_smaller(one, state)([batch], 4, 0.1)[1].item())
    assert norms[1] == pytest.approx(norms[0], rel=1e-6)


def test_memory_that_ends_while_moments_are_made(monkeypatch, capsys):
    """AdamW makes the first and then the second of each weight; a step tried again must not find the first alone."""
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer, zeros_like, calls = torch.optim.AdamW([weight], lr=0.1), torch.zeros_like, []

    def limited(*given, **how):
        calls.append(1)
        if len(calls) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return zeros_like(*given, **how)

    monkeypatch.setattr(torch, "zeros_like", limited)

    def update(micro_batches, num_examples, lr):
        weight.grad = torch.full((3,), 2.0)
        optimizer.step()
        return weight.detach(), weight.detach()

    ids = torch.ones(4, 3, dtype=torch.long)
    batch = Batch(ids, ids, None, torch.zeros(4, dtype=torch.long), 12)
    memory.retry_smaller(update, state_for(optimizer))([batch], 4, 0.1)
    assert capsys.readouterr().err.count("out of memory") == 1
    assert weight.tolist() == pytest.approx([0.899] * 3)  # 1 - 0.1 * 0.01 - 0.1: a first step is of size lr


@pytest.mark.parametrize(
    ("text", "is_memory"),
    [("CUDA error: out of memory", True), ("CUBLAS_STATUS_ALLOC_FAILED when calling", True), ("shapes differ", False)],
)
def test_which_errors_are_memory_that_ended(text, is_memory):
    def update(*_):
        raise RuntimeError(text)

    batch = Batch(torch.ones(1, 3), torch.ones(1, 3), None, torch.zeros(1), 3)
    optimizer, scaler = (
        torch.optim.SGD([torch.zeros(1, requires_grad=True)]),
        torch.amp.GradScaler("cpu", enabled=False),
    )
    state = SimpleNamespace(bad_steps=torch.zeros(()), micro_batch_divisor=1, optimizer=optimizer, scaler=scaler)
    with pytest.raises(UserError if is_memory else RuntimeError, match="single example" if is_memory else text):
        memory.retry_smaller(update, state)([batch], 1, 0.1)


def test_parts_of_a_batch_are_the_batch():
    torch.manual_seed(1)
    lengths = torch.tensor([3, 7, 1, 5, 2])
    mask = (torch.arange(7) < lengths[:, None]).long()
    batch = Batch(torch.randint(5, 99, (5, 7)) * mask, mask, mask * 0, torch.arange(5), 18)
    for split, sizes in ((1, [5]), (2, [2, 3]), (4, [1, 1, 1, 2]), (8, [1] * 5)):
        parts = memory.cut([batch], split)
        assert [len(part.labels) for part in parts] == sizes
        for field in ("input_ids", "attention_mask", "token_type_ids", "labels"):
            assert torch.equal(torch.cat([getattr(part, field) for part in parts]), getattr(batch, field))
        packed = memory.cut([pack(batch, 2)], split)
        for part, wanted in zip(packed, parts, strict=True):
            again = pack(wanted, 2)
            assert part.lengths == again.lengths and part.num_tokens == again.num_tokens == wanted.num_tokens
            for field in (
                "input_ids",
                "position_ids",
                "token_type_ids",
                "labels",
                "cls_positions",
                "attention_mask",
                "indices",
            ):
                assert torch.equal(getattr(part, field), getattr(again, field)), field
