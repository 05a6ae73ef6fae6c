"""Batches give what transformers gives for each example alone, whatever the architecture, or a warning is given."""

import json
from functools import partial

import numpy
import pytest
import torch
from conftest import ARCHITECTURES, read_lines, some_pairs, write_tiny_model
from datasets import Dataset
from torch.nn import functional as F
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from pairft.data.batches import collate
from pairft.model import classifier as model
from pairft.model import padding
from pairft.speed.packing import pack
from pairft.training.evaluation import predict

CPU = torch.device("cpu")
DEPENDENT = ("convbert", "fnet", "nystromformer")  # a convolution or a Fourier transform goes across the padding


def each_alone(folder, pairs):
    """Logits by transformers, one pair at a time."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    classifier = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    texts = [(row["sentence1"], row["sentence2"]) for row in pairs]
    with torch.no_grad():
        return torch.cat(
            [classifier(**tokenizer(*two, truncation=True, return_tensors="pt")).logits for two in texts]
        ).numpy()


def tokenised(tokenizer, pairs):
    texts = ([row[f"sentence{number}"] for row in pairs] for number in (1, 2))
    rows = tokenizer(*texts, truncation=True, return_attention_mask=False)
    lengths = [len(ids) for ids in rows["input_ids"]]
    return Dataset.from_dict({**rows, "length": lengths, "label": [row["label"] for row in pairs]})


def far(got, wanted):
    return numpy.linalg.norm(got - wanted) / numpy.linalg.norm(wanted)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_batches_equal_examples_alone_or_a_warning_is_given(go, tmp_path, capsys, architecture):
    changes = {"initializer_range": 0.3} if architecture in DEPENDENT else {}  # so that the convolutions matter
    encoder, run = write_tiny_model(tmp_path / "encoder", architecture, **changes), tmp_path / "runs" / "a"
    assert go("--model", encoder, "--max-steps", 2, "--lr", "1e-3", "--run-name", "a") == 0
    assert capsys.readouterr().err.count("depend on padding") == (architecture in DEPENDENT)
    pairs = some_pairs("validation", 20)
    wanted = each_alone(run / "last", pairs)
    tokenizer, _ = model.load_tokenizer(str(run / "last"))
    classifier, *_ = model.load_model(str(run / "last"), ["no", "yes"], "trained")
    rows = tokenised(tokenizer, pairs)
    batched, warning = padding.checked_collate(classifier, tokenizer, rows, CPU, may_change=True)
    got = predict(classifier, rows, batched, CPU, None).logits
    assert bool(warning) == (architecture in DEPENDENT) == (far(got, wanted) > 1e-4)
    if not warning:
        loss = F.cross_entropy(torch.tensor(wanted), torch.tensor(rows["label"][:])).item()
        assert read_lines(run, "validation")[-1]["loss"] == pytest.approx(loss, rel=1e-5)


@pytest.mark.parametrize("preset", [(), ("--preset", "trainer")])
def test_a_side_that_the_model_was_not_made_for(go, tmp_path, tiny_model, capsys, preset):
    """With its padding on the left, BERT's head reads padding: the right is taken, and saved. Trainer's preset keeps
    the tokenizer's side and warns."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_model, padding_side="left")
    encoder, run = tmp_path / "encoder", tmp_path / "runs" / "a"
    AutoModelForSequenceClassification.from_pretrained(tiny_model).save_pretrained(encoder)
    tokenizer.save_pretrained(encoder)
    assert go("--model", encoder, "--max-steps", 2, "--lr", "1e-3", "--run-name", "a", *preset) == 0
    assert capsys.readouterr().err.count("depend on padding") == bool(preset)
    assert AutoTokenizer.from_pretrained(run / "last").padding_side == ("left" if preset else "right")
    pairs = some_pairs("validation", 20)
    wanted = F.cross_entropy(
        torch.tensor(each_alone(run / "last", pairs)), torch.tensor([row["label"] for row in pairs])
    )
    loss = json.loads((run / "results.json").read_text())["last"]["validation"]["loss"]
    assert (loss == pytest.approx(wanted.item(), rel=1e-5)) != bool(preset)


def test_the_check_changes_nothing_of_the_model(tiny_model):
    tokenizer, _ = model.load_tokenizer(str(tiny_model))
    classifier, *_ = model.load_model(str(tiny_model), ["no", "yes"])
    before = {name: tensor.clone() for name, tensor in classifier.state_dict().items()}
    state = torch.get_rng_state()
    padding.checked_collate(classifier, tokenizer, tokenised(tokenizer, some_pairs("train", 20)), CPU, may_change=True)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in classifier.state_dict().items())
    assert tokenizer.padding_side == "right"


def test_a_padding_token_beyond_the_embedding(go, tmp_path, tiny_model, capsys):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.add_special_tokens({"pad_token": "<another>"})
    encoder = tmp_path / "encoder"
    AutoModelForSequenceClassification.from_pretrained(tiny_model).save_pretrained(encoder)
    tokenizer.save_pretrained(encoder)
    assert go("--model", encoder) == 2
    assert "resize_token_embeddings" in capsys.readouterr().err


def test_examples_of_unequal_lengths():
    assert padding.unequal(numpy.array([30, 12, 41, 9, 80, 19])) == [2, 3, 5]
    assert padding.unequal(numpy.array([7, 7])) == [0]


def test_collate_pads_on_the_left_and_pack_takes_it_out():
    rows = {"input_ids": [[5, 6, 7], [8]], "token_type_ids": [[0, 0, 1], [1]], "label": [1, 0]}
    sides = [partial(collate, pad_token_id=9, pad_token_type_id=3, multiple=1, side=side) for side in ("left", "right")]
    left, right = (side(rows) for side in sides)
    assert left.input_ids.tolist() == [[5, 6, 7], [9, 9, 8]]
    assert left.attention_mask.tolist() == [[1, 1, 1], [0, 0, 1]]
    assert left.token_type_ids is not None and left.token_type_ids.tolist() == [[0, 0, 1], [3, 3, 1]]
    packed, other = (pack(batch, 2) for batch in (left, right))
    assert packed.input_ids.tolist() == [[5, 6, 7, 8]] and packed.position_ids.tolist() == [[2, 3, 4, 2]]
    assert packed.indices is not None and packed.indices.tolist() == [0, 1, 2, 5]
    for name in ("input_ids", "position_ids", "token_type_ids", "cu_seqlens"):
        assert torch.equal(getattr(packed, name), getattr(other, name)), name


def test_a_bug_of_ours_is_not_the_models(tiny_model):
    tokenizer, _ = model.load_tokenizer(str(tiny_model))
    classifier, *_ = model.load_model(str(tiny_model), ["no", "yes"])

    def broken(rows):
        raise NameError("colums")

    with pytest.raises(NameError, match="colums"):
        padding.first_dependence(classifier, broken, tokenised(tokenizer, some_pairs("train", 20)))
