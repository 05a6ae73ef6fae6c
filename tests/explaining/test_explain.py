"""python -m pairft.explain: what it prints, against the same step written out with torch and transformers alone."""

import re
from typing import Any

import pytest
import torch
from conftest import ROOT, write_tiny_model
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from pairft import explain

A, B = "The company bought its rival for 3 million dollars.", "In May the firm sold a bank to its competitor."
NAMES = ("not_equivalent", "equivalent")
NUMBER = r"(-?\d[\d.]*(?:e-?\d+)?)"


@pytest.fixture
def explained(capsys, monkeypatch):
    """What the command prints for a model and flags."""

    def run(model: Any, *flags: Any, pair: tuple[str, str] = (A, B), columns: int = 100) -> str:
        monkeypatch.setenv("COLUMNS", str(columns))
        assert explain.main(["--model", str(model), *map(str, flags), "--", *pair]) == 0
        return capsys.readouterr().out

    return run


def joined(text: str) -> str:
    """The text without its line breaks."""
    return re.sub(r"\s+", " ", text)


def numbers(pattern: str, text: str) -> list[float]:
    """The numbers of the only place where the text matches; # stands for a number."""
    [found] = re.findall(re.escape(pattern).replace(r"\#", "#").replace("#", NUMBER), joined(text))
    return [float(one.rstrip(".")) for one in (found if isinstance(found, tuple) else [found])]


def plain_step(model_folder: Any, label: int, lr: float = 5e-5, decay: float = 0.01, max_norm: float = 1.0) -> dict:
    """The same step with torch and transformers alone, on a new head drawn from seed 42."""
    torch.manual_seed(42)
    model = AutoModelForSequenceClassification.from_pretrained(model_folder, num_labels=2, dtype=torch.float32).eval()
    head, bias = model.classifier.weight, model.classifier.bias
    inputs = AutoTokenizer.from_pretrained(model_folder)(A, B, return_tensors="pt")
    read = []
    handle = model.classifier.register_forward_pre_hook(lambda _, args: read.append(args[0][0]))
    out = model(**inputs, labels=torch.tensor([label]))
    handle.remove()
    column = int(read[0].abs().argmax())
    out.loss.backward()
    gradient = head.grad[label, column].item()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm).item()
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=lr, fused=True)
    weight, clipped = head[label, column].item(), head.grad[label, column].item()
    optimizer.step()
    assert bias.grad is not None
    state = optimizer.state[head]
    after = model(**inputs, labels=torch.tensor([label]))
    return {
        "ids": inputs["input_ids"][0].tolist(),
        "types": inputs["token_type_ids"][0].tolist(),
        "logits": out.logits[0].tolist(),
        "probabilities": out.logits[0].softmax(0).tolist(),
        "loss": out.loss.item(),
        "place": (label, column),
        "read": read[0][column].item(),
        "weight": weight,
        "gradient": gradient,
        "norm": norm,
        "clipped": clipped,
        "m": state["exp_avg"][label, column].item(),
        "v": state["exp_avg_sq"][label, column].item(),
        "new": head[label, column].item(),
        "loss_after": after.loss.item(),
        "probability_after": after.logits[0].softmax(0)[label].item(),
    }


@pytest.mark.parametrize(
    ("label", "flags", "settings"),
    [
        ("equivalent", (), {}),
        ("not_equivalent", ("--lr", "1e-3", "--weight-decay", "0.5"), {"lr": 1e-3, "decay": 0.5}),
        ("equivalent", ("--max-grad-norm", "0.01"), {"max_norm": 0.01}),
        ("not_equivalent", ("--max-grad-norm", "1000", "--lr", "1e-4"), {"max_norm": 1000.0, "lr": 1e-4}),
    ],
)
def test_every_number_is_that_of_a_plain_step(label, flags, settings, wild_model, explained):
    text = explained(wild_model, "--label", label, *flags)
    wanted = plain_step(wild_model, NAMES.index(label), **settings)
    other = 1 - wanted["place"][0]

    close = {"rel": 1e-5, "abs": 1e-9}
    assert rows_of(text, "id") == list(map(str, wanted["ids"]))
    assert rows_of(text, "segment") == list(map(str, wanted["types"]))
    order = [wanted["place"][0], other]
    shown = {name: list(map(float, rows_of(text, name))) for name in ("logit", "divided")}
    assert shown["logit"] == pytest.approx([wanted["logits"][index] for index in order], **close)
    assert shown["divided"] == pytest.approx([wanted["probabilities"][index] for index in order], abs=1e-6)

    loss, torch_loss, _ = numbers("= # torch: #, difference #", text)
    assert (loss, torch_loss) == (pytest.approx(wanted["loss"], **close), pytest.approx(wanted["loss"], **close))
    assert f"w = classifier.weight[{wanted['place'][0]}, {wanted['place'][1]}] = " in text
    weight, read = numbers("] = # multiplies #, a value", text)
    assert (weight, read) == (pytest.approx(wanted["weight"], **close), pytest.approx(wanted["read"], **close))
    by_hand, gradient, _ = numbers(" = # By backward(): #, difference #", text)
    assert by_hand == pytest.approx(wanted["gradient"], rel=1e-4)
    assert gradient == pytest.approx(wanted["gradient"], **close)
    [slope] = numbers("then a little smaller): #", text)
    assert slope == pytest.approx(wanted["gradient"], rel=0.02, abs=1e-3)

    [norm] = numbers("weights has the norm #;", text)
    assert norm == pytest.approx(wanted["norm"], **close)
    limit = settings.get("max_norm", 1.0)
    limit_shown, factor, after = numbers("min(1, # / norm) = #; norm afterwards: #", text)
    assert limit_shown == limit
    assert factor == pytest.approx(min(1.0, limit / wanted["norm"]), rel=1e-5)
    assert after == pytest.approx(min(limit, wanted["norm"]), rel=1e-4)
    clipped, _, _ = numbers("g = #, by hand #, difference #", text)
    assert clipped == pytest.approx(wanted["clipped"], **close)

    m, torch_m, _ = numbers("× g = #, torch #, difference #", text)
    v, torch_v, _ = numbers("× g² = #, torch #, difference #", text)
    assert (m, torch_m) == (pytest.approx(wanted["m"], **close), pytest.approx(wanted["m"], **close))
    assert (v, torch_v) == (pytest.approx(wanted["v"], rel=1e-5), pytest.approx(wanted["v"], rel=1e-5))
    [new] = numbers("+ 1e-08) = #", text)
    [torch_new, _, _] = numbers("optimizer.step(): #, difference # (float32 neighbours are # apart)", text)
    assert (new, torch_new) == (pytest.approx(wanted["new"], abs=1e-7), pytest.approx(wanted["new"], abs=1e-7))
    assert numbers("Loss: # → #. Probability", text)[1] == pytest.approx(wanted["loss_after"], rel=1e-4)
    assert numbers(f"of '{label}': # → #.", text)[1] == pytest.approx(wanted["probability_after"], rel=1e-4)


def rows_of(text: str, name: str) -> list[str]:
    """The cells of all rows of tables with that name."""
    return [cell for row in re.findall(rf"^   {name} +(.*)$", text, re.MULTILINE) for cell in row.split()]


def test_the_batch_is_padded_and_packed_as_transformers_does(wild_model, explained):
    tokenizer = AutoTokenizer.from_pretrained(wild_model)
    pair = ("a bank", "a rival")
    text = explained(wild_model, pair=pair)
    batch = tokenizer([pair[0], "Yes."], [pair[1], "No."], padding=True)
    for number, (ids, mask) in enumerate(zip(batch["input_ids"], batch["attention_mask"], strict=True), 1):
        assert rows_of(text, f"ids {number}") == list(map(str, ids))
        assert rows_of(text, f"mask {number}") == list(map(str, mask))
    whole = [ids for one in ((pair[0], pair[1]), ("Yes.", "No.")) for ids in tokenizer(*one)["input_ids"]]
    first = len(tokenizer(*pair)["input_ids"])
    assert rows_of(text, "input_ids") == list(map(str, whole))
    assert rows_of(text, "position_ids") == [*map(str, range(first)), *map(str, range(len(whole) - first))]
    assert f"cu_seqlens [0, {first}, {len(whole)}]" in joined(text)
    slots = 2 * max(first, len(whole) - first)
    assert f"{len(whole)} slots instead of {slots}: {slots - len(whole)} (" in joined(text)


def test_max_length_arrives_and_the_cut_tokens_are_shown(wild_model, explained):
    tokenizer = AutoTokenizer.from_pretrained(wild_model)
    whole = tokenizer(A, B)["input_ids"]
    kept = tokenizer(A, B, max_length=12, truncation="longest_first")["input_ids"]
    text = explained(wild_model, "--max-length", 12)
    assert rows_of(text, "id") == list(map(str, kept))
    assert f"12 of {len(whole)} tokens are left (--max-length 12)" in joined(text)
    assert f"{len(whole) - 12} are cut: " in joined(text)
    [cut] = re.findall(r"are cut: (.*?) 5 A padded", joined(text))
    assert cut.split()[0] == tokenizer.tokenize(A)[5]  # of 9, 5 are left to the first sentence
    assert "None needed" in explained(wild_model)


def test_seed_arrives(wild_model, explained):
    first, second = (rows_of(explained(wild_model, "--seed", seed), "logit") for seed in (1, 2))
    assert first != second
    assert "seed 2)" in explained(wild_model, "--seed", 2)


def test_a_trained_model_keeps_its_head_and_its_classes(made, explained):
    run = made("--epochs", 1, "--max-length", 20)
    text = explained(run / "best", "--label", "not_equivalent")
    assert "(with its own head)" in joined(text) and "--max-length 20" in text
    model = AutoModelForSequenceClassification.from_pretrained(run / "best").eval()
    inputs = AutoTokenizer.from_pretrained(run / "best")(
        A, B, return_tensors="pt", max_length=20, truncation="longest_first"
    )
    logits = model(**inputs).logits[0].tolist()
    found = [float(cell) for cell in rows_of(text, "logit")]
    assert found == pytest.approx([logits[model.config.label2id["not_equivalent"]], logits[1]], rel=1e-5)


@pytest.mark.parametrize("architecture", ["roberta", "distilbert", "albert", "modernbert", "xlnet", "gpt2", "fnet"])
def test_other_architectures(architecture, tmp_path, explained):
    """Each number is compared with torch's in the program itself."""
    folder = write_tiny_model(tmp_path / architecture, architecture, initializer_range=0.2)
    text = explained(folder)
    assert ("no segments" in text) == (architecture not in ("albert", "fnet"))
    assert "optimizer.step():" in text


def test_places_are_the_lines_that_do_it(wild_model, explained):
    found = re.findall(r"(pairft/[\w/]+\.py):(\d+)", explained(wild_model))
    wanted = [
        ("pairft/data/tokens.py", "for name in pairs.text_columns"),
        ("pairft/data/tokens.py", "backend.encode_batch_fast("),
        ("pairft/data/truncation.py", "max_length - sequence_ids.count(None)"),
        ("pairft/data/tokens.py", "gaps("),
        ("pairft/data/batches.py", "numpy.full(shape, padding"),
        ("pairft/speed/packing.py", "cu_seqlens=F.pad("),
        ("pairft/training/step.py", "logits = model("),
        ("pairft/prediction/answers.py", ".softmax(1)"),
        ("pairft/training/step.py", "F.cross_entropy("),
        ("pairft/training/step.py", ".backward()"),
        ("pairft/training/step.py", "clip_grad_norm_("),
        ("pairft/training/optim.py", "torch.optim.AdamW("),
        ("pairft/training/step.py", "scaler.step(optimizer)"),
        ("pairft/training/optim.py", "(total_steps - step) /"),
    ]
    assert [path for path, _ in found] == [path for path, _ in wanted]
    for (path, line), (_, statement) in zip(found, wanted, strict=True):
        assert statement in (ROOT / path).read_text(encoding="utf-8").splitlines()[int(line) - 1], (path, line)


def test_extreme_settings_are_computed_alike(wild_model, explained):
    """By hand and by torch, which the program compares itself, up to float32's rounding."""
    for flags in (
        ("--lr", 1000),
        ("--lr", 1, "--weight-decay", 1e6),
        ("--max-grad-norm", 1e-30),
        ("--weight-decay", 0),
    ):
        assert "optimizer.step():" in explained(wild_model, *flags)
