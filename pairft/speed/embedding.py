"""Train only the rows of the token embedding whose tokens occur in the training data.

The others get no gradient, so that all AdamW would do to them is to decay them; yet a dense gradient has to be cleared,
walked and applied for every row at each step. MRPC has 11,563 of BERT's 30,522 tokens.
"""

from typing import TYPE_CHECKING, Any, cast

import numpy
import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel


class UsedRows(nn.Embedding):
    """An embedding of [tokens, width] whose parameter is [used tokens, width]. state_dict has it whole, and
    load_state_dict takes it whole, so that saved models and checkpoints don't show it."""

    used: Tensor  # bool [tokens]
    place: Tensor  # int64 [tokens]: of a used token among the used ones
    table: Tensor  # [tokens, width]: as it was loaded

    def __init__(self, embedding: nn.Embedding, used: Tensor) -> None:
        super().__init__(int(used.sum()), embedding.embedding_dim, _weight=embedding.weight.detach()[used])
        place = used.cumsum(0) - 1
        self.padding_idx = None if embedding.padding_idx is None else int(place[embedding.padding_idx])
        self.register_buffer("used", used, persistent=False)
        self.register_buffer("place", place.clamp_(min=0), persistent=False)
        self.register_buffer("table", embedding.weight.detach(), persistent=False)
        self.gradient: Tensor | None = None  # of the parameter, kept from step to step
        self.touched: list[Tensor] = []  # the rows of it that are not 0
        dtype = torch.float32 if place.device.type == "mps" else torch.float64
        # Of the rows that aren't trained: what all decay so far has multiplied them by.
        self.decay_factor = torch.ones((), dtype=dtype, device=place.device)
        self.register_state_dict_post_hook(write_whole)
        self.register_load_state_dict_pre_hook(read_whole)

    def forward(self, input: Tensor) -> Tensor:
        if self.training:  # all tokens of training data and its padding are in use
            if self.weight.device.type == "cpu":
                return cast(Tensor, Lookup.apply(self.weight, self.place[input], self))
            return F.embedding(self.place[input], self.weight, self.padding_idx)
        rows = F.embedding(self.place[input], self.weight)
        return torch.where(self.used[input][..., None], rows, self.table[input] * self.decay_factor)

    def whole(self) -> Tensor:
        """float32 [tokens, width], as if every row had been trained."""
        rows = self.table * self.decay_factor
        rows[self.used] = self.weight.detach()
        return rows


class Lookup(torch.autograd.Function):
    """weight[ids], whose gradient is kept from step to step: only the rows that a step has touched are cleared for the
    next. A fresh one of zeros at each step costs a CPU more than AdamW, for the sake of page faults (docs/log.md)."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, ids: Tensor, rows: UsedRows) -> Tensor:
        ctx.ids, ctx.rows = ids, rows
        return F.embedding(ids, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, None]:
        rows, ids = ctx.rows, ctx.ids.flatten()
        if rows.gradient is None:
            rows.gradient = torch.zeros_like(rows.weight)
        if rows.weight.grad is None:  # a new step
            for touched in rows.touched:
                rows.gradient.index_fill_(0, touched, 0.0)
            rows.touched = []
            rows.weight.grad = rows.gradient
        rows.gradient.index_add_(0, ids, gradient.reshape(len(ids), -1))
        if rows.padding_idx is not None:
            rows.gradient[rows.padding_idx] = 0.0
        rows.touched.append(ids)
        return None, None, None


def write_whole(module: nn.Module, state: dict[str, Any], prefix: str, _: Any) -> None:
    assert isinstance(module, UsedRows)
    state[prefix + "weight"] = module.whole()


def read_whole(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    assert isinstance(module, UsedRows)
    state[prefix + "weight"] = state[prefix + "weight"][module.used.cpu()]


def tokens_in(dataset: "Dataset", num_tokens: int) -> Tensor:
    """Which token ids occur in the rows: bool [num_tokens]."""
    found = numpy.zeros(num_tokens, numpy.bool_)
    for chunk in dataset.data.column("input_ids").chunks:  # memory-mapped: one chunk at a time is read
        found[chunk.flatten().to_numpy()] = True
    return torch.from_numpy(found)


def train_used_rows(model: "PreTrainedModel", dataset: "Dataset", pad_token_id: int) -> UsedRows | None:
    """Put UsedRows in the place of the model's token embedding; build the optimizer afterwards. None where that would
    change what the model computes: its embedding does more than look rows up (mBART scales them), or the model is an
    encoder-decoder, whose decoder is given tokens that are not in the data. `pad_token_id`: looked up in training
    without being in the data."""
    embedding = model.get_input_embeddings()
    if type(embedding) is not nn.Embedding or model.config.is_encoder_decoder:
        return None
    used = tokens_in(dataset, embedding.num_embeddings)
    used[pad_token_id] = True
    return replace_embedding(model, used)


def replace_embedding(model: "PreTrainedModel", used: Tensor) -> UsedRows:
    """The same for the token ids that `used`, bool [num_tokens], marks."""
    embedding = model.get_input_embeddings()
    if embedding.padding_idx is not None:
        used[embedding.padding_idx] = True
    rows = UsedRows(embedding, used.to(embedding.weight.device))
    model.set_input_embeddings(rows)
    return rows


def decay_unused_rows(rows: UsedRows, optimizer: torch.optim.Optimizer) -> None:
    """From now on, each step of the optimizer decays the embedding rows that aren't trained like the others. Its first
    parameter group should be the one that decays, as build_optimizer makes it."""

    # By its argument: naming `optimizer` here would make a cycle of the two, which keeps all weights and moments in
    # memory until a collection, beside those of the next seed's run.
    def decay(stepped: torch.optim.Optimizer, *_: Any) -> None:
        decayed = stepped.param_groups[0]  # load_state_dict makes new groups
        done = 1 - getattr(stepped, "found_inf", torch.zeros(()))  # 0 where the step was left out
        rows.decay_factor *= 1 - decayed["lr"] * decayed["weight_decay"] * done.to(rows.decay_factor.dtype)

    optimizer.register_step_post_hook(decay)
