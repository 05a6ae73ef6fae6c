"""What needs CUDA: python -m pytest -m gpu. Neither `datasets` nor a file is needed but in the last test."""

import functools
import gc
import sys
from types import SimpleNamespace

import numpy
import pytest
import torch
from conftest import ROOT, same_weights, undone
from torch.nn import functional as F

from pairft.config import Config
from pairft.data.batches import Position, collate, training_steps
from pairft.data.order import StepSize
from pairft.speed import capture, embedding, unpad
from pairft.speed.attention import jagged_attention
from pairft.speed.shapes import same_bucket
from pairft.training import device, evaluation, memory
from pairft.training.learner import build_learner, plain_update
from pairft.training.optim import build_optimizer

sys.path.insert(0, str(ROOT / "benchmarks"))

from made_up import Rows, classifier

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")]
FLASH = torch.cuda.is_available() and torch.cuda.get_device_capability() >= (8, 0)  # flash attention, and bf16
HALF = "bf16" if FLASH else "fp16"
needs_flash = pytest.mark.skipif(not FLASH, reason="needs compute capability 8.0")
SHAPE = {"hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 1024}


def training(precision=HALF, dropout=0.1, batch_size=8, accumulate=1, rows=400):
    """A training ready to begin: state, steps, the update, and the rest that tests look at."""
    where, amp_dtype = device.choose_device(Config(device="cuda", precision=precision))
    shape = {**SHAPE, "hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    model, rows = classifier(shape).to(where), Rows(rows, 1)
    padded = functools.partial(collate, pad_token_id=0, pad_token_type_id=0, multiple=8)
    packed, how = unpad.prepare(model, padded, rows[[0, 1, 2]], 0, amp_dtype)
    assert how.startswith("padding-free" if FLASH and precision != "fp32" else "with padding"), how
    model.train()
    used = embedding.replace_embedding(model, rows.used_ids(model.config.vocab_size))
    config = Config(device="cuda", precision=precision)
    state = build_learner(model, packed, config, where, amp_dtype).state
    state.optimizer = build_optimizer(model, config.weight_decay, capturable=True)
    embedding.decay_unused_rows(used, state.optimizer)
    one = plain_update(state, config, where, amp_dtype)
    steps = training_steps(rows, packed, 42, StepSize(batch_size, accumulate), Position(), False)
    torch.cuda.synchronize()
    return SimpleNamespace(state=state, steps=steps, one=one, where=where, padded=padded, packed=packed, amp=amp_dtype)


def losses(made, do, number, lr=1e-4):
    found = []
    torch.manual_seed(7)
    for step in range(number):
        data = next(made.steps)
        loss_sum, norm = do(data.micro_batches, data.num_examples, lr * (1 - step / number))
        found.append(torch.stack([loss_sum / data.num_examples, norm]).clone())
    return torch.stack(found).cpu()


def captured(made):
    """The captured step, its release, and a list with an entry for each capture."""
    graph_capture, count = capture.graph_capture(), []

    def counted(step):
        count.append(1)
        return graph_capture(step)

    return *capture.replay_steps(made.one, made.where, counted), count


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize(
    ("precision", "bound"), [("fp32", 1e-3), pytest.param("bf16", 5e-2, marks=needs_flash), ("fp16", 2e-2)]
)
def test_captured_steps_equal_eager_ones(precision, bound, accumulate):
    plain = training(precision, dropout=0.0, accumulate=accumulate)
    # Padded to the same buckets, so that the same kernels compute both.
    wanted = losses(plain, lambda micro_batches, *given: plain.one(same_bucket(micro_batches), *given), 100)
    made = training(precision, dropout=0.0, accumulate=accumulate)
    do, _, count = captured(made)
    got = losses(made, do, 100)
    assert 0 < len(count) < 30
    assert (got[:, 0] - wanted[:, 0]).abs().max() < bound
    assert (got[:10] - wanted[:10]).abs().max() < bound / 5  # before rounding has grown


@pytest.mark.parametrize("precision", ["fp32", HALF])
def test_masks_differ_from_replay_to_replay(precision):
    made = training(precision, dropout=0.5)
    do, _, count = captured(made)
    batch = next(made.steps)
    found = [do(batch.micro_batches, batch.num_examples, 0.0)[0].item() for _ in range(13)]
    assert len(count) == 1
    assert len(set(found)) == 13


def test_masks_are_those_of_eager_steps_from_the_same_state():
    """In another order the masks would be others, and the first losses apart by a tenth."""
    made, plain = training(), training()
    do, _, count = captured(made)
    assert torch.allclose(losses(made, do, 30)[:, 0], losses(plain, plain.one, 30)[:, 0], atol=2e-2)
    assert count


def test_many_tokens_in_a_step_are_captured():
    """More than 4,096: the gradient of the embedding then comes by another way, with a sort."""
    plain, made = (training(dropout=0.0, batch_size=128, rows=1024) for _ in range(2))
    do, _, count = captured(made)
    assert torch.allclose(losses(made, do, 24)[:, 0], losses(plain, plain.one, 24)[:, 0], atol=2e-2)
    assert count


@needs_flash
def test_attention_drops_the_same_weights_forward_and_backward():
    """With its masks fixed, attention is linear in the values: <gradient by them, them> = <upstream, output>. With the
    output as upstream, other masks in the backward pass would make that 0.7 of this."""
    lengths = [53, 17, 103, 83]
    cu_seqlens = F.pad(torch.tensor(lengths, device="cuda").cumsum(0), (1, 0))
    q, k, v = (torch.randn(256, 4, 64, device="cuda", dtype=torch.bfloat16, requires_grad=True) for _ in range(3))
    out = jagged_attention(q, k, v, SimpleNamespace(cu_seqlens=cu_seqlens, max_seqlen=128), 0.125, 0.3)
    out.backward(out.detach())
    by_values, by_output = (v.grad.double() * v.double()).sum(), (out.double() ** 2).sum()
    assert torch.isclose(by_values, by_output, rtol=2e-2)


@pytest.mark.parametrize("captures", [True, pytest.param(False, marks=needs_flash)])  # with padding, the mask is read
def test_nothing_waits_between_logging_steps(captures):
    made = training()
    do = captured(made)[0] if captures else made.one
    again = [next(made.steps) for _ in range(20)]
    made.steps = iter(again * 3)  # each captured at the second time
    losses(made, do, 60)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for data in again:
            loss_sum, _ = do(data.micro_batches, data.num_examples, 1e-4)
            made.state.interval.count(loss_sum, made.state.bad_steps, data)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_logits_are_those_of_the_cpu():
    made, rows = training(), Rows(64, 3)
    got = evaluation.predict(made.state.model, rows, made.packed, made.where, made.amp)
    cpu = torch.device("cpu")
    plain = classifier(SHAPE).eval()
    plain.load_state_dict(made.state.model.state_dict())
    wanted = evaluation.predict(plain, rows, made.padded, cpu, None)
    assert numpy.abs(got.logits - wanted.logits).max() < 2e-2 * max(1.0, numpy.abs(wanted.logits).max())
    # Without autocast, as an evaluation is done again that has overflowed.
    again = evaluation.predict(made.state.model, rows, made.packed, made.where, None)
    assert numpy.abs(again.logits - wanted.logits).max() < 1e-4 * max(1.0, numpy.abs(wanted.logits).max())


@pytest.mark.parametrize("captures", [True, False])
def test_a_step_that_does_not_fit_is_done_in_parts(capsys, captures):
    """The process is allowed half of what a batch of 256 needs, once it has captured a small one, given up first."""
    small = next(training().steps)
    wanted = training(dropout=0.0, batch_size=256, rows=2048)
    for _ in range(4):
        wanted.one(small.micro_batches, small.num_examples, 1e-4)
    gc.collect()  # of what earlier tests have left
    torch.cuda.reset_peak_memory_stats()
    base = torch.cuda.memory_allocated()
    expected = losses(wanted, wanted.one, 3)
    needed = torch.cuda.max_memory_allocated()
    made = training(dropout=0.0, batch_size=256, rows=2048)
    do, release, count = captured(made) if captures else (made.one, None, [])
    do = memory.retry_smaller(do, made.state, release)
    for _ in range(4):
        do(small.micro_batches, small.num_examples, 1e-4)
    assert (len(count), capsys.readouterr().err) == (int(captures), "")
    gc.collect()
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    held = torch.cuda.memory_reserved()
    torch.cuda.set_per_process_memory_fraction((held + (needed - base) / 2) / total)
    try:
        got = losses(made, do, 3)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert made.state.micro_batch_divisor > 1
    said = capsys.readouterr().err.splitlines()
    assert ["no longer captured" in said[0], "micro-batches" in said[-1], len(said)] == [captures, True, 1 + captures]
    assert torch.allclose(got[:, 0], expected[:, 0], atol=2e-2)


def test_a_deterministic_run_resumes_to_the_same_weights(begin, tmp_path):
    """The real program."""
    pytest.importorskip("datasets")
    whole, killed = tmp_path / "runs" / "whole", tmp_path / "runs" / "killed"
    flags = ("--device", "cuda", "--deterministic", "--save-every", 5, "--max-steps", 12, "--run-name", "whole")
    process = begin(*flags)
    assert process.wait(300) == 0, process.communicate()[1]
    undone(whole, killed, 10)
    process = begin("--device", "cuda", "--resume", "--run-name", "killed")
    assert process.wait(300) == 0, process.communicate()[1]
    assert same_weights(whole, killed)
