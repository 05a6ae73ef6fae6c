"""Evaluations that run out of memory, and logits that overflow in half precision."""

from functools import partial

import numpy
import pytest
import torch
from conftest import read_lines
from test_evaluation import CPU, PAD, rows  # noqa: F401  (a fixture)
from torch.nn.modules.module import register_module_forward_pre_hook
from transformers import AutoModelForSequenceClassification
from transformers.models.bert.modeling_bert import BertPooler

from pairft.errors import UserError
from pairft.speed import unpad
from pairft.training.evaluation import Fallbacks, predict


def fail_above(limit, module, args):
    """Memory ends in the forward pass of an evaluation of more examples: the pooler's input is [examples, …]."""
    if isinstance(module, BertPooler) and not module.training and len(args[0]) > limit:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")


@pytest.mark.parametrize("flags", [("--unpad", "auto"), ("--unpad", "never"), ("--preset", "trainer")])
def test_an_evaluation_out_of_memory_is_done_in_parts(go, tmp_path, capsys, flags):
    flags = (*flags, "--max-steps", 4, "--eval-every", 2, "--lr", "1e-3")
    assert go(*flags, "--run-name", "whole") == 0
    capsys.readouterr()
    hook = register_module_forward_pre_hook(partial(fail_above, 3))  # the checks before training have three examples
    try:
        assert go(*flags, "--run-name", "small") == 0
    finally:
        hook.remove()
    assert capsys.readouterr().err.count("out of memory") == 1
    found = [read_lines(tmp_path / "runs" / name, "validation") for name in ("whole", "small")]
    assert len(found[0]) == 2
    for whole, small in zip(*found, strict=True):
        assert small.pop("split") == whole.pop("split")
        assert small == pytest.approx(whole, rel=1e-6)


@pytest.mark.parametrize("as_trainer", [True, False])
@pytest.mark.parametrize("packed", [True, False])
def test_the_parts_come_together_in_the_rows_order(tiny_model, rows, capsys, as_trainer, packed):  # noqa: F811
    model, batched = AutoModelForSequenceClassification.from_pretrained(tiny_model), PAD
    if packed:
        batched, how = unpad.prepare(model, PAD, rows[:3], 0)
        assert how == "padding-free"
    wanted = predict(model, rows, batched, CPU, None, as_trainer)
    fallbacks = Fallbacks()
    hook = register_module_forward_pre_hook(partial(fail_above, 3))
    try:
        got = predict(model, rows, batched, CPU, None, as_trainer, fallbacks)
    finally:
        hook.remove()
    numpy.testing.assert_allclose(got.logits, wanted.logits, atol=1e-6)
    numpy.testing.assert_allclose(got.losses, wanted.losses, atol=1e-6)
    assert got.labels.tolist() == wanted.labels.tolist()
    assert capsys.readouterr().err.count("out of memory") == 1 and fallbacks.divisor > 1


def test_a_single_example_that_does_not_fit(tiny_model, rows):  # noqa: F811
    model = AutoModelForSequenceClassification.from_pretrained(tiny_model)
    hook = register_module_forward_pre_hook(partial(fail_above, 0))
    try:
        with pytest.raises(UserError, match="--max-length"):
            predict(model, rows, PAD, CPU, None)
    finally:
        hook.remove()
    longer = rows.map(lambda row: {"input_ids": row["input_ids"] * 30, "length": row["length"] * 30})
    with pytest.raises((RuntimeError, IndexError), match=r"index|size"):  # another error stays what it is
        predict(model, longer, PAD, CPU, None)


@pytest.mark.parametrize("as_trainer", [True, False])
def test_logits_beyond_half_precision_are_computed_in_float32(tiny_model, rows, capsys, as_trainer):  # noqa: F811
    model = AutoModelForSequenceClassification.from_pretrained(tiny_model)
    with torch.no_grad():
        model.classifier.weight *= 65_504 / abs(predict(model, rows, PAD, CPU, None).logits).mean()
    wanted = predict(model, rows, PAD, CPU, None, as_trainer)
    assert (abs(wanted.logits) > 65_504).any() and (abs(wanted.logits) < 65_504).any()  # of fp16 at most
    fallbacks = Fallbacks()
    for _ in range(2):
        got = predict(model, rows, PAD, CPU, torch.float16, as_trainer, fallbacks)
        numpy.testing.assert_allclose(got.logits, wanted.logits, rtol=0.01, atol=300)
        numpy.testing.assert_allclose(got.losses, wanted.losses, rtol=0.01, atol=600)
    assert capsys.readouterr().err.count("float16 overflows") == 1
    with torch.no_grad():
        model.classifier.bias[0] = float("nan")
    fallbacks = Fallbacks()
    assert not numpy.isfinite(predict(model, rows, PAD, CPU, torch.float16, as_trainer, fallbacks).logits).all()
    assert "overflows" not in capsys.readouterr().err  # no overflow: the model itself diverged
