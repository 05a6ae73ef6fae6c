"""The update against a plain step written out here, and against itself under every way to split its examples."""

import functools

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from pairft.data.batches import Batch
from pairft.speed.embedding import replace_embedding
from pairft.speed.packed_forward import PackedForward
from pairft.speed.packing import pack
from pairft.training.optim import build_optimizer
from pairft.training.step import loss_of, update


def classifier(tiny_model, dtype=torch.float32, dropout=0.0, num_labels=2):
    torch.manual_seed(3)
    return AutoModelForSequenceClassification.from_pretrained(
        tiny_model,
        num_labels=num_labels,
        dtype=dtype,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    ).train()


def batch_of(number: int, length: int = 12) -> Batch:
    torch.manual_seed(5)
    mask = torch.ones(number, length, dtype=torch.int64)
    for row in range(number):
        mask[row, length - row % 4 :] = 0
    return Batch(
        torch.randint(5, 200, (number, length)) * mask,
        mask,
        torch.zeros_like(mask),
        torch.randint(0, 2, (number,)),
        int(mask.sum()),
    )


def split(batch: Batch, size: int) -> list[Batch]:
    parts = [part.split(size) for part in batch[:4]]
    return [Batch(*part, int(part[1].sum())) for part in zip(*parts, strict=True)]


def step(model, optimizer, micro_batches, num_examples, lr=1e-3, max_grad_norm=1.0):
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    cpu = torch.device("cpu")
    return update(
        model,
        optimizer,
        scaler,
        torch.zeros(()),
        micro_batches,
        num_examples,
        lr,
        device=cpu,
        amp_dtype=None,
        max_grad_norm=max_grad_norm,
    )


def test_three_steps_equal_a_plain_loop_bit_for_bit(tiny_model):
    ours, plain = classifier(tiny_model, dropout=0.1), classifier(tiny_model, dropout=0.1)
    optimizer = build_optimizer(ours, weight_decay=0.01)
    decayed = [p for p in plain.parameters() if p.ndim > 1]
    others = [p for p in plain.parameters() if p.ndim == 1]
    reference = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}], fused=True
    )
    batch = batch_of(8)
    for number, lr in enumerate((1e-3, 5e-4, 1e-4)):
        torch.manual_seed(number)
        loss_sum, norm = step(ours, optimizer, [batch], 8, lr)
        torch.manual_seed(number)
        for group in reference.param_groups:
            group["lr"] = lr
        loss = plain(**batch.inputs(), labels=batch.labels).loss
        loss.backward()
        wanted = torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
        reference.step()
        reference.zero_grad()
        assert (loss_sum / 8).item() == loss.item()
        assert norm.item() == wanted.item()
    for (name, parameter), other in zip(ours.named_parameters(), plain.parameters(), strict=True):
        assert torch.equal(parameter, other), name


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("unpadded", [False, True])
def test_the_split_into_micro_batches_does_not_matter(tiny_model, dtype, bound, size, unpadded):
    """8 examples as 8x1, 4x2, with a short last group of 2 (size 3), 2x4, and 5+3; without padding also with only the
    rows of the embedding that occur."""
    batch = batch_of(8)
    ids, gradients, losses = batch.input_ids.unique(), [], []
    for parts in ([batch], split(batch, size)):
        model = classifier(tiny_model, dtype)
        if unpadded:
            PackedForward(model, jagged=False).install(model)
            parts = [pack(part, 0) for part in parts]
            replace_embedding(model, torch.zeros(model.config.vocab_size, dtype=torch.bool).index_fill_(0, ids, True))
        # A learning rate of 0 and no clipping leave the gradients to be looked at as they reach the optimizer.
        optimizer = build_optimizer(model, weight_decay=0.0)
        seen: dict[str, torch.Tensor] = {}
        optimizer.register_step_pre_hook(functools.partial(keep_gradients, model, seen))
        loss_sum, _ = step(model, optimizer, parts, 8, lr=0.0, max_grad_norm=1e9)
        gradients.append(seen)
        losses.append(loss_sum.item() / 8)
    assert losses[1] == pytest.approx(losses[0], rel=bound)
    total = torch.stack([gradient.norm() for gradient in gradients[0].values()]).norm()
    for name, whole in gradients[0].items():
        scale = total if name.endswith("key.bias") else whole.norm()  # that of a key's bias is rounding alone
        assert (gradients[1][name] - whole).norm() <= bound * scale, name


def keep_gradients(model, seen, *_):
    seen.update({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})


def test_the_norm_is_clipped_and_reported_unclipped(tiny_model):
    model = classifier(tiny_model)
    optimizer = build_optimizer(model, weight_decay=0.0)
    seen: dict[str, torch.Tensor] = {}
    optimizer.register_step_pre_hook(functools.partial(keep_gradients, model, seen))
    _, norm = step(model, optimizer, [batch_of(8)], 8, max_grad_norm=0.01)
    clipped = torch.stack([gradient.norm() for gradient in seen.values()]).norm()
    assert norm.item() > 0.01
    assert clipped.item() == pytest.approx(0.01, rel=1e-3)


def test_losses_of_classes_and_of_a_regression():
    logits = torch.tensor([[2.0, 0.0], [0.0, 0.0]])
    losses = loss_of(logits, torch.tensor([0, 1]), "none")
    assert losses.tolist() == pytest.approx([0.126928, 0.693147], abs=1e-6)  # ln(1 + e^-2), ln 2
    assert loss_of(torch.tensor([[1.5], [-1.0]]), torch.tensor([1.0, 1.0]), "none").tolist() == [0.25, 4.0]
    assert loss_of(logits.bfloat16(), torch.tensor([0, 1]), "sum").dtype == torch.float32


def test_bf16_autocast_keeps_weights_and_loss_in_float32(tiny_model):
    model = classifier(tiny_model)
    optimizer = build_optimizer(model, weight_decay=0.0)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    loss_sum, _ = update(
        model, optimizer, scaler, torch.zeros(()), [batch_of(8)], 8, 1e-3,
        device=torch.device("cpu"), amp_dtype=torch.bfloat16, max_grad_norm=1.0,
    )  # fmt: skip
    whole, _ = step(classifier(tiny_model), build_optimizer(model, 0.0), [batch_of(8)], 8)
    assert loss_sum.dtype == torch.float32 and {p.dtype for p in model.parameters()} == {torch.float32}
    assert loss_sum.item() == pytest.approx(whole.item(), rel=0.02)
    assert loss_sum.item() != whole.item()
