"""One pass over a split: in the rows' order, equal to the model called row by row, and leaving no trace."""

import random
from functools import partial

import datasets
import numpy
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from pairft.data.batches import collate
from pairft.data.targets import UNLABELLED
from pairft.training.evaluation import compute_metrics, predict, predictions_of

CPU = torch.device("cpu")
PAD = partial(collate, pad_token_id=0, pad_token_type_id=0, multiple=1)


@pytest.fixture
def rows() -> datasets.Dataset:
    random_ids = random.Random(1)
    ids = [[random_ids.randrange(5, 200) for _ in range(random_ids.randrange(3, 30))] for _ in range(70)]
    labels = [row % 2 for row in range(69)] + [UNLABELLED]
    return datasets.Dataset.from_dict({"input_ids": ids, "length": [len(row) for row in ids], "label": labels})


def test_results_are_those_of_each_row_alone_in_the_rows_order(tiny_model, rows):
    model = AutoModelForSequenceClassification.from_pretrained(tiny_model).train()
    outcome = predict(model, rows, PAD, CPU, None)
    with torch.no_grad():
        alone = torch.cat([model(torch.tensor([ids])).logits for ids in rows["input_ids"]])
    numpy.testing.assert_allclose(outcome.logits, alone.numpy(), atol=1e-5)
    assert outcome.labels.tolist() == rows["label"][:]
    wanted = torch.nn.functional.cross_entropy(alone[:69], torch.tensor(rows["label"][:69]), reduction="none")
    numpy.testing.assert_allclose(outcome.losses[:69], wanted.numpy(), atol=1e-5)
    labelled = outcome.only(outcome.labels != UNLABELLED)
    scores = compute_metrics(labelled, ("accuracy",))
    assert scores["loss"] == pytest.approx(wanted.mean().item(), rel=1e-5)
    assert scores["accuracy"] == (alone[:69].argmax(1) == torch.tensor(rows["label"][:69])).double().mean().item()


@pytest.mark.parametrize("as_trainer", [False, True])
def test_the_random_state_is_untouched_but_for_trainers_one_draw(tiny_model, rows, as_trainer):
    model = AutoModelForSequenceClassification.from_pretrained(tiny_model).train()
    before = torch.get_rng_state(), numpy.random.get_state()[1].copy(), random.getstate()
    outcome = predict(model, rows, PAD, CPU, None, as_trainer)
    compute_metrics(outcome.only(outcome.labels >= 0), ("accuracy", "f1"))
    after = torch.get_rng_state(), numpy.random.get_state()[1].copy(), random.getstate()
    if as_trainer:
        torch.set_rng_state(before[0])
        torch.empty((), dtype=torch.int64).random_()
        before = torch.get_rng_state(), *before[1:]
    assert torch.equal(before[0], after[0])
    assert (before[1] == after[1]).all() and before[2] == after[2]


def test_predictions_are_class_ids_or_values():
    assert predictions_of(numpy.array([[0.1, 0.2, 0.0], [3.0, 1.0, 2.0]])).tolist() == [1, 0]
    assert predictions_of(numpy.array([[0.5], [-1.5]])).tolist() == [0.5, -1.5]
