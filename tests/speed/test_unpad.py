"""Computing padding-free against computing with padding: logits, losses, gradients, for each architecture."""

import functools
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from conftest import some_pairs, write_rows, write_tiny_model
from datasets import Dataset
from torch.nn import functional as F
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from pairft.data.batches import Batch, collate
from pairft.data.lengths import first_position
from pairft.speed import attention, last_layer, unpad
from pairft.speed.packing import Packed, pack
from pairft.training import evaluation

CPU = torch.device("cpu")
QKV = ("attention.self.query", "attention.self.key", "attention.self.value")
LIKE_BERT = ("bert", "roberta", "xlm-roberta", "camembert", "electra")
ARCHITECTURES = [*LIKE_BERT, "distilbert", "albert", "modernbert", "modernbert mean"]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    @functools.cache
    def folder(name):
        architecture, _, pooling = name.partition(" ")
        changes = {"classifier_pooling": pooling} if pooling else {}
        if architecture == "albert":
            changes |= {"num_hidden_layers": 3, "inner_group_num": 2}  # six times through two layers
        return write_tiny_model(tmp_path_factory.mktemp("models") / name, architecture, **changes)

    return folder


def classifier(folder, dtype=torch.float32, dropout=False):
    torch.manual_seed(3)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=dtype).train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout) and not dropout:
            module.p = 0.0
    return model


def batch_for(folder, number=7):
    """Rows of the tokenised data, and the collate that pads them."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    pairs = some_pairs("train", number)
    rows = dict(tokenizer([row["sentence1"] for row in pairs], [row["sentence2"] for row in pairs]))
    del rows["attention_mask"]
    rows["label"] = [row["label"] for row in pairs]
    pads = {"pad_token_id": tokenizer.pad_token_id, "pad_token_type_id": tokenizer.pad_token_type_id}
    return rows, functools.partial(collate, **pads, multiple=1)


def loss_and_gradients(model, batch):
    logits = model(**batch.inputs()).logits
    loss = F.cross_entropy(logits, batch.labels)
    model.zero_grad()
    loss.backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return logits.detach(), loss.item(), found


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_logits_losses_and_gradients_equal_the_padded_ones(models, name, dtype, bound):
    model = classifier(models(name), dtype)
    rows, padded = batch_for(models(name))
    assert len({len(ids) for ids in rows["input_ids"]}) > 3  # lengths differ
    logits, loss, wanted = loss_and_gradients(model, padded(rows))
    packed, how = unpad.prepare(model, padded, rows, first_position(model.config))
    assert how == "padding-free"
    batch = packed(rows)
    assert isinstance(batch, Packed) and batch.input_ids.shape == (1, batch.num_tokens)
    got_logits, got_loss, got = loss_and_gradients(model.train(), batch)
    assert (got_logits - logits).norm() <= bound * logits.norm()
    assert got_loss == pytest.approx(loss, rel=bound)
    assert got.keys() == wanted.keys()
    whole = torch.stack([gradient.norm() for gradient in wanted.values()]).norm()
    for key, gradient in wanted.items():
        # What softmax ignores, a bias of the keys, has a gradient of rounding alone.
        scale = whole if key.endswith(("key.bias", "k_lin.bias")) else gradient.norm()
        assert (got[key] - gradient).norm() <= bound * scale, key


@pytest.mark.parametrize("name", ["bert", "modernbert"])
def test_a_pair_is_not_seen_by_the_others(models, name):
    model = classifier(models(name))
    rows, padded = batch_for(models(name))
    packed, _ = unpad.prepare(model, padded, rows, first_position(model.config))
    before = model(**packed(rows).inputs()).logits
    rows["input_ids"][2] = [7] * len(rows["input_ids"][2])
    after = model(**packed(rows).inputs()).logits
    same = (before == after).all(dim=1).tolist()
    assert same == [True, True, False, True, True, True, True]


ALBERT = "encoder.albert_layer_groups.0.albert_layers.1."


@pytest.mark.parametrize(
    ("name", "layer", "feed_forward", "projections"),
    [
        *((name, "encoder.layer.1.", "intermediate", QKV) for name in LIKE_BERT),
        ("distilbert", "transformer.layer.1.", "ffn", ("attention.q_lin", "attention.k_lin", "attention.v_lin")),
        ("albert", ALBERT, "ffn", ("attention.query", "attention.key", "attention.value")),
        ("modernbert", "layers.2.", "mlp", ()),
    ],
)
def test_the_last_layer_computes_cls_tokens_only(models, name, layer, feed_forward, projections):
    model = classifier(models(name))
    rows, padded = batch_for(models(name))
    packed, _ = unpad.prepare(model, padded, rows, first_position(model.config))
    batch = packed(rows)
    seen = {part: [] for part in (feed_forward, *projections)}
    for part, computed in seen.items():
        last_layer.submodule(model.base_model, layer + part).register_forward_hook(
            lambda _, args, __, computed=computed: computed.append(args[0].shape[:2].numel())
        )
    model(**batch.inputs())
    before = [batch.num_tokens] * 2 if name == "albert" else []  # which goes through this layer three times
    assert seen.pop(feed_forward) == [*before, 7]
    assert all(computed == [*before, 1] for computed in seen.values())  # attend_from_cls reads their weights


def test_a_model_that_differs_stays_padded_and_says_so(models, monkeypatch):
    model = classifier(models("bert")).eval()
    rows, padded = batch_for(models("bert"))
    wanted = model(**padded(rows).inputs()).logits
    same, how = unpad.prepare(model, padded, rows, 3)  # positions are off by three
    assert same is padded and "what its head reads differs" in how
    for elsewhere in ("encoder.layer.-1.gone", "encoder.layer.-2"):
        broken = replace(last_layer.BERT, cls_from=elsewhere)
        monkeypatch.setitem(last_layer.LAST_LAYERS, "bert", broken)
        same, how = unpad.prepare(model, padded, rows, 0)
        assert same is padded and how.startswith("with padding: without it, ")
    assert torch.equal(model(**padded(rows).inputs()).logits, wanted)


def short_pairs(folder):
    for split, number in (("train", 12), ("validation", 4)):
        rows = [{"sentence1": "the " * (i % 3 + 1), "sentence2": "the", "label": i % 2} for i in range(number)]
        write_rows(folder / f"{split}.jsonl", rows)
    return folder


@pytest.mark.parametrize("broken", [False, True])
def test_a_window_is_checked_with_examples_that_all_fit_into_it(go, tmp_path, capsys, monkeypatch, broken):
    encoder, data = write_tiny_model(tmp_path / "model", "modernbert"), short_pairs(tmp_path / "data")
    if broken:
        monkeypatch.setattr(attention, "window_mask", lambda window, length, like: torch.zeros(length, length))
    assert go("--model", encoder, "--data", data, "--max-steps", 1) == 0
    assert ("what its head reads differs" in capsys.readouterr().err) == broken


def test_the_check_takes_the_longest_examples_and_one_longer_than_the_window():
    ids = [[9] * number for number in (3, 8, 5, 12, 10, 6)]
    dataset = Dataset.from_dict({"input_ids": ids, "length": [len(row) for row in ids], "label": [0, 1, 0, 1, 0, 1]})

    def lengths(window, limit):
        config = SimpleNamespace(**({"local_attention": window} if window else {}))
        rows = unpad.trial_examples(dataset, config, limit)
        assert len(rows["label"]) == len(rows["input_ids"])
        return [len(row) for row in rows["input_ids"]]

    assert lengths(None, 512) == [12, 8, 6]
    assert lengths(11, 512) == [12, 8, 6]
    assert lengths(16, 512) == [12, 8, 6, 32]
    assert lengths(16, 20) == [12, 8, 6, 20]
    assert lengths(16, 16) == [12, 8, 6]  # no example can exceed it


def test_an_architecture_without_a_row_trains_with_padding(go, tmp_path, capsys):
    encoder = write_tiny_model(tmp_path / "mpnet", "mpnet")
    assert go("--model", encoder, "--max-steps", 2, "--run-name", "a") == 0
    assert "with padding: for mpnet" in capsys.readouterr().err
    assert go("--max-steps", 2, "--run-name", "b") == 0
    assert "padding-free" in capsys.readouterr().err


def test_evaluation_equals_the_padded_one_in_the_rows_order(models):
    rows, padded = batch_for(models("bert"), 40)
    dataset = Dataset.from_dict({**rows, "length": [len(ids) for ids in rows["input_ids"]]})
    model = classifier(models("bert"))
    wanted = evaluation.predict(model, dataset, padded, CPU, None)
    packed, _ = unpad.prepare(model, padded, rows, 0)
    got = evaluation.predict(model, dataset, packed, CPU, None)
    assert got.logits == pytest.approx(wanted.logits, rel=1e-4, abs=1e-7)
    assert got.losses == pytest.approx(wanted.losses, rel=1e-5)
    assert got.labels.tolist() == rows["label"]


def test_bf16_autocast_computes_without_padding(models):
    model = classifier(models("bert"))
    rows, padded = batch_for(models("bert"))
    whole, _, _ = loss_and_gradients(model, padded(rows))
    packed, _ = unpad.prepare(model, padded, rows, 0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model.train()(**packed(rows).inputs()).logits
    assert logits.dtype == torch.bfloat16
    logits.float().sum().backward()
    assert torch.allclose(logits.detach().float(), whole, atol=0.02)
    assert all(p.grad.dtype == torch.float32 for p in model.parameters() if p.grad is not None)


def test_pack_takes_the_padding_out():
    batch = Batch(
        input_ids=torch.tensor([[5, 6, 9], [7, 9, 9]]),
        attention_mask=torch.tensor([[1, 1, 0], [1, 0, 0]]),
        token_type_ids=torch.tensor([[0, 1, 0], [1, 0, 0]]),
        labels=torch.tensor([1, 0]),
        num_tokens=3,
    )
    packed = pack(batch, first_position=2)
    assert packed.input_ids.tolist() == [[5, 6, 7]]
    assert packed.position_ids.tolist() == [[2, 3, 2]]
    assert packed.token_type_ids is not None and packed.token_type_ids.tolist() == [[0, 1, 1]]
    assert packed.lengths == (2, 1) and packed.cls_positions.tolist() == [0, 2] and packed.indices.tolist() == [0, 1, 3]
