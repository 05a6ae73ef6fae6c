"""A dry run of the plain CUDA way without a GPU: padded batches, autocast, the gradient scaler, fused AdamW.

Fake tensors have a device, a dtype and a shape, but no values. An operation on two devices raises, and so does here
whatever waits for the device: a value read back from it, except where the loop and the evaluation do so on purpose,
and a copy to it that isn't from pinned memory and asynchronous. What the numbers are, only a GPU can tell
(tests/speed/test_gpu.py). Needs a build of torch for CUDA, but no driver; docs/contributing.md says how to run it.
"""

import contextlib
import itertools
import sys
from types import SimpleNamespace

import pytest
import torch
from conftest import ROOT
from torch._subclasses import FakeTensor, FakeTensorMode
from torch._subclasses.fake_tensor import unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import masking_utils

import train
from pairft.data import batches, order, tokens
from pairft.data.batches import Batch, Position
from pairft.data.pairs import load_pairs
from pairft.model import classifier, padding
from pairft.runs.settings import read_settings
from pairft.training import evaluation, loop, step
from pairft.training.device import choose_device
from pairft.training.learner import build_learner

pytestmark = pytest.mark.skipif(
    torch.version.cuda is None or torch.cuda.is_available(), reason="needs a build of torch for CUDA, and no GPU"
)
aten = torch.ops.aten
PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
TO = Batch.to
MASK = "the attention mask of transformers"
MAY_READ = {loop.fit.__qualname__, evaluation.predict.__qualname__}


class Watch(TorchDispatchMode):
    """Sees every operation, and raises for those that would wait for the device. `reads` has the name of the function
    for each value that is read where it may be; `finite` is what a bool reads as, all numbers read as 0. `masks` counts
    the reads of transformers: with its own attention, each forward pass asks whether the batch has padding at all."""

    def __init__(self):
        super().__init__()
        self.reads, self.masks, self.finite, self.pinned = [], 0, True, []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func.namespace == "aten" and func._can_decompose():  # in inference mode; otherwise autograd has done it
            with self:
                return func.decompose(*args, **kwargs)
        if func is aten._pin_memory.default:  # has no fake implementation
            self.pinned.append(args[0].clone())
            return self.pinned[-1]
        if func is aten._local_scalar_dense.default:
            if reader() == MASK:
                self.masks += 1
                return False
            self.read()
            return self.finite if args[0].dtype == torch.bool else 0
        if func in (aten._to_copy.default, aten.copy_.default):
            return self.copy(func, args, kwargs)
        are_fake = [isinstance(part, FakeTensor) for part in tree_leaves((args, kwargs)) if torch.is_tensor(part)]
        read_before = are_fake and not any(are_fake)  # what a copy to the CPU has returned
        with unset_fake_temporarily() if read_before else contextlib.nullcontext():
            return func(*args, **kwargs)

    def copy(self, func, args, kwargs):
        source, target = args[0], torch.device(kwargs.get("device", args[0].device))
        if func is aten.copy_.default:
            source, target = args[1], args[0].device
        if (source.device.type, target.type) == ("cuda", "cpu"):
            self.read()
            with unset_fake_temporarily():
                return torch.zeros(source.shape, dtype=source.dtype)
        if (source.device.type, target.type) == ("cpu", "cuda"):
            pinned = any(source is tensor for tensor in self.pinned)
            asynchronous = pinned and (kwargs.get("non_blocking") or args[2:] == (True,))
            assert asynchronous, f"{reader()} waits for a copy to the device"
        return func(*args, **kwargs)

    def read(self):
        assert reader() in MAY_READ, f"{reader()} reads a value back from the device"
        self.reads.append(reader())


def reader():
    """The innermost function of the package under way, or MASK. A comprehension counts as the function around it."""
    frame = sys._getframe(1)
    while not frame.f_code.co_filename.startswith(str(ROOT / "pairft")):
        if frame.f_code.co_filename == masking_utils.__file__:
            return MASK
        frame = frame.f_back
    return frame.f_code.co_qualname.split(".<locals>.<")[0]


def backward(loss):
    """What stands in for Tensor.backward, whose engine needs a driver: a gradient for each parameter it would reach."""
    assert (loss.shape, loss.dtype, loss.device.type) == ((), torch.float32, "cuda")
    nodes, seen = [loss.grad_fn], set()
    while nodes:
        node = nodes.pop()
        following = {function for function, _ in node.next_functions} - seen - {None}
        nodes += following
        seen |= following
        if hasattr(node, "variable"):
            gradient = torch.empty_like(node.variable)
            node.variable.grad = gradient if node.variable.grad is None else node.variable.grad + gradient


@pytest.fixture
def plain(tiny_model, pairs_folder, tmp_path, monkeypatch):
    """A function that prepares a training on CUDA as train.py does, up to the model on the device."""

    def prepare(precision):
        monkeypatch.setattr(torch.Tensor, "backward", backward)
        # What of torch asks the driver: autocast and the gradient scaler whether there is a GPU, and a step for the
        # random state that it would have to start again from.
        monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
        monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: torch.empty(16, dtype=torch.uint8))
        # For a fake tensor transformers would leave out its look at the mask.
        monkeypatch.setattr(masking_utils, "is_tracing", lambda tensor=None: False)
        flags = f"--device cuda --precision {precision} --batch-size 4 --accumulate 2".split()
        config, _ = read_settings([*flags, f"--model={tiny_model}", f"--data={pairs_folder}", f"--runs-dir={tmp_path}"])
        device, amp_dtype = chosen(config, monkeypatch)
        tokenizer, _ = classifier.load_tokenizer(config.model)
        splits = tokens.tokenise(load_pairs(config), tokenizer, max_length=64)
        model, _, _ = classifier.load_model(config.model, ["0", "1"])
        collate, _ = padding.checked_collate(model, tokenizer, splits["train"], device, may_change=True)
        steps = batches.training_steps(splits["train"], collate, config.seed, order.StepSize(4, 2), Position(), False)
        return SimpleNamespace(
            config=config, device=device, amp_dtype=amp_dtype, model=model, tokenizer=tokenizer, splits=splits,
            collate=collate, steps=list(itertools.islice(steps, 4)),
        )  # fmt: skip

    return prepare


def chosen(config, monkeypatch):
    """choose_device, with a GPU announced for as long as it takes."""
    with monkeypatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: True)
        for name in ("Stream", "set_stream"):
            patch.setattr(torch.cuda, name, lambda *_: None)
        return choose_device(config)


@contextlib.contextmanager
def dry_run(made):
    """The learner on the fake device, the watch, and the dtypes and devices of all linear layers' outputs."""
    dtypes = []
    for module in made.model.modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_hook(lambda _, __, out: dtypes.append((out.dtype, out.device.type)))
    with FakeTensorMode(allow_non_fake_inputs=True):
        learner = build_learner(made.model.to(made.device), made.collate, made.config, made.device, made.amp_dtype)
        with Watch() as watch:
            yield learner, watch, dtypes


@pytest.mark.parametrize("accelerated", [False, True])
@pytest.mark.parametrize("precision", [*PRECISIONS, "auto"])
def test_updates_run_on_the_device_and_wait_for_nothing_but_the_mask(plain, precision, accelerated):
    """`accelerated`: with what of pairft/speed is a default on CUDA."""
    made = plain(precision)
    assert (made.device, made.amp_dtype) == (torch.device("cuda"), {"auto": torch.bfloat16, **PRECISIONS}[precision])
    with dry_run(made) as (learner, watch, dtypes):
        if accelerated:
            learner = train.accelerated(learner, made.config, made.splits["train"], made.tokenizer)
        state = learner.state
        state.model.train()
        assert state.scaler.is_enabled() == (precision == "fp16")
        for data in made.steps:  # the first one makes the moments, the scale and its growth tracker
            assert all(batch.input_ids.shape[1] % 8 == 0 for batch in data.micro_batches)
            results = learner.update(data.micro_batches, data.num_examples, 1e-3)
            assert [(t.shape, t.dtype, t.device.type) for t in results] == [((), torch.float32, "cuda")] * 2
        assert set(dtypes) == {(made.amp_dtype or torch.float32, "cuda")}
        assert watch.reads == []
        assert watch.masks == sum(len(data.micro_batches) for data in made.steps)
        for parameter in state.model.parameters():
            assert (parameter.dtype, parameter.device.type, parameter.grad) == (torch.float32, "cuda", None)
            moments = state.optimizer.state[parameter]  # KeyError where the backward pass doesn't reach it
            assert {tensor.device.type for tensor in moments.values()} == {"cuda"}
        scale = state.scaler._scale if precision == "fp16" else state.optimizer.found_inf
        assert [(t.dtype, t.device.type) for t in (scale, state.bad_steps)] == [(torch.float32, "cuda")] * 2


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_loop_waits_only_where_something_is_due(plain, precision):
    made, logged = plain(precision), []
    schedule = loop.Schedule(total_steps=4, log_every=2, eval_every="never", save_every="never")
    with dry_run(made) as (learner, watch, _):
        loop.fit(
            learner.state, made.steps, learner.update, lambda step: 1e-3, schedule,
            log=lambda state, lr, norm: logged.append(state.step), evaluate=lambda state: None,
            save=lambda state: None, stop_asked=lambda: False,
        )  # fmt: skip
        assert logged == [2, 4]
        assert watch.reads == ["fit", "fit"]
        interval = learner.state.interval
        assert {t.device.type for t in (interval.loss_sum, interval.lost, interval.skipped)} == {"cuda"}


@pytest.mark.parametrize("as_trainer", [False, True])
@pytest.mark.parametrize(("precision", "finite"), [("fp32", True), ("bf16", True), ("fp16", True), ("fp16", False)])
def test_an_evaluation_waits_once_all_batches_are_under_way(plain, monkeypatch, precision, finite, as_trainer):
    monkeypatch.setattr(batches, "EVALUATION_TOKENS", 256)
    made = plain(precision)
    rows, size = made.splits["validation"], evaluation.TRAINER_BATCH_SIZE if as_trainer else None
    number = len(list(batches.evaluation_batches(rows, made.collate, size)))
    assert number >= 3
    with dry_run(made) as (learner, watch, dtypes):
        model, reads_before = learner.state.model, []
        model.register_forward_pre_hook(lambda model, inputs: reads_before.append(len(watch.reads)))
        watch.finite = finite
        output = evaluation.predict(model, rows, made.collate, made.device, made.amp_dtype, as_trainer)
    assert reads_before[:number] == [0] * number
    assert len(reads_before) == (number if finite else 2 * number)
    expected = {(made.amp_dtype or torch.float32, "cuda")}
    assert set(dtypes) == (expected if finite else {*expected, (torch.float32, "cuda")})
    assert output.logits.shape == (20, 2) and output.losses.shape == output.labels.shape == (20,)
    assert not output.logits.any()


def loss_with_a_look_at_it(logits, labels, reduction):
    loss = torch.nn.functional.cross_entropy(logits.float(), labels, reduction=reduction)
    assert loss.item() == 0
    return loss


BROKEN = {
    "batch left behind": (Batch, "to", lambda batch, device: batch, "same device"),
    "labels left behind": (Batch, "to", lambda batch, device: TO(batch, device)._replace(labels=batch.labels), "same"),
    "slow copy": (Batch, "to", lambda batch, device: Batch(*(part.to(device) for part in batch[:4]), 0), "waits for"),
    "value read": (step, "loss_of", loss_with_a_look_at_it, "update reads a value"),
}


@pytest.mark.parametrize("broken", BROKEN)
def test_what_would_fail_or_wait_on_a_gpu_raises_here(plain, monkeypatch, broken):
    made, (owner, name, wrong, message) = plain("bf16"), BROKEN[broken]
    monkeypatch.setattr(owner, name, wrong)
    with dry_run(made) as (learner, _, _), pytest.raises((RuntimeError, AssertionError), match=message):
        learner.update(made.steps[0].micro_batches, made.steps[0].num_examples, 1e-3)
