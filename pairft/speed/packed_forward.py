"""The padding-free forward pass of transformers' own model code: an attention function and forward hooks.

transformers offers an interface for attention functions, and torch offers hooks, so no model code is copied.
docs/design.md draws which tokens are in which tensor of the last layer.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from pairft.speed.attention import PairAttention, attend_from_cls, jagged_attention
from pairft.speed.last_layer import LAST_LAYERS, submodule
from pairft.speed.packing import Packed
from pairft.training.layers import are_checkpointed, checkpoint_layers

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ATTENTION = "pairft_unpadded"  # our function's name in transformers' interface


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    packing: "PackedForward | None" = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """The attention function that transformers calls in every layer. It is registered once for all models, and calls
    the model's PackedForward, which `start_pass` has put into the keyword arguments.

    query, key, value: [1, heads, tokens, head width]. Returns [1, tokens, heads, head width], and None for the weights.
    """
    assert packing is not None, "padding-free attention, but no Packed batch"
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    return packing.attend(query, key, value, dropout, scaling, sliding_window), None


@dataclass
class Pass:
    """The state of one forward pass."""

    packed: Packed
    attended: int = 0  # layers that have attended; a counter, because ALBERT runs the same layer repeatedly
    hidden: Tensor | None = None  # [tokens, width]: the last layer's input, kept by keep_input for the attention


class PackedForward:
    """Makes a model compute Packed batches: `install` sets the attention function and the hooks, `remove` undoes it.

    Up to the last layer's attention, hidden states are those of all tokens, [1, tokens, width]. Everything but
    attention works token by token, so only attention needs to know the pairs. After it, hidden states are those of the
    CLS tokens, [pairs, 1, width]: to the head, which reads `[:, 0]`, each pair is one token long. In ModernBERT with
    mean pooling the head reads all tokens, and they are padded for it instead.

    `jagged`: use jagged_attention, as on a GPU, where the last layer computes keys and values for all tokens. Otherwise
    use PairAttention, and attend_from_cls in the last layer.
    """

    current: Pass  # the latest forward pass

    def __init__(self, model: "PreTrainedModel", jagged: bool) -> None:
        config = model.config
        self.last_layer = LAST_LAYERS[config.model_type]
        self.layers: int = config.num_hidden_layers * getattr(config, "inner_group_num", 1)
        self.mean_pooling: bool = getattr(config, "classifier_pooling", "cls") == "mean"
        self.jagged = jagged
        self.projections: tuple[Any, ...] = ()  # nn.Linear for query, key, value; empty: no attend_from_cls
        self.attention_before: str = config._attn_implementation
        self.handles: list[RemovableHandle] = []

    def install(self, model: "PreTrainedModel") -> None:
        """Set the attention function and register the hooks. Raises AttributeError or IndexError if the model lacks a
        submodule that the table names; call `remove` then."""
        from transformers import AttentionInterface

        if self.jagged:  # silence torch's warnings at the first nested tensor
            logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)
            warnings.filterwarnings("ignore", message="The PyTorch API of nested tensors is in prototype stage")
        AttentionInterface.register(ATTENTION, packed_attention)
        model.set_attn_implementation(ATTENTION)
        base = model.base_model
        cls_from = submodule(base, self.last_layer.cls_from)
        self.handles.append(model.register_forward_pre_hook(self.start_pass, with_kwargs=True))
        if are_checkpointed(model):
            checkpoint_layers(model, context_fn=self.when_computed_again)
        if self.mean_pooling:
            self.handles.append(cls_from.register_forward_pre_hook(self.pad))
            return
        self.handles.append(cls_from.register_forward_pre_hook(self.take_cls))
        projections = tuple(submodule(base, path) for path in self.last_layer.projections)
        if not self.jagged and all(type(part) is nn.Linear for part in projections):  # not if they have adapters (LoRA)
            self.projections = projections
        for part in self.projections:
            self.handles.append(part.register_forward_pre_hook(self.keep_input))
            self.handles.append(part.register_forward_hook(self.stretch))
        for path in self.last_layer.cls_only:
            part = submodule(base, path)
            self.handles.append(part.register_forward_pre_hook(self.take_cls_within))
            self.handles.append(part.register_forward_hook(self.scatter_cls))

    def remove(self, model: "PreTrainedModel") -> None:
        """Remove the hooks and restore the attention function that the model had before."""
        for handle in self.handles:
            handle.remove()
        if are_checkpointed(model):
            checkpoint_layers(model)
        model.set_attn_implementation(self.attention_before)

    @property
    def left(self) -> int:
        """The number of layers that have not attended yet in the current pass. The hooks of the last layer act if it is
        1, before its attention, or 0, after it; if it is larger, ALBERT is still in an earlier run of the layer."""
        return self.layers - self.current.attended

    def start_pass(self, model: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Pre-hook of the model: start a pass with the Packed batch in the keyword argument `packing`, and replace it
        by this object, which transformers passes down to `attend`."""
        self.current = Pass(kwargs["packing"])
        return args, {**kwargs, "packing": self}

    def when_computed_again(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        """The contexts in which torch's checkpoint computes a layer, and computes it again in the backward pass, last
        layer first: `left` has to be the same both times."""
        return nullcontext(), self.after_layers(self.current.attended)

    @contextmanager
    def after_layers(self, attended: int) -> Iterator[None]:
        """A context in which `attended` layers have attended so far."""
        self.current.attended = attended
        yield

    def keep_input(self, projection: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor] | None:
        """Pre-hook of the last layer's `projections`: keep the input, [1, tokens, width], and pass on one token,
        [1, 1, width]. attend_from_cls computes from the kept input and the projections' weights, so their output is not
        used. But the model's code calls them, and for one token that costs next to nothing."""
        if self.left > 1:
            return None
        self.current.hidden = args[0][0]
        return (args[0][:, :1],)

    def stretch(self, projection: nn.Module, args: Any, output: Tensor) -> Tensor | None:
        """Hook of the last layer's `projections`: expand [1, 1, width] to [1, tokens, width], a view without a copy,
        because the model's code reshapes it by the number of tokens."""
        return None if self.left > 1 else output.expand(-1, self.current.packed.num_tokens, -1)

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, dropout: float, scaling: float, window: int | None
    ) -> Tensor:
        """Attention within each pair; shapes as in `packed_attention`. In the last layer, if it has `projections`,
        only the CLS tokens are computed and the others are 0, since the code that follows expects all tokens."""
        current = self.current
        current.attended += 1
        if self.projections and self.left == 0:
            hidden, current.hidden = current.hidden, None  # otherwise this pass's graph would live until the next pass
            assert hidden is not None
            cls = attend_from_cls(hidden, current.packed, self.projections, query.shape[1], scaling, dropout)
            return put_cls(cls.flatten(1)[None], current.packed).view(1, -1, *cls.shape[1:])
        query, key, value = (part[0].transpose(0, 1) for part in (query, key, value))  # [tokens, heads, head width]
        if self.jagged:
            return jagged_attention(query, key, value, current.packed, scaling, dropout)[None]
        found: Tensor = PairAttention.apply(query, key, value, current.packed.lengths, scaling, dropout, window)
        return found[None]

    def take_cls(self, module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        """Pre-hook of `cls_from`: select the CLS tokens of each input (BERT's has two, the attention's output and the
        residual), [1, tokens, width] to [pairs, 1, width]. All that follows computes one token per pair."""
        if self.left > 0:
            return None
        return tuple(pick_cls(hidden, self.current.packed).transpose(0, 1) for hidden in args)

    def take_cls_within(self, module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor] | None:
        """Pre-hook of `cls_only`: select the CLS tokens, [1, tokens, width] to [1, pairs, width]. The model's code adds
        the output of these submodules to a residual of all tokens, so `scatter_cls` has to restore the shape."""
        return (pick_cls(args[0], self.current.packed),) if self.left == 0 else None

    def scatter_cls(self, module: nn.Module, args: Any, output: Tensor) -> Tensor | None:
        """Hook of `cls_only`: [1, pairs, width] back to [1, tokens, width], with 0 for all but the CLS tokens."""
        return put_cls(output, self.current.packed) if self.left == 0 else None

    def pad(self, module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor]:
        """Pre-hook of `cls_from` with mean pooling: pad [1, tokens, width] to [pairs, length, width] with 0, since the
        head takes the mean over each pair by the attention mask."""
        packed = self.current.packed
        assert packed.attention_mask is not None and packed.indices is not None
        pairs, length = packed.attention_mask.shape
        grid = args[0].new_zeros(pairs * length, args[0].shape[2]).index_copy(0, packed.indices, args[0][0])
        return (grid.view(pairs, length, -1),)


def pick_cls(hidden: Tensor, packed: Packed) -> Tensor:
    """Select the CLS tokens: [1, tokens, width] to [1, pairs, width]."""
    return hidden.index_select(1, packed.cls_positions)


def put_cls(hidden: Tensor, packed: Packed) -> Tensor:
    """The inverse of `pick_cls`, with 0 for all other tokens: [1, pairs, width] to [1, tokens, width]."""
    return hidden.new_zeros(1, packed.input_ids.shape[1], hidden.shape[2]).index_copy(1, packed.cls_positions, hidden)
