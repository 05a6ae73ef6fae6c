"""Signals, clocks, other processes, numbers that are not finite."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from conftest import FLAGS, ROOT, read_lines, undone, wait_for
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import AutoModelForSequenceClassification

from pairft import disk
from pairft.data import pairs
from pairft.data.batches import Batch, Position, StepData
from pairft.errors import Diverged, UserError
from pairft.runs import checkpoint, directory
from pairft.runs.log import RunLog
from pairft.training import step
from pairft.training.optim import build_optimizer
from pairft.training.state import TrainState, new_interval


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
    assert len(kept) == 2 and all(disk.verify(folder) == {} for folder in kept)
    assert f"stopped after step {int(kept[-1].name[5:])};" in message


@pytest.mark.slow
@pytest.mark.parametrize(("first", "second"), [(signal.SIGINT, signal.SIGTERM), (signal.SIGTERM, signal.SIGINT)])
def test_a_second_signal_stops_at_once(first, second, tiny_model, pairs_folder, tmp_path):
    """In an evaluation that hangs: the first signal waits for its end, the second doesn't."""
    code = f"import pathlib, sys, time; sys.path.insert(0, {str(ROOT)!r}); import train\n"
    code += "from pairft.training import evaluation\n"
    code += "evaluation.compute_metrics = lambda *_: (pathlib.Path('hangs').touch(), time.sleep(600))\n"
    code += "sys.exit(train.main())"
    flags = ["--model", tiny_model, "--data", pairs_folder, "--max-steps", 2, "--run-name", "a", "--device", "cpu"]
    words = [sys.executable, "-c", code, *map(str, flags)]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    wait_for((tmp_path / "hangs").exists, process)
    process.send_signal(first)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    process.send_signal(second)
    process.communicate(timeout=30)
    assert process.returncode == 128 + second
    assert not (tmp_path / "runs" / "a" / "checkpoints").exists()


@pytest.mark.slow
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
    assert message.count("stopped after step") == 1 and disk.verify(checkpoints[-1]) == {}


def test_a_second_process_on_the_same_run_is_refused(begin, go, tmp_path, capsys):
    process = begin("--max-steps", 100000, "--run-name", "a")
    wait_for((tmp_path / "runs" / "a" / "metrics.jsonl").exists, process)
    assert go("--resume", "--run-name", "a") == 2
    message = capsys.readouterr().err
    assert "another process is writing to" in message and str(tmp_path / "runs" / "a") in message
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 143


def test_a_run_that_is_resumed_is_locked_before_its_data_is_read(begin, go, tmp_path, monkeypatch):
    """Or another process could finish it meanwhile, and it would be trained on."""
    run, load_pairs = tmp_path / "runs" / "a", pairs.load_pairs
    assert go(*FLAGS, "--run-name", "whole") == 0
    undone(tmp_path / "runs" / "whole", run, 8)

    def look(config):
        other = begin("--resume", "--run-name", "a")
        assert "another process is writing to" in other.communicate(timeout=60)[1] and other.returncode == 2
        return load_pairs(config)

    monkeypatch.setattr(pairs, "load_pairs", look)
    assert go("--resume", "--run-name", "a") == 0
    with pytest.raises(UserError, match="finished by another process"), directory.locked(run):
        pass


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
    steps = [scalar.step for scalar in events.Scalars("learning/loss/train")]
    assert steps == [3, 6, 9, 12, 15, 16]
    losses = {line["step"]: line["loss"] for line in read_lines(whole, "train")}
    for scalar in events.Scalars("learning/loss/train"):
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
    rows = torch.randperm(60, generator=torch.Generator().manual_seed(4))[8:16] + 1  # the second step of epoch 1
    assert "not finite at step 10" in message and f"rows {', '.join(map(str, rows.tolist()))} of" in message
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


def test_steps_that_a_scaler_skips_are_no_divergence_until_they_are_a_row(tiny_model):
    """fp16 with a scale so high that gradients overflow, on the CPU; each such step halves it."""
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=2).train()
    optimizer = build_optimizer(model, 0.01)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127, growth_interval=1000)
    bad_steps, window = torch.zeros(()), new_interval(torch.device("cpu"))
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


def step_of_eight():
    ones = torch.ones((8, 2), dtype=torch.int64)
    return StepData([Batch(ones, ones, None, ones[:, 0], 16)], 8, Position())


def test_a_loss_that_is_not_finite_is_left_out_of_the_mean():
    window, data = new_interval(torch.device("cpu")), step_of_eight()
    window.count(torch.tensor(float("nan")), torch.tensor(1.0), data)
    window.count(torch.tensor(4.0), torch.tensor(0.0), data)
    assert (float(window.loss_sum), int(window.lost), int(window.skipped), window.examples) == (4.0, 8, 1, 16)


def test_the_logged_mean_is_over_the_examples_whose_loss_is_finite(tmp_path):
    model, device = torch.nn.Linear(2, 2), torch.device("cpu")
    optimizer, scaler = torch.optim.AdamW(model.parameters()), torch.amp.GradScaler("cpu", enabled=False)
    state = TrainState(model, optimizer, scaler, new_interval(device), torch.zeros(()), step=2, seconds=1.0)
    for loss, bad in ((float("nan"), 1.0), (4.0, 0.0)):
        state.interval.count(torch.tensor(loss), torch.tensor(bad), step_of_eight())
    state.interval.seconds, state.interval.slots = 1.0, 1
    record = RunLog(tmp_path, 2, 16, "")
    record.log_training(state, 0.1, torch.tensor(1.0))
    record.close()
    assert read_lines(tmp_path, "train")[0]["loss"] == 0.5
