"""A sharded model in two processes (gloo, CPU), then in one, then in two, against the same model in one process without
sharding."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ARCHITECTURES, ROOT
from sharding_worker import SIZES, classifier, logits_of, step_batches, update_of
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

from pairft.training import sharding
from pairft.training.optim import build_optimizer

# One group: the runs of `two` and `one` take long, so one process makes them for all tests.
pytestmark = [pytest.mark.distributed, pytest.mark.xdist_group("sharding")]


def torchrun(processes: int, model: Path, out: Path, first: int, last: int, checkpoint: Path | str = "-") -> list[dict]:
    """Run the worker. Returns what each process wrote down."""
    out.mkdir()
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", processes]
    command += [ROOT / "tests/training/sharding_worker.py", model, out, first, last, checkpoint]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    line = [str(part) for part in command]
    done = subprocess.run(line, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads((out / f"rank-{rank}.json").read_text(encoding="utf-8")) for rank in range(processes)]


@pytest.fixture(scope="module")
def two(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict]]:
    """Two processes make all steps, and save after the third."""
    out = tmp_path_factory.mktemp("sharding") / "two"
    return out, torchrun(2, tiny_model, out, 0, len(SIZES))


@pytest.fixture(scope="module")
def one(tiny_model: Path, two: tuple[Path, list[dict]]) -> tuple[Path, list[dict]]:
    """One process resumes after the third step and ends one before the last."""
    out = two[0].with_name("one")
    return out, torchrun(1, tiny_model, out, 3, len(SIZES) - 1, two[0] / "three")


@pytest.fixture(scope="module")
def reference(tiny_model: Path) -> dict:
    """The unsharded model in this process."""
    model = classifier(tiny_model)
    update = update_of(model, build_optimizer(model, 0.01))
    found = {"before": logits_of(model), "steps": [], "model": model}
    for number, size in enumerate(SIZES):
        loss_sum, norm = update(step_batches(number), size, 1e-3)
        found["steps"].append([loss_sum.item() / size, norm.item()])
        if number == 2:
            found["middle"] = logits_of(model)
    return found


def assert_same_weights(state: dict[str, torch.Tensor], model: nn.Module, bound: float = 1e-6) -> None:
    for name, whole in model.state_dict().items():
        # The gradient of a key's bias is rounding alone, and AdamW makes a whole step of it; the loss doesn't depend
        # on that bias.
        if not name.endswith("key.bias"):
            assert (state[name] - whole).norm() <= bound * whole.norm(), name


def assert_same_steps(found: list[dict], expected: list[list[float]]) -> None:
    for process in found:
        assert len(process["steps"]) == len(expected)
        for got, wanted in zip(process["steps"], expected, strict=True):
            assert got == pytest.approx(wanted, rel=1e-6)


def test_training_equals_the_unsharded_model(two, reference):
    """Losses, gradient norms and weights, with a process that has fewer micro-batches or none."""
    folder, found = two
    assert min(norm for _, norm in reference["steps"]) > 0.1  # all are clipped
    assert_same_steps(found, reference["steps"])
    saved = AutoModelForSequenceClassification.from_pretrained(folder / "model")
    assert_same_weights(saved.state_dict(), reference["model"])


def test_each_process_holds_its_share_in_float32(two, one):
    for process in two[1]:
        held, whole = process["numel"]
        assert 0.49 * whole < held < 0.51 * whole
        assert process["dtypes"] == ["torch.float32"]
    assert one[1][0]["numel"][0] == two[1][0]["numel"][1]


def test_evaluation_in_inference_mode_before_and_during_training(two, reference):
    for process in two[1]:
        for moment in ("before", "middle"):
            torch.testing.assert_close(torch.tensor(process[moment]), reference[moment], rtol=1e-5, atol=1e-6)


def test_resume_with_another_number_of_processes(tiny_model, two, one, reference):
    assert_same_steps(one[1], reference["steps"][3:-1])
    again = two[0].with_name("again")
    found = torchrun(2, tiny_model, again, len(SIZES) - 1, len(SIZES), one[0] / "end")
    assert_same_steps(found, reference["steps"][-1:])
    assert_same_weights(classifier(again / "model").state_dict(), reference["model"])


def test_shards_load_without_processes_and_equal_the_model_folder(tiny_model, two, reference):
    folder, _ = two
    model = classifier(tiny_model)
    optimizer = build_optimizer(model, 0.01)
    sharding.load_shards(folder / "end", model, optimizer)
    saved = AutoModelForSequenceClassification.from_pretrained(folder / "model")
    assert all(torch.equal(tensor, saved.state_dict()[name]) for name, tensor in model.state_dict().items())
    assert type(saved).__name__ == saved.config.architectures[0] == "BertForSequenceClassification"
    model = classifier(tiny_model)
    optimizer = build_optimizer(model, 0.01)
    sharding.load_shards(folder / "three", model, optimizer)
    update = update_of(model, optimizer)
    for number in range(3, len(SIZES)):
        update(step_batches(number), SIZES[number], 1e-3)
    assert_same_weights(model.state_dict(), reference["model"])


def test_an_overflow_in_one_process_skips_the_step_in_all(two):
    assert [process["skipped"] for process in two[1]] == [[512.0, 0.0]] * 2


def test_a_process_that_cannot_write_is_an_os_error_in_all(two):
    assert [process["full disk"] for process in two[1]] == [errno.EFBIG] * 2


def test_shards_that_do_not_fit_are_refused(tiny_model, two, tmp_path):
    model = classifier(tiny_model, num_labels=4)
    with pytest.raises(ValueError, match=r"classifier.bias: shape and elements are \(\[3\], 3\) there"):
        sharding.load_shards(two[0] / "three", model, build_optimizer(model, 0.01))
    shutil.copytree(two[0] / "three", tmp_path / "part")
    next((tmp_path / "part").glob("shard-00001*")).unlink()  # the rows at the end of each tensor are still there
    model = classifier(tiny_model)
    with pytest.raises(ValueError, match="there"):
        sharding.load_shards(tmp_path / "part", model, build_optimizer(model, 0.01))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_layers_are_those_of_the_config(architecture):
    """Each layer once, and all that grows with their number is in them."""

    def parameters(layers: int) -> tuple[int, int, int]:
        own = {"distilbert": "n_layers", "xlnet": "n_layer", "gpt2": "n_layer", "funnel": "block_sizes"}
        number = {own.get(architecture, "num_hidden_layers"): [1, layers - 1] if architecture == "funnel" else layers}
        settings = {"num_hidden_layers": None, **ARCHITECTURES[architecture], **number}
        given = {name: value for name, value in settings.items() if value is not None}
        with torch.device("meta"):
            model = AutoModel.from_config(AutoConfig.for_model(architecture, **given))
        found = sharding.layers_of(model)
        inside = sum(parameter.numel() for layer in found for parameter in layer.parameters())
        return len(found), inside, sum(parameter.numel() for parameter in model.parameters()) - inside

    (two, inside, outside), (three, more_inside, same_outside) = parameters(2), parameters(3)
    if architecture == "albert":  # its layers share their weights
        assert (two, three, inside) == (1, 1, more_inside)
    else:
        assert (two, three) == ((4, 5) if architecture == "funnel" else (2, 3))  # Funnel's decoder has two of its own
        assert more_inside > inside
    assert outside == same_outside
