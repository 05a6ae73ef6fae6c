"""The floating point operations of training, compared with those that torch counts."""

import numpy
import pytest
import torch
from test_layers import classifier
from torch.utils.flop_counter import FlopCounterMode

from pairft.training import layers, utilisation
from pairft.training.utilisation import flops_per_token, measured_peak


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert"])
def test_the_formula_counts_what_torch_counts(kind):
    """On a batch without padding. Torch counts matmuls; the formula takes biases and norms for some, too."""
    model = classifier(
        kind, attn_implementation="eager", hidden_size=256, intermediate_size=1024, num_attention_heads=4
    )
    model.to_empty(device="cpu")
    for buffer in model.buffers():
        buffer.zero_()
    batch, length = 4, 32
    embeddings = torch.zeros(batch, length, model.config.hidden_size)
    with FlopCounterMode(display=False) as counted:
        logits = model(inputs_embeds=embeddings, attention_mask=torch.ones(batch, length, dtype=torch.int64)).logits
        logits.sum().backward()
    expected = flops_per_token(model, float(length), float(length))
    assert expected is not None
    assert counted.get_total_flops() == pytest.approx(expected * batch * length, rel=0.01)


def test_attention_grows_with_the_length():
    model = classifier("bert")
    lengths = numpy.array([3.0, 5.0, 8.0])
    mean, attended = lengths.mean(), (lengths**2).sum() / lengths.sum()
    weights = [p.numel() for name, p in model.named_parameters() if name.startswith("bert.encoder.")]
    head = [p.numel() for name, p in model.named_parameters() if name.startswith(("bert.pooler.", "classifier."))]
    layers_width = model.config.num_hidden_layers * model.config.hidden_size
    by_hand = 16 * 6 * sum(weights) + 3 * 6 * sum(head) + 12 * layers_width * (9 + 25 + 64)
    assert flops_per_token(model, mean, attended) == pytest.approx(by_hand / 16)


@pytest.mark.parametrize("kind", ["albert", "funnel", "modernbert", "deberta-v2"])
def test_other_architectures_have_no_number(kind):
    assert flops_per_token(classifier(kind), 10.0, 10.0) is None


def test_frozen_weights_leave_no_number_but_frozen_embeddings_do():
    model = classifier("bert")
    layers.freeze(model, ["embeddings"])
    assert flops_per_token(model, 10.0, 10.0) is not None
    layers.freeze(model, ["layers.0"])
    assert flops_per_token(model, 10.0, 10.0) is None


def test_the_peak_is_measured_and_draws_no_random_numbers():
    before = torch.get_rng_state()
    peak = measured_peak(torch.device("cpu"), torch.float32)
    assert peak is not None and 1e8 < peak < 1e14
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("flops", "sizes"), [(1e9, [256]), (1e11, [256, 512]), (5e12, [256, 512, 1024, 2048])])
def test_slow_hardware_gets_small_matmuls(monkeypatch, flops, sizes):
    """Which otherwise would take seconds, for example in a bfloat16 that the CPU only emulates."""
    timed = []

    def seconds_of(a, repeats):
        timed.append(len(a))
        return 2 * len(a) ** 3 * repeats / flops

    monkeypatch.setattr(utilisation, "seconds_of", seconds_of)
    assert measured_peak.__wrapped__(torch.device("cpu"), torch.bfloat16) == pytest.approx(flops)
    assert timed == [size for size in sizes for _ in range(4)]
