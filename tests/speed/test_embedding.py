"""Training the rows of the embedding that occur equals training all of them."""

import copy
import gc
import weakref

import datasets
import pytest
import torch
from torch.nn import functional as F
from transformers import AutoConfig, AutoModelForSequenceClassification

from pairft.speed.embedding import UsedRows, decay_unused_rows, tokens_in, train_used_rows
from pairft.training.optim import build_optimizer

IDS = [[2, 5, 9], [2, 7, 7, 5]]


def classifier(tiny_model):
    torch.manual_seed(3)
    # float64, so that AdamW, which makes all gradients alike in size, sees no rounding
    changes = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "dtype": torch.float64}
    return AutoModelForSequenceClassification.from_pretrained(tiny_model, **changes).train()


def training_data():
    return datasets.concatenate_datasets([datasets.Dataset.from_dict({"input_ids": [ids]}) for ids in IDS])


def steps(model, optimizer, number, accumulate=1):
    ids, mask = torch.tensor([[2, 5, 9, 0], IDS[1]]), torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1]])
    for _ in range(number):
        for group in optimizer.param_groups:
            group["lr"] = 0.01
        for _ in range(accumulate):
            F.cross_entropy(model(input_ids=ids, attention_mask=mask).logits, torch.tensor([1, 0])).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_training_equals_that_of_the_whole_embedding(tiny_model, weight_decay, accumulate):
    whole, some = classifier(tiny_model), classifier(tiny_model)
    before = whole.get_input_embeddings().weight.detach().clone()
    rows = train_used_rows(some, training_data(), 0)
    assert rows.weight.shape == (5, 32)  # 2, 5, 7, 9, and the padding's 0
    steps(whole, build_optimizer(whole, weight_decay), 4, accumulate)
    optimizer = build_optimizer(some, weight_decay)
    decay_unused_rows(rows, optimizer)
    steps(some, optimizer, 4, accumulate)
    wanted, got = whole.state_dict(), some.state_dict()
    assert wanted.keys() == got.keys()
    for name, tensor in wanted.items():
        assert got[name].shape == tensor.shape
        if not name.endswith("key.bias"):  # its gradient is rounding, which AdamW makes as large as any other
            assert torch.allclose(got[name], tensor, rtol=1e-7, atol=1e-9), name
    unused = ~tokens_in(training_data(), len(before))
    unused[0] = False
    table = got["bert.embeddings.word_embeddings.weight"]
    assert table[unused] == pytest.approx(before[unused] * (1 - 0.01 * weight_decay) ** 4, rel=1e-6)
    if weight_decay == 0:
        assert torch.equal(table[unused], before[unused])
    ids = torch.tensor([[2, 11, 12, 9]])  # two of them never seen in training
    assert torch.allclose(some.eval()(ids).logits, whole.eval()(ids).logits, atol=1e-6)


def test_the_whole_embedding_goes_in_and_comes_out(tiny_model):
    model = classifier(tiny_model)
    rows = train_used_rows(model, training_data(), 0)
    state = model.state_dict()
    state["bert.embeddings.word_embeddings.weight"] = torch.arange(rows.table.numel()).double().view(rows.table.shape)
    model.load_state_dict(state)
    assert rows.weight[:, 0].tolist() == [0, 2 * 32, 5 * 32, 7 * 32, 9 * 32]
    names = [name for name, _ in model.named_parameters()]
    assert "bert.embeddings.word_embeddings.weight" in names


def test_an_embedding_that_does_more_than_look_up_is_left_alone(tiny_model):
    class Scaled(torch.nn.Embedding):
        def forward(self, input):
            return 3 * super().forward(input)

    model = classifier(tiny_model)
    model.set_input_embeddings(Scaled(*model.get_input_embeddings().weight.shape))
    assert train_used_rows(model, training_data(), 0) is None
    assert type(model.get_input_embeddings()) is Scaled


def test_a_decoder_is_left_alone():
    """It begins with a token that is in no row of the data."""
    config = AutoConfig.for_model("t5", vocab_size=20, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    model = AutoModelForSequenceClassification.from_config(config)
    assert train_used_rows(model, training_data(), 0) is None
    assert type(model.get_input_embeddings()) is torch.nn.Embedding


def test_an_embedding_without_a_padding_idx_looks_the_padding_up():
    """FNet mixes padding into every token, so that another row in its place changes the logits."""
    torch.manual_seed(3)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64, "vocab_size": 12}
    config = AutoConfig.for_model("fnet", **sizes, max_position_embeddings=8, pad_token_id=None, hidden_dropout_prob=0)
    whole = AutoModelForSequenceClassification.from_config(config).double()
    some = copy.deepcopy(whole)
    assert whole.get_input_embeddings().padding_idx is None
    rows = train_used_rows(some, training_data(), 3)
    ids = torch.tensor([[2, 5, 9, 3], IDS[1]])
    wanted, got = whole.train()(ids).logits, some.train()(ids).logits
    assert torch.equal(got, wanted)
    assert torch.equal(some.eval()(ids).logits, wanted)
    wanted.sum().backward()
    got.sum().backward()
    assert rows.weight.grad is not None
    assert torch.allclose(rows.weight.grad, whole.get_input_embeddings().weight.grad[rows.used])


def test_tokens_in_reads_every_chunk():
    found = tokens_in(training_data(), 12)
    assert found.nonzero().flatten().tolist() == [2, 5, 7, 9]


def test_a_gradient_is_that_of_its_own_step_alone():
    embedding = torch.nn.Embedding(6, 2)
    rows = UsedRows(embedding, torch.tensor([True, True, False, True, False, False]))
    rows(torch.tensor([0, 3, 3])).sum().backward()
    rows.zero_grad()
    rows(torch.tensor([1, 3])).sum().backward()
    rows(torch.tensor([1])).sum().backward()
    assert rows.weight.grad is not None
    assert rows.weight.grad.tolist() == [[0, 0], [2, 2], [1, 1]]


def test_a_training_that_is_over_leaves_memory_at_once(tiny_model):
    """No cycle of optimizer and hook, which would keep the weights beside those of the next seed's run."""
    model = classifier(tiny_model)
    rows = train_used_rows(model, training_data(), 0)
    optimizer = build_optimizer(model, 0.1)
    decay_unused_rows(rows, optimizer)
    steps(model, optimizer, 1)
    there = weakref.ref(optimizer)
    gc.collect()
    gc.disable()
    try:
        del optimizer
        assert there() is None
    finally:
        gc.enable()
