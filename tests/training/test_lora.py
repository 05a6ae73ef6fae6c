"""LoRA: against peft's own model, the folders it leaves, exact resume, and what it excludes."""

import json

import peft
import pytest
import torch
from conftest import FLAGS, comparable, read_lines, same_weights, some_pairs, undone, write_tiny_model
from safetensors.torch import load_file
from test_settings import moments
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from pairft import checks
from pairft.model.classifier import load_model
from pairft.runs import checkpoint
from pairft.training.layers import heights
from pairft.training.lora import add_adapters, merged_weights

LORA = ("--lora-rank", 4)
KINDS = ("bert", "roberta", "distilbert", "electra", "albert", "mpnet", "deberta-v2", "xlm-roberta", "modernbert")


def trained_adapters(run, encoder):
    """The model with adapters that the run's last checkpoint holds."""
    model, *_ = load_model(str(encoder), ["not_equivalent", "equivalent"])
    add_adapters(model, 4, 8, seed=0)
    model.load_state_dict(load_file(checkpoint.whole_checkpoints(run / "checkpoints")[-1] / "model.safetensors"))
    return model.eval()


@pytest.mark.parametrize("kind", KINDS)
def test_lora_rank_arrives(go, tmp_path, kind):
    """Only adapters and what is above the layers are trained; best/ and last/ are ordinary models that answer as the
    one with adapters does."""
    encoder, run = write_tiny_model(tmp_path / "encoder", kind, initializer_range=0.2), tmp_path / "runs" / "a"
    assert go("--model", encoder, *LORA, "--lr", "1e-2", "--max-steps", 6, "--run-name", "a") == 0
    adapted = trained_adapters(run, encoder)
    tokenizer = AutoTokenizer.from_pretrained(run / "last")
    pairs = [tokenizer(row["sentence1"], row["sentence2"], return_tensors="pt") for row in some_pairs("test", 6)]
    plain, *_ = load_model(str(encoder), ["not_equivalent", "equivalent"])
    with torch.no_grad():
        wanted = torch.cat([adapted(**pair).logits for pair in pairs])
        for folder in ("best", "last"):
            loaded = AutoModelForSequenceClassification.from_pretrained(run / folder).eval()
            assert type(loaded) is type(plain) and loaded.state_dict().keys() == plain.state_dict().keys()
            assert torch.allclose(torch.cat([loaded(**pair).logits for pair in pairs]), wanted, rtol=0, atol=1e-5)
    height, optimized = heights(plain, ""), moments(run)
    above = {name for name, at in height.items() if at == max(height.values())}
    assert above and above == {name for name in optimized if ".lora_" not in name}
    before, after = plain.state_dict(), loaded.state_dict()
    inside = {name for name in height if name not in above and not torch.equal(after[name], before[name])}
    adapted_weights = {name.partition(".lora_")[0] + ".weight" for name in optimized if ".lora_" in name}
    assert inside == adapted_weights and all(height[name] > 0 for name in inside)
    assert any(not torch.equal(after[name], before[name]) for name in above)


def test_training_equals_that_of_pefts_own_model(go, tmp_path, plain_model):
    """Losses of three steps, by peft's model for sequence classification and torch's AdamW."""
    flags = ("--model", plain_model, *LORA, "--lora-alpha", 4, "--lr", "1e-2", "--max-steps", 3, "--log-every", 1)
    assert go(*flags, "--weight-decay", 0, "--schedule", "constant", "--save-every", 1, "--run-name", "a") == 0
    run = tmp_path / "runs" / "a"
    losses = [line["loss"] for line in read_lines(run, "train")]
    assert len(losses) == 3
    # The same start: drawn in the same order from the same seed.
    torch.manual_seed(42)
    model, *_ = load_model(str(plain_model), ["not_equivalent", "equivalent"])
    linear = [name for name, part in model.bert.encoder.named_modules() if type(part) is torch.nn.Linear]
    config = peft.LoraConfig(
        task_type="SEQ_CLS", r=4, lora_alpha=4, target_modules=["bert.encoder." + name for name in linear],
        modules_to_save=["classifier", "pooler"],
    )  # fmt: skip
    torch.manual_seed(42)
    theirs = peft.get_peft_model(model, config)
    trained = [parameter for parameter in theirs.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-2, weight_decay=0.0)
    tokenizer = AutoTokenizer.from_pretrained(plain_model)
    rows = some_pairs("train", 60)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(42)).tolist()
    for step in range(3):
        batch = [rows[index] for index in order[8 * step : 8 * step + 8]]
        inputs = tokenizer(
            [row["sentence1"] for row in batch], [row["sentence2"] for row in batch], padding=True, return_tensors="pt"
        )
        loss = theirs(**inputs, labels=torch.tensor([row["label"] for row in batch])).loss
        assert loss.item() == pytest.approx(losses[step], rel=1e-4), step
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()


def test_lora_alpha_arrives(go, tmp_path, plain_model):
    """The adapters' product counts alpha / rank times: of the same draw, twice the alpha changes the weights twice."""
    changes = []
    for alpha in (4, 8):
        flags = ("--model", plain_model, *LORA, "--lora-alpha", alpha, "--lr", "1e-3", "--max-steps", 1)
        assert go(*flags, "--run-name", alpha) == 0
        name = "bert.encoder.layer.1.attention.self.query.weight"
        after = load_file(tmp_path / "runs" / str(alpha) / "last" / "model.safetensors")[name]
        changes.append(after - load_file(plain_model / "model.safetensors")[name.removeprefix("bert.")])
    assert changes[0].abs().max() > 1e-5
    # AdamW's first step is as large for any gradient, except where it is next to nothing.
    assert torch.allclose(changes[1], 2 * changes[0], rtol=1e-2, atol=1e-6)


@pytest.mark.parametrize("kind", ["bert", "distilbert", "albert", "modernbert"])
def test_padding_free_adapters_compute_what_padded_ones_do(go, tmp_path, capsys, kind):
    settings = {
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "dropout": 0.0,
        "attention_dropout": 0.0,
    }
    encoder = write_tiny_model(tmp_path / "encoder", kind, initializer_range=0.2, **settings)
    lines = []
    for unpad in ("always", "never"):
        flags = ("--model", encoder, *LORA, "--lr", "1e-2", "--max-steps", 8, "--log-every", 1, "--unpad", unpad)
        assert go(*flags, "--run-name", unpad) == 0
        lines.append(read_lines(tmp_path / "runs" / unpad, "train"))
    for one, other in zip(*lines, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4), one
        assert one["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-3), one


@pytest.mark.parametrize("more", [(), ("--gradient-checkpointing", "--layer-decay", 0.5)])
def test_resume_is_exact_and_a_change_is_refused(go, tmp_path, capsys, more):
    whole, killed = tmp_path / "runs" / "whole", tmp_path / "runs" / "killed"
    assert go(*FLAGS, *LORA, *more, "--save-every", 11, "--run-name", "whole") == 0
    undone(whole, killed, 11)
    for flag in ("--lora-rank", "--lora-alpha"):
        assert go("--resume", "--run-name", "killed", flag, 5) == 2
        assert f"{flag} is 5" in capsys.readouterr().err
    torch.manual_seed(99)
    assert go("--resume", "--run-name", "killed") == 0
    assert same_weights(whole, killed)
    for split in ("train", "validation"):
        assert comparable(whole, split) == comparable(killed, split)
    before, after = (json.loads((run / "results.json").read_text()) for run in (whole, killed))
    assert (before["best"], before["last"]) == (after["best"], after["last"])


def test_what_it_excludes_and_needs(go, capsys, monkeypatch):
    for flags, words in (
        (("--lora-alpha", 8), "--lora-alpha 8 needs --lora-rank"),
        (("--lora-rank", 0), "--lora-rank is 0, but should be at least 1"),
        ((*LORA, "--freeze", "embeddings"), "--lora-rank and --freeze exclude each other"),
        ((*LORA, "--shard", "full"), "--lora-rank and --shard full exclude each other"),
    ):
        assert go(*flags) == 2
        assert words in capsys.readouterr().err
    monkeypatch.setattr(checks, "find_spec", lambda name: None)
    assert go(*LORA) == 2
    assert "--lora-rank needs peft: pip install 'pairft[lora]'" in capsys.readouterr().err


def test_a_model_without_adapters_has_no_merged_weights(tiny_model):
    model, *_ = load_model(str(tiny_model), ["no", "yes"])
    assert merged_weights(model) is None
