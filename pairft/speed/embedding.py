"""Train only the rows of the token embedding whose tokens occur in the training data.

The other rows get no gradient, so AdamW would only decay them. Yet a dense gradient is cleared, read and applied for
every row at each step. MRPC contains 11,563 of BERT's 30,522 tokens.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy
import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel


class UsedRows(nn.Embedding):
    """An embedding [tokens, width] whose parameter is [used tokens, width]. state_dict returns and load_state_dict
    takes the full weight, so saved models and checkpoints look as usual."""

    used: Tensor  # bool [tokens]
    place: Tensor  # int64 [tokens]: the row of a used token in the parameter
    table: Tensor  # [tokens, width]: the weight as it was loaded

    def __init__(self, embedding: nn.Embedding, used: Tensor) -> None:
        super().__init__(int(used.sum()), embedding.embedding_dim, _weight=embedding.weight.detach()[used])
        place = used.cumsum(0) - 1
        self.padding_idx = None if embedding.padding_idx is None else int(place[embedding.padding_idx])
        self.register_buffer("used", used, persistent=False)
        self.register_buffer("place", place.clamp_(min=0), persistent=False)
        self.register_buffer("table", embedding.weight.detach(), persistent=False)
        self.gradient: Tensor | None = None  # of the parameter, reused from step to step
        self.touched: list[Tensor] = []  # indices of the rows of `gradient` that are not 0
        dtype = torch.float32 if place.device.type == "mps" else torch.float64
        # The product of all weight decay so far, for the rows that aren't trained.
        self.decay_factor = torch.ones((), dtype=dtype, device=place.device)
        self.register_state_dict_post_hook(save_full_weight)
        self.register_load_state_dict_pre_hook(load_full_weight)

    def forward(self, input: Tensor) -> Tensor:
        if self.training:  # all tokens of the training data, and padding, are used ones
            if self.weight.device.type == "cpu":
                return cast(Tensor, Lookup.apply(self.weight, self.place[input], self))
            return F.embedding(self.place[input], self.weight, self.padding_idx)
        rows = F.embedding(self.place[input], self.weight)
        return torch.where(self.used[input][..., None], rows, self.table[input] * self.decay_factor)

    def full_weight(self) -> Tensor:
        """float32 [tokens, width], as if every row had been trained."""
        rows = self.table * self.decay_factor
        rows[self.used] = self.weight.detach()
        return rows


class Lookup(torch.autograd.Function):
    """weight[ids] with a gradient that is reused from step to step: only rows that a step has changed are cleared for
    the next. On a CPU, new zeros at each step cost more than AdamW, because of page faults (docs/log.md)."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, ids: Tensor, rows: UsedRows) -> Tensor:
        ctx.ids, ctx.rows = ids, rows
        return F.embedding(ids, weight)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[None, None, None]:
        rows, ids = ctx.rows, ctx.ids.flatten()
        if rows.gradient is None:
            rows.gradient = torch.zeros_like(rows.weight)
        if rows.weight.grad is None:  # a new step
            for touched in rows.touched:
                rows.gradient.index_fill_(0, touched, 0.0)
            rows.touched = []
            rows.weight.grad = rows.gradient
        rows.gradient.index_add_(0, ids, grad_output.reshape(len(ids), -1))
        if rows.padding_idx is not None:
            rows.gradient[rows.padding_idx] = 0.0
        rows.touched.append(ids)
        return None, None, None


def save_full_weight(module: nn.Module, state: dict[str, Any], prefix: str, _: Any) -> None:
    assert isinstance(module, UsedRows)
    state[prefix + "weight"] = module.full_weight()


def load_full_weight(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    assert isinstance(module, UsedRows)
    state[prefix + "weight"] = state[prefix + "weight"][module.used.cpu()]


def tokens_in(dataset: "Dataset", num_tokens: int) -> Tensor:
    """Which token ids occur in the dataset: bool [num_tokens]."""
    found = numpy.zeros(num_tokens, numpy.bool_)
    for chunk in dataset.data.column("input_ids").chunks:  # memory-mapped, so only one chunk is in memory
        found[chunk.flatten().to_numpy()] = True
    return torch.from_numpy(found)


def train_used_rows(model: "PreTrainedModel", dataset: "Dataset", pad_token_id: int) -> UsedRows | None:
    """Replace the model's token embedding by UsedRows. Build the optimizer afterwards. Returns None, and changes
    nothing, if the embedding is frozen, or if the model would compute something else: if its embedding does more than a
    lookup (mBART scales the rows), or if it is an encoder-decoder, whose decoder gets tokens that are not in the data.
    `pad_token_id`: always counts as used."""
    embedding = model.get_input_embeddings()
    if type(embedding) is not nn.Embedding or model.config.is_encoder_decoder or not embedding.weight.requires_grad:
        return None
    used = tokens_in(dataset, embedding.num_embeddings)
    used[pad_token_id] = True
    return replace_embedding(model, used)


def replace_embedding(model: "PreTrainedModel", used: Tensor) -> UsedRows:
    """Replace the model's token embedding by UsedRows. `used`: bool [num_tokens], the rows to train."""
    embedding = model.get_input_embeddings()
    if embedding.padding_idx is not None:
        used[embedding.padding_idx] = True
    rows = UsedRows(embedding, used.to(embedding.weight.device))
    model.set_input_embeddings(rows)
    return rows


def decay_unused_rows(rows: UsedRows, optimizer: torch.optim.Optimizer) -> None:
    """Register a hook by which each step of the optimizer decays the rows that aren't trained, too, as it does those of
    `rows`."""
    [group] = [number for number, some in enumerate(optimizer.param_groups) if contains(some["params"], rows.weight)]

    # The hook uses its argument: a reference to `optimizer` would be a cycle, which keeps all weights and moments in
    # memory until the next garbage collection, beside those of the next seed's run.
    def decay(stepped: torch.optim.Optimizer, *_: Any) -> None:
        decayed = stepped.param_groups[group]  # looked up at each step, since load_state_dict makes new groups
        done = 1 - getattr(stepped, "found_inf", torch.zeros(()))  # 0 if the step was skipped
        rows.decay_factor *= 1 - decayed["lr"] * decayed["weight_decay"] * done.to(rows.decay_factor.dtype)

    optimizer.register_step_post_hook(decay)


def contains(parameters: Sequence[Tensor], wanted: Tensor) -> bool:
    return any(parameter is wanted for parameter in parameters)
