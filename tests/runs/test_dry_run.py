"""--dry-run says what a run takes, and leaves nothing."""

import re
import signal
from pathlib import Path

import numpy
import pytest
import torch
from conftest import CACHE, some_pairs, wait_for, write_rows

from pairft.config import Config
from pairft.data.batches import Position, training_steps
from pairft.data.order import step_size, steps_in
from pairft.errors import UserError
from pairft.runs import estimate, settings
from pairft.runs.estimate import Measured, Plan
from pairft.training.loop import Schedule
from pairft.training.state import TrainState

ROW = r"^ *(time|steps|evaluations|saving|memory|disk|while saving)  +([\d.]+ \w+(?: \d+ \w+)?)  "


def table_of(text):
    """{name: first value} of the printed table."""
    return dict(re.findall(ROW, text, re.MULTILINE))


def in_bytes(text):
    number, unit = text.split()
    return float(number) * {"MB": 1e6, "GB": 1e9}[unit]


def size_on_disk(run):
    """Files that checkpoints share count once, as they do on the disk. Without TensorBoard's file."""
    files = [path.stat() for path in run.rglob("*") if path.is_file() and "events" not in path.name]
    return sum({file.st_ino: file.st_size for file in files}.values())


def test_dry_run_arrives(go, made, tmp_path, capsys):
    flags = ("--epochs", 2, "--lr", "1e-3")
    assert go("--dry-run", *flags) == 0
    printed = capsys.readouterr()
    assert list((tmp_path / "runs").iterdir()) == []
    found = table_of(printed.out)
    assert len(found) == 7 and "16 of " in printed.out and "2 checkpoints" in printed.out
    assert "from step 0" in printed.err and "nothing is left of it" in printed.err
    run = made(*flags)
    same = len({path.stat().st_ino for path in run.glob("checkpoints/*/best/model.safetensors")}) == 1
    model = sum(path.stat().st_size for path in (run / "best").iterdir())
    assert size_on_disk(run) + same * model == pytest.approx(in_bytes(found["disk"]), rel=0.03)


class Lengths:
    """A data set that has only lengths; its rows are their indices."""

    def __init__(self, lengths):
        self.lengths = lengths

    def __len__(self):
        return len(self.lengths)

    def __getitem__(self, rows):
        return rows


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(
    "about",
    [
        {"epochs": 2, "batch_size": 8, "accumulate": 3},
        {"max_steps": 13, "batch_size": 4, "eval_every": 5, "save_every": "never"},
        {"max_steps": 20, "batch_size": 8, "eval_every": 4},
        {"epochs": 3, "max_tokens": 90, "accumulate": 2, "save_every": 7},
    ],
)
def test_the_plan_is_what_the_loop_does(about, padded):
    """Steps, tokens, the largest micro-batch, and how often something is due, against the steps themselves."""
    config = Config(**about)
    lengths = numpy.random.default_rng(0).integers(5, 60, 77).astype(numpy.int32)
    total = config.max_steps or steps_in(config.epochs, lengths, step_size(config), config.seed)
    schedule = Schedule(total, 10, config.eval_every, config.save_every)
    plan = estimate.plan_of(config, schedule, lengths, len(lengths), padded)
    steps = training_steps(Lengths(lengths), numpy.array, config.seed, step_size(config), Position(), False)
    state = TrainState(None, None, None, None, torch.zeros(()))
    tokens = evaluations = saves = 0
    largest = {}
    for data in (next(steps) for _ in range(total)):
        for batch in data.micro_batches:
            size = int(lengths[batch].max() * len(batch) if padded else lengths[batch].sum())
            largest.setdefault(size, sorted(batch))
            tokens += size
        state.step, state.position = state.step + 1, data.after
        evaluations += schedule.due(schedule.eval_every, state)
        saves += schedule.due(schedule.save_every, state)
    assert (plan.steps, plan.tokens, plan.evaluations, plan.saves) == (total, tokens, evaluations, saves)
    assert sorted(plan.longest) == largest[max(largest)]


def test_the_table_adds_up(tmp_path):
    plan = Plan(steps=1000, tokens=200_000, evaluations=4, saves=3, longest=numpy.arange(8))
    sizes = {"memory": 2 * 10**9, "memory_there": 8 * 10**9, "checkpoint": 3 * 10**8, "model": 10**8}
    found = Measured([0.9, 1.1], [100, 100], 5.0, 2.0, 1.0, **sizes, examples=10**6, answers=10**5)
    rows = table_of(estimate.table(plan, found, 1, tmp_path))
    assert rows["steps"] == "33 min 20 s" and rows["evaluations"] == "20 s" and rows["saving"] == "11 s"
    assert rows["time"] == "33 min 51 s" and rows["memory"] == "2.00 GB"
    assert rows["disk"] == "1.00 GB" and rows["while saving"] == "1.40 GB"  # 2 * 0.3 + 4 * 0.1; one more of each
    text = estimate.table(plan, found, 3, tmp_path)
    assert table_of(text)["time"] == "1 h 41 min" and "of all 3 runs together" in text and "± 10 %" in text


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--seeds", "1,2"), "time and disk: of all 2 runs together"),
        (("--folds", 3), "time and disk: of all 3 runs together"),
        (("--streaming", "--max-steps", 9, "--shuffle-buffer", 16), "9 of "),
        (("--preset", "trainer", "--max-steps", 9, "--patience", 1), "9 of "),
        (("--lora-rank", 2, "--max-tokens", 100, "--profile"), "3 checkpoints"),
    ],
)
def test_other_settings(go, pairs_folder, tmp_path, capsys, flags, words):
    data = ("--data", pairs_folder / "train.jsonl") if "--folds" in flags else ()
    custom = ("--task", "custom", "--text-columns", "sentence1,sentence2") if data else ()
    assert go("--dry-run", *flags, *data, *custom) == 0
    printed = capsys.readouterr()
    assert words in printed.out and list((tmp_path / "runs").iterdir()) == []
    notes = {"--streaming": "reading the others", "--patience": "may end the run earlier", "--profile": "no effect"}
    assert all(note in printed.err for flag, note in notes.items() if flag in flags)


def test_the_cache_gets_what_a_run_would_put_there(go, tmp_path):
    rows = [{**row, "idx": n, "sentence1": f"unlike all others, {n}"} for n, row in enumerate(some_pairs("train", 40))]
    for split in ("train", "validation"):
        write_rows(tmp_path / "own" / f"{split}.jsonl", rows)
    kept = []
    for flags in (("--dry-run",), ()):
        assert go("--data", tmp_path / "own", "--max-steps", 2, *flags) == 0
        kept.append({path for path in Path(CACHE.name).rglob("*") if path.is_file() and path.suffix != ".lock"})
    assert kept[0] == kept[1]


def test_mistakes_come_out_and_leave_nothing(go, tmp_path, capsys):
    write_rows(tmp_path / "bad" / "train.jsonl", [{"sentence1": "a", "sentence2": "b", "label": None}] * 9)
    cases = {
        ("--data", tmp_path / "bad"): 2,
        ("--model", tmp_path / "missing"): 2,
        ("--resume",): 2,
        ("--resume", "--run-name", "finished"): 2,
        ("--lr", "1e30"): 3,
    }
    assert go("--max-steps", 1, "--run-name", "finished") == 0
    for flags, code in cases.items():
        assert go("--dry-run", *flags) == code, flags
        assert "error: " in (message := capsys.readouterr().err) or code == 3, message
        assert [path.name for path in (tmp_path / "runs").iterdir()] == ["finished"], flags


def test_several_processes_are_refused():
    with pytest.raises(UserError, match="--dry-run is for one process"):
        settings.check_processes(Config(dry_run=True, processes=2), 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "pattern"), [(signal.SIGINT, ".dry-run-*"), (signal.SIGTERM, ".dry-run-*/*/config.yaml")]
)
def test_a_signal_leaves_nothing(begin, tmp_path, number, pattern):
    runs = tmp_path / "runs"
    process = begin("--dry-run", "--epochs", 100)
    wait_for(lambda: list(runs.glob(pattern)), process)
    process.send_signal(number)
    assert process.wait(60) == 128 + number, process.communicate()
    assert list(runs.iterdir()) == []
