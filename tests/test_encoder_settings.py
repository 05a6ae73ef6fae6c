"""Settings of how the encoder is trained arrive, as in test_settings.py; runs with them resume exactly."""

import pytest
import torch
from conftest import FLAGS, comparable, read_lines, same_weights, undone, write_tiny_model
from safetensors.torch import load_file
from test_settings import moments, weights
from transformers import get_scheduler

EMBEDDING = "bert.embeddings.word_embeddings.weight"
ONE_STEP = ("--max-steps", 1, "--lr", "1e-3", "--eval-every", "never")


@pytest.mark.parametrize("name", ["cosine", "constant"])
def test_schedule_arrives(made, name):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=3e-4)
    schedule = get_scheduler(name.replace("constant", "constant_with_warmup"), optimizer, 3, 10)
    lines = read_lines(
        made("--schedule", name, "--max-steps", 10, "--warmup-ratio", 0.3, "--lr", 3e-4, "--log-every", 1), "train"
    )
    for line in lines:
        assert line["lr"] == schedule.get_last_lr()[0]
        optimizer.step()
        schedule.step()
    assert len(lines) == 10


@pytest.mark.parametrize(
    ("kind", "flags"),
    [("bert", ()), ("bert", ("--unpad", "never")), ("distilbert", ()), ("modernbert", ()), ("deberta-v2", ())],
)
def test_gradient_checkpointing_arrives(made, tmp_path, kind, flags):
    """The same losses and weights, to the last bit, although each layer is computed twice."""
    model = write_tiny_model(tmp_path / "model", kind)
    computed, runs, numbers = [0], {}, {}

    def count(module, *_):
        computed[0] += isinstance(module, torch.nn.Linear) and module.training

    handle = torch.nn.modules.module.register_module_forward_hook(count)
    try:
        for name, more in (("plain", ()), ("again", ("--gradient-checkpointing",))):
            computed[0] = 0
            how = ("--model", model, "--max-steps", 4, "--lr", "1e-3", "--log-every", 1, "--accumulate", 2)
            runs[name] = made(*how, *flags, *more, name=name)
            numbers[name] = computed[0]
    finally:
        handle.remove()
    assert comparable(runs["again"], "train") == comparable(runs["plain"], "train")
    assert same_weights(runs["again"], runs["plain"])
    assert numbers["again"] > 1.5 * numbers["plain"] > 0


def test_a_kind_without_gradient_checkpointing(go, tmp_path, capsys):
    assert go("--model", write_tiny_model(tmp_path / "model", "albert"), "--gradient-checkpointing") == 2
    assert "transformers doesn't have it for albert" in capsys.readouterr().err
    assert go("--gradient-checkpointing", "--capture", "always") == 2
    assert "exclude each other" in capsys.readouterr().err


def test_layer_decay_arrives(made, tiny_model):
    """AdamW's first step changes a weight by its learning rate, unless its gradient is next to nothing."""
    before, after = (
        load_file(tiny_model / "model.safetensors"),
        weights(made("--layer-decay", 0.5, *ONE_STEP, "--weight-decay", 10)),
    )

    def change(name):
        return (after["bert." + name] - before[name]).abs().max().item()

    assert change("pooler.dense.bias") == pytest.approx(1e-3, rel=1e-3)
    assert change("encoder.layer.1.output.dense.bias") == pytest.approx(0.5e-3, rel=1e-3)
    assert change("encoder.layer.0.output.dense.bias") == pytest.approx(0.25e-3, rel=1e-3)
    assert change("embeddings.LayerNorm.bias") == pytest.approx(0.125e-3, rel=1e-3)
    # The rows of tokens that aren't in the batch only decay, at the embedding's learning rate, and so do the rows of
    # tokens that aren't in the data, which have no place in the optimizer.
    ratio = after[EMBEDDING] / before["embeddings.word_embeddings.weight"]
    still = ratio[ratio.std(dim=1) < 1e-6]
    assert len(still) > 200
    assert torch.allclose(still, torch.tensor(1 - 0.125e-3 * 10), rtol=0, atol=2e-6)


def test_freeze_arrives(made, tiny_model):
    run = made("--freeze", "embeddings, layers.0", *ONE_STEP, "--weight-decay", 10)
    before, after = load_file(tiny_model / "model.safetensors"), weights(run)
    changed = {name for name, tensor in before.items() if not torch.equal(after["bert." + name], tensor)}
    assert changed and all(name.startswith(("encoder.layer.1.", "pooler.")) for name in changed)
    trained = moments(run)
    assert trained.keys() == {"classifier.weight", "classifier.bias", *("bert." + name for name in before)} - {
        "bert." + name for name in before if name.startswith(("embeddings.", "encoder.layer.0."))
    }


def test_a_part_that_the_model_lacks(go, capsys):
    assert go("--freeze", "embeddings,layers.0-3") == 2
    message = capsys.readouterr().err
    assert "--freeze layers.0-3: the model has no such part; it has embeddings, layers.0-1, bert.embeddings" in message
    assert go("--freeze", "embeddings,,x") == 2
    assert "should be parts of the model, comma-separated" in capsys.readouterr().err
    for value in (0, 1.5, "nan"):
        assert go("--layer-decay", value) == 2
        assert "--layer-decay is" in capsys.readouterr().err


CHANGES = [  # a setting, and another value of it
    (("--schedule", "cosine"), ("--schedule", "constant")),
    (("--layer-decay", 0.5), ("--layer-decay", 0.6)),
    (("--freeze", "embeddings,layers.0"), ("--freeze", "embeddings")),
    (("--gradient-checkpointing",), ("--no-gradient-checkpointing",)),
]


@pytest.mark.parametrize(("given", "change"), CHANGES)
def test_resume_is_exact_with_each_and_a_change_is_refused(go, tmp_path, capsys, given, change):
    whole, killed = tmp_path / "runs" / "whole", tmp_path / "runs" / "killed"
    assert go(*FLAGS, *given, "--save-every", 11, "--run-name", "whole") == 0
    undone(whole, killed, 11)
    capsys.readouterr()
    assert go("--resume", "--run-name", "killed", *change) == 2
    assert f"{given[0]} is" in (message := capsys.readouterr().err) and "was started with" in message
    torch.manual_seed(99)
    assert go("--resume", "--run-name", "killed") == 0
    assert same_weights(whole, killed)
    for split in ("train", "validation"):
        assert comparable(whole, split) == comparable(killed, split)
