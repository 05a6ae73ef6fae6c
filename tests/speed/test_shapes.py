"""Batches without padding brought to few sizes, and what comes of them: the same numbers."""

import pytest
import torch
from test_unpad import batch_for, classifier, loss_and_gradients, models  # noqa: F401  (models: a fixture)

from pairft.data.batches import Batch, cut
from pairft.data.lengths import first_position
from pairft.speed.attention import jagged_attention
from pairft.speed.last_layer import JAGGED
from pairft.speed.packed_forward import PackedForward
from pairft.speed.packing import Packed, pack
from pairft.speed.shapes import bucket_size, padded_to, same_bucket


def three_pairs() -> Packed:
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1]])
    ids = torch.arange(5, 17).view(3, 4)
    return pack(Batch(ids, mask, torch.zeros_like(ids), torch.tensor([1, 0, 1]), 9), 2)


def test_sizes_hold_their_tokens_and_are_few():
    sizes = [bucket_size(tokens) for tokens in range(1, 20000)]
    for tokens, size in enumerate(sizes, start=1):
        assert tokens < size <= tokens + max(64, tokens // 16 + 1), (tokens, size)
    assert sizes == sorted(sizes)
    assert len({size for size in sizes if size > 1024}) <= 16 * 5


def test_padding_to_a_bucket_is_one_more_example_at_the_end():
    found = padded_to(three_pairs(), 12)
    assert found.input_ids.tolist() == [[5, 6, 7, 9, 10, 13, 14, 15, 16, 5, 5, 5]]
    assert found.position_ids.tolist() == [[2, 3, 4, 2, 3, 2, 3, 4, 5, 2, 2, 2]]
    assert found.token_type_ids is not None and found.token_type_ids.shape == (1, 12)
    assert found.cu_seqlens.tolist() == [0, 3, 5, 9, 12] and found.cls_positions.tolist() == [0, 3, 5]
    assert found.lengths == (3, 2, 4, 3) and found.num_tokens == 9 and found.max_seqlen == 128
    assert padded_to(found, 12) is found
    again = padded_to(found, 20)
    assert again.cu_seqlens.tolist() == [0, 3, 5, 9, 20] and again.input_ids[0, :9].equal(found.input_ids[0, :9])


def test_parts_of_a_batch_padded_to_a_bucket_have_no_padding():
    first, second = cut([padded_to(three_pairs(), 64)], 2)
    plain, _ = cut([three_pairs()], 2)
    assert isinstance(first, Packed) and isinstance(second, Packed) and isinstance(plain, Packed)
    assert first.input_ids.equal(plain.input_ids) and first.cu_seqlens.tolist() == [0, 3]
    assert second.input_ids.tolist() == [[9, 10, 13, 14, 15, 16]] and second.cu_seqlens.tolist() == [0, 2, 6]
    together = same_bucket([first, second])
    assert [batch.input_ids.shape for batch in together] == [(1, 64), (1, 64)]


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("name", sorted(JAGGED))
def test_jagged_attention_padded_to_a_bucket_equals_padding(models, name, dtype, bound):  # noqa: F811
    model = classifier(models(name), dtype)
    rows, padded = batch_for(models(name))
    logits, loss, wanted = loss_and_gradients(model, padded(rows))
    PackedForward(model, jagged=True).install(model)
    packed = pack(padded(rows), first_position(model.config))
    got_logits, got_loss, got = loss_and_gradients(model, padded_to(packed, bucket_size(packed.num_tokens)))
    assert (got_logits - logits).norm() <= bound * logits.norm()
    assert got_loss == pytest.approx(loss, rel=bound)
    assert got.keys() == wanted.keys()
    whole = torch.stack([gradient.norm() for gradient in wanted.values()]).norm()
    for key, gradient in wanted.items():
        scale = whole if key.endswith(("key.bias", "k_lin.bias")) else gradient.norm()
        assert (got[key] - gradient).norm() <= bound * scale, key


def test_jagged_attention_trains_after_an_evaluation(models):  # noqa: F811
    """An evaluation before the first step must leave no tensors behind that can't be trained through."""
    model = classifier(models("bert"))
    rows, padded = batch_for(models("bert"))
    packed = pack(padded(rows), 0)
    PackedForward(model, jagged=True).install(model)
    batch = padded_to(packed, bucket_size(packed.num_tokens))
    with torch.inference_mode():
        wanted = model(**batch.inputs()).logits
    logits, _, found = loss_and_gradients(model, batch)
    assert logits.equal(wanted) and all(part.isfinite().all() for part in found.values())


def test_jagged_attention_drops_at_its_rate():
    packed = three_pairs()._replace(cu_seqlens=torch.tensor([0, 300, 600, 900]), max_seqlen=300)
    ones = torch.ones(900, 4, 8)
    torch.manual_seed(1)
    out = jagged_attention(torch.zeros(900, 4, 8), ones, ones, packed, 1.0, 0.1)
    # Each number is a mean of 300 kept or dropped ones over 0.9: of mean 1, sd sqrt(0.1 / 0.9 / 300).
    assert out[..., 0].mean().item() == pytest.approx(1, abs=4 * (0.1 / 0.9 / 300 / 3600) ** 0.5)
    assert out[..., 0].std().item() == pytest.approx((0.1 / 0.9 / 300) ** 0.5, rel=0.1)
