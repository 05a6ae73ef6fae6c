"""Signals, clocks, other processes, numbers that are not finite, memory that runs out."""

import functools
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import torch
from conftest import ROOT, read_lines, same_weights, wait_for, write_tiny_model
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_resume import FLAGS, undone
from transformers import AutoModelForSequenceClassification

from pairft import checkpoint, folders, memory, signals, step
from pairft.batches import Batch, Position, StepData, pack
from pairft.errors import Diverged
from pairft.optim import build_optimizer
from pairft.signals import StopRequest
from pairft.state import new_window


def test_a_signal_during_a_save_waits_for_it(begin, go, tmp_path):
    process = begin("--max-steps", 100000, "--save-every", 1, "--run-name", "a")
    checkpoints = tmp_path / "runs" / "a" / "checkpoints"
    wait_for(lambda: len(checkpoint.whole_checkpoints(checkpoints)) > 1, process)
    while not list(checkpoints.glob(".step-*.part")):
        time.sleep(0.0005)
    process.send_signal(signal.SIGTERM)
    message = process.communicate(timeout=60)[1]
    assert process.returncode == 143, message
    assert not list(checkpoints.glob(".*"))
    kept = checkpoint.whole_checkpoints(checkpoints)
    assert len(kept) == 2 and all(folders.damage(folder) is None for folder in kept)
    assert f"stopped after step {int(kept[-1].name[5:])};" in message


def test_a_second_signal_stops_at_once(begin, tmp_path):
    """At a step that takes long: an evaluation of everything, again and again."""
    process = begin("--max-steps", 100000, "--eval-every", 1, "--run-name", "a")
    wait_for((tmp_path / "runs" / "a" / "metrics.jsonl").exists, process)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode in (143, 130)


def test_under_torchrun_a_signal_that_comes_twice_is_one(tiny_model, pairs_folder, tmp_path):
    """torchrun passes on what the terminal has sent to its processes already."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "1", "--master-addr", "127.0.0.1"]
    command += ["--master-port", "0", ROOT / "train.py", "--model", tiny_model, "--data", pairs_folder]
    command += ["--runs-dir", tmp_path / "runs", "--run-name", "a", "--max-steps", 100000, "--device", "cpu"]
    process = subprocess.Popen(
        [str(part) for part in command], stderr=subprocess.PIPE, text=True, cwd=tmp_path, start_new_session=True
    )
    wait_for((tmp_path / "runs" / "a" / "metrics.jsonl").exists, process)
    os.killpg(process.pid, signal.SIGINT)
    message = process.communicate(timeout=90)[1]
    checkpoints = checkpoint.whole_checkpoints(tmp_path / "runs" / "a" / "checkpoints")
    assert message.count("stopped after step") == 1 and folders.damage(checkpoints[-1]) is None


@pytest.mark.parametrize("under_torchrun", [True, False])
def test_two_signals_within_seconds(monkeypatch, under_torchrun):
    left = []
    monkeypatch.setattr(os, "_exit", left.append)
    if under_torchrun:
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.asked() and left == []
        signal.raise_signal(signal.SIGTERM)
        assert left == ([] if under_torchrun else [143])
        monkeypatch.setattr(signals, "ECHO_SECONDS", 0.0)
        signal.raise_signal(signal.SIGTERM)
        assert left[-1] == 143


def test_a_second_process_on_the_same_run_is_refused(begin, go, tmp_path, capsys):
    process = begin("--max-steps", 100000, "--run-name", "a")
    wait_for((tmp_path / "runs" / "a" / "metrics.jsonl").exists, process)
    assert go("--resume", "--run-name", "a") == 2
    message = capsys.readouterr().err
    assert "another process is writing to" in message and str(tmp_path / "runs" / "a") in message
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143


def test_a_clock_that_was_set_back(go, tmp_path):
    """The event files of the run before have names from a time that is yet to come."""
    whole, killed = tmp_path / "runs" / "whole", tmp_path / "runs" / "killed"
    assert go(*FLAGS, "--save-every", 6, "--run-name", "whole") == 0
    undone(whole, killed, 12)
    for number, file in enumerate(killed.glob("events.out.tfevents.*")):
        ahead = int(time.time()) + 86400 + number
        file.rename(file.with_name(f"events.out.tfevents.{ahead}.{file.name.split('.', 4)[4]}"))
    assert go("--resume", "--run-name", "killed") == 0
    events = EventAccumulator(str(killed)).Reload()
    steps = [scalar.step for scalar in events.Scalars("train/loss")]
    assert steps == [3, 6, 9, 12, 15, 16]
    losses = {line["step"]: line["loss"] for line in read_lines(whole, "train")}
    for scalar in events.Scalars("train/loss"):
        assert scalar.value == pytest.approx(losses[scalar.step], rel=1e-6)


@pytest.fixture
def at_step(monkeypatch):
    """Do something just before a given update of the weights."""

    def install(number, act):
        update, count = step.update, [0]

        def acting(model, *args, **kwargs):
            count[0] += 1
            if count[0] == number:
                act(model)
            return update(model, *args, **kwargs)

        monkeypatch.setattr(step, "update", acting)

    return install


def poison(model):
    with torch.no_grad():
        model.get_parameter("bert.encoder.layer.0.output.dense.weight")[3, 4] = float("nan")


def test_a_nan_ends_the_training_and_is_never_saved(go, tmp_path, capsys, at_step):
    at_step(10, poison)
    run = tmp_path / "runs" / "a"
    flags = ("--epochs", 3, "--save-every", 4, "--log-every", 6, "--seed", 3)
    assert go(*flags, "--run-name", "a") == 3
    message = capsys.readouterr().err
    rows = torch.randperm(60, generator=torch.Generator().manual_seed(4))[8:16].tolist()  # the second step of epoch 1
    assert "not finite at step 10" in message and f"rows {', '.join(map(str, rows))} of" in message
    kept = checkpoint.whole_checkpoints(run / "checkpoints")[-1]
    assert kept.name == "step-00000008" and str(kept) in message
    assert not (run / "results.json").exists()
    for file in run.rglob("*.safetensors"):
        assert all(tensor.isfinite().all() for tensor in load_file(file).values()), file


def test_a_weight_that_is_never_used_is_not_saved_poisoned(go, tmp_path, capsys, at_step):
    """The loss doesn't show it: the position is beyond any row."""

    def spoil(model):
        with torch.no_grad():
            model.get_parameter("bert.embeddings.position_embeddings.weight")[63] = float("inf")

    at_step(3, spoil)
    assert go("--max-steps", 8, "--save-every", 4, "--eval-every", "never", "--run-name", "a") == 3
    assert "a weight or its moment is not finite at step 4" in capsys.readouterr().err
    assert not list((tmp_path / "runs" / "a").rglob("*.safetensors"))


@pytest.mark.parametrize("unpad", ["auto", "never"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_step_out_of_memory_is_done_again_in_smaller_parts(go, tmp_path, capsys, monkeypatch, unpad, accumulate):
    changes = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}  # other shapes draw other masks
    model = write_tiny_model(tmp_path / "model", "bert", **changes)
    flags = ("--model", model, "--max-steps", 12, "--lr", "1e-3", "--accumulate", accumulate, "--unpad", unpad)
    assert go(*flags, "--run-name", "whole") == 0
    loss_of = step.loss_of

    def limited(logits, labels, reduction):
        if reduction == "sum" and len(labels) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        return loss_of(logits, labels, reduction)

    monkeypatch.setattr(step, "loss_of", limited)
    capsys.readouterr()
    assert go(*flags, "--save-every", 5, "--run-name", "small") == 0
    assert capsys.readouterr().err.count("out of memory") == 1
    for one, other in zip(*(read_lines(tmp_path / "runs" / name, "train") for name in ("whole", "small")), strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-5)
        assert other["grad_norm"] == pytest.approx(one["grad_norm"], rel=1e-4)
    undone(tmp_path / "runs" / "small", tmp_path / "runs" / "again", 10)
    assert go("--resume", "--model", model, "--run-name", "again") == 0  # and it goes on with the smaller parts
    assert same_weights(tmp_path / "runs" / "small", tmp_path / "runs" / "again")
    monkeypatch.setattr(step, "loss_of", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("out of memory")))
    assert go(*flags, "--run-name", "none") == 2
    assert "--max-length" in capsys.readouterr().err


def test_a_retry_draws_what_the_first_try_drew(tiny_model):
    optimizer, scaler = torch.optim.SGD([torch.zeros(1)]), torch.amp.GradScaler("cpu", enabled=False)
    state = SimpleNamespace(bad_steps=torch.zeros(()), split=1, optimizer=optimizer, scaler=scaler)
    drawn = []

    def update(micro_batches, num_examples, lr):
        drawn.append((len(micro_batches), torch.rand(3).tolist()))
        if len(micro_batches) < 8:
            raise torch.OutOfMemoryError("out of memory")
        return torch.zeros(()), torch.zeros(())

    mask = torch.ones(5, 7, dtype=torch.int64)
    batch = Batch(mask, mask, None, torch.arange(5), 35)
    memory.retry_smaller(update, state, lambda _: None)([batch, pack(batch, 0)], 10, 0.1)
    assert [number for number, _ in drawn] == [2, 4, 8]
    assert len({tuple(numbers) for _, numbers in drawn}) == 1
    assert state.split == 4


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
        state = SimpleNamespace(bad_steps=bad_steps, split=1, optimizer=optimizer, scaler=scaler)
        one = functools.partial(
            step.update, model, optimizer, scaler, bad_steps,
            device=torch.device("cpu"), amp_dtype=None, max_grad_norm=1.0,
        )  # fmt: skip
        norms.append(memory.retry_smaller(one, state, lambda _: None)([batch], 4, 0.1)[1].item())
    assert norms[1] == pytest.approx(norms[0], rel=1e-6)


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
            for field in ("input_ids", "position_ids", "token_type_ids", "labels", "first", "attention_mask", "slots"):
                assert torch.equal(getattr(part, field), getattr(again, field)), field


def test_steps_that_a_scaler_skips_are_no_divergence_until_they_are_a_row(tiny_model):
    """fp16 with a scale so high that gradients overflow, on the CPU; each such step halves it."""
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=2).train()
    optimizer = build_optimizer(model, 0.01)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127, growth_interval=1000)
    bad_steps, window = torch.zeros(()), new_window(torch.device("cpu"))
    mask = torch.ones(4, 9, dtype=torch.int64)
    batch = Batch(torch.randint(5, 99, (4, 9)), mask, None, torch.tensor([0, 1, 1, 0]), 36)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    skipped = 0
    for _ in range(200):
        step.update(
            *(model, optimizer, scaler, bad_steps, [batch], 4, 1e-3),
            **{"device": torch.device("cpu"), "amp_dtype": torch.float16, "max_grad_norm": 1.0},
        )
        window.count(torch.tensor(1.0), bad_steps, StepData([batch], 4, Position()))
        if bad_steps == 0:
            break
        skipped += 1
        assert bad_steps == skipped == window.skipped
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert step.MAX_SKIPPED < skipped < 199
    assert not torch.equal(model.state_dict()["classifier.weight"], before["classifier.weight"])
    step.check_finite(step.MAX_SKIPPED - 1, 30, True)
    with pytest.raises(Diverged, match="at step 11"):
        step.check_finite(step.MAX_SKIPPED, 30, True)
    with pytest.raises(Diverged, match="at step 30"):
        step.check_finite(1, 30, False)


def test_a_loss_that_is_not_finite_is_left_out_of_the_mean():
    window, data = new_window(torch.device("cpu")), StepData([], 8, Position())
    window.count(torch.tensor(float("nan")), torch.tensor(1.0), data)
    window.count(torch.tensor(4.0), torch.tensor(0.0), data)
    assert (float(window.loss_sum), int(window.lost), int(window.skipped), window.examples) == (4.0, 8, 1, 16)
