"""--shard full from the command line: the numbers, the model folders, and a resume with another number of processes."""

import json
from pathlib import Path

import pytest
from conftest import read_lines, undone
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.testing import assert_close

pytestmark = pytest.mark.distributed
FULL = ("--shard", "full")


def assert_same_run(run: Path, expected: Path) -> None:
    """Losses, gradient norms, scores, and the weights in best/ and last/."""
    for line, wanted in zip(read_lines(run, "train"), read_lines(expected, "train"), strict=True):
        assert line["loss"] == pytest.approx(wanted["loss"], rel=1e-6), line
        assert line["grad_norm"] == pytest.approx(wanted["grad_norm"], rel=1e-5), line
    scores, wanted = (json.loads((r / "results.json").read_text())["last"]["validation"] for r in (run, expected))
    assert scores == pytest.approx(wanted, rel=1e-6)
    for folder in ("best", "last"):
        weights, wanted = (load_file(r / folder / "model.safetensors") for r in (run, expected))
        assert weights.keys() == wanted.keys()
        for name in (name for name in wanted if not name.endswith("key.bias")):  # whose gradient is rounding alone
            assert_close(weights[name], wanted[name], rtol=1e-4, atol=1e-5)


def curves_of(run: Path, beginning: str) -> dict[tuple[str, int], float]:
    events = EventAccumulator(str(run)).Reload()
    tags = [tag for tag in events.Tags()["scalars"] if tag.startswith(beginning)]
    assert tags
    return {(tag, point.step): point.value for tag in tags for point in events.Scalars(tag)}


def test_shard_arrives(torchrun, tmp_path):
    runs = tmp_path / "runs"
    for processes, accumulate, more in ((1, 4, ()), (2, 2, FULL)):
        flags = ("--accumulate", accumulate, *more, "--save-every", 2, "--log-every", 4)
        code, errors = torchrun.run(processes, *flags, "--run-name", processes)
        assert code == 0, errors
    assert_same_run(runs / "2", runs / "1")
    whole, shared = (curves_of(runs / name, "update_ratio/") for name in ("1", "2"))
    assert whole.keys() == shared.keys()
    for tag, step in whole:  # a single process trains only the embedding's rows that occur
        assert shared[tag, step] == pytest.approx(whole[tag, step], rel=0.3 if "embeddings" in tag else 1e-3), tag
    assert "padding-free" in errors and errors.count("Traceback") == 0
    middle = Path("checkpoints", "step-00000006", "state.json")  # two steps after a log line
    intervals = [json.loads((runs / name / middle).read_text())["interval"] for name in ("1", "2")]
    assert intervals[0]["tokens"] == intervals[1]["tokens"] > 0  # those of all processes
    undone(runs / "2", runs / "again", 6)
    held = sorted(path.name for path in (runs / "again" / "checkpoints" / "step-00000006" / "shards").iterdir())
    assert len(held) == 2, held  # one file of each process
    for processes in (1, 2):
        copy = f"with-{processes}"
        undone(runs / "2", runs / copy, 6)
        code, errors = torchrun.run(processes, "--log-every", 4, "--resume", "--run-name", copy)
        assert code == 0, errors
        assert "from step 6" in errors
        assert ("a single process holds the whole model" in errors) == (processes == 1)
        assert_same_run(runs / copy, runs / "1")
