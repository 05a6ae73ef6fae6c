"""The padding-free forward pass of transformers' own model code: an attention function and forward hooks.

transformers offers an interface for attention functions, and torch offers hooks, so no model code is copied.
docs/design.md draws which tokens are in which tensor of the last layer.
"""

import logging
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from pairft.speed.attention import PairAttention, attend_from_cls, jagged_attention
from pairft.speed.last_layer import LAST_LAYERS, submodule
from pairft.speed.packing import Packed

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ATTENTION = "pairft_unpadded"  # our function's name in transformers' interface


def attend(
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
    """The attention function that transformers calls in every layer. One function serves all models, so it hands over
    to the model's PackedForward, which `start_pass` put into the keyword arguments.

    query, key, value: [1, heads, tokens, head width]. Returns [1, tokens, heads, head width], and no weights.
    """
    assert packing is not None, "padding-free attention, but no Packed batch"
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    return packing.attend(query, key, value, dropout, scaling, sliding_window), None


@dataclass
class Pass:
    """One forward pass: its batch, and how far it has come."""

    packed: Packed
    attended: int = 0  # layers that have attended; counted, because ALBERT runs the same layer again and again
    hidden: Tensor | None = None  # [tokens, width]: the last layer's input, from keep_input to the attention


class PackedForward:
    """Makes a model compute a Packed batch: `install` sets the attention function and the hooks, `remove` undoes it.

    Up to the last layer's attention, hidden states are those of all tokens, [1, tokens, width], and everything but the
    attention goes token by token, so that only the attention has to know the pairs. After it, they are those of the CLS
    tokens, [pairs, 1, width]: the head, which reads `[:, 0]`, sees each pair as one token long. In ModernBERT with mean
    pooling the head reads all tokens, and they are padded for it instead.

    `jagged`: attend by jagged_attention, as on a GPU, where the last layer has keys and values for all tokens; else by
    PairAttention, and in the last layer by attend_from_cls.
    """

    current: Pass  # the latest one

    def __init__(self, model: "PreTrainedModel", jagged: bool) -> None:
        config = model.config
        self.last_layer = LAST_LAYERS[config.model_type]
        self.layers: int = config.num_hidden_layers * getattr(config, "inner_group_num", 1)
        self.mean_pooling: bool = getattr(config, "classifier_pooling", "cls") == "mean"
        self.jagged = jagged
        self.projections: tuple[Any, ...] = ()  # nn.Linear: query's, key's, value's; empty: no attend_from_cls
        self.attention_before: str = config._attn_implementation
        self.handles: list[RemovableHandle] = []

    def install(self, model: "PreTrainedModel") -> None:
        """Set the attention function and register the hooks. Raises AttributeError or IndexError if the model lacks a
        submodule that the table names; call `remove` then."""
        from transformers import AttentionInterface

        if self.jagged:  # torch's words to its own developers at the first nested tensor
            logging.getLogger("torch.fx._symbolic_trace").setLevel(logging.ERROR)
            warnings.filterwarnings("ignore", message="The PyTorch API of nested tensors is in prototype stage")
        AttentionInterface.register(ATTENTION, attend)
        model.set_attn_implementation(ATTENTION)
        base = model.base_model
        cls_from = submodule(base, self.last_layer.cls_from)
        self.handles.append(model.register_forward_pre_hook(self.start_pass, with_kwargs=True))
        if self.mean_pooling:
            self.handles.append(cls_from.register_forward_pre_hook(self.pad))
            return
        self.handles.append(cls_from.register_forward_pre_hook(self.take_cls))
        if not self.jagged:
            self.projections = tuple(submodule(base, path) for path in self.last_layer.projections)
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
        model.set_attn_implementation(self.attention_before)

    @property
    def left(self) -> int:
        """Layers of the current pass that have yet to attend. The hooks of the last layer act at 1, before its
        attention, or at 0, after it; above that, ALBERT is running the layer for an earlier time."""
        return self.layers - self.current.attended

    def start_pass(self, model: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """On the whole model, before it: begin a pass with the Packed batch in `packing`, and replace it there by this
        object, for `attend` to find among the keyword arguments that transformers passes down."""
        self.current = Pass(kwargs["packing"])
        return args, {**kwargs, "packing": self}

    def keep_input(self, projection: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor] | None:
        """On the last layer's `projections`, before each: keep the input, [1, tokens, width], and leave one token,
        [1, 1, width]. attend_from_cls computes from the whole input and the projections' weights, so that what they
        return here is never read; but the model's code calls them, and for one token that costs nothing."""
        if self.left > 1:
            return None
        self.current.hidden = args[0][0]
        return (args[0][:, :1],)

    def stretch(self, projection: nn.Module, args: Any, output: Tensor) -> Tensor | None:
        """On the last layer's `projections`, after each: [1, 1, width] to [1, tokens, width], a view that copies
        nothing, because the model's code reshapes it by the number of tokens."""
        return None if self.left > 1 else output.expand(-1, self.current.packed.num_tokens, -1)

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, dropout: float, scaling: float, window: int | None
    ) -> Tensor:
        """Attention within each pair; shapes as in the function `attend`. In the last layer, if it has `projections`,
        for the CLS tokens only, with 0 for the others: what follows needs the shape, and takes the CLS tokens out."""
        current = self.current
        current.attended += 1
        if self.projections and self.left == 0:
            hidden, current.hidden = current.hidden, None  # or it would keep this pass's graph until the next
            assert hidden is not None
            cls = attend_from_cls(hidden, current.packed, self.projections, query.shape[1], scaling, dropout)
            return put_cls(cls.flatten(1)[None], current.packed).view(1, -1, *cls.shape[1:])
        query, key, value = (part[0].transpose(0, 1) for part in (query, key, value))  # [tokens, heads, head width]
        if self.jagged:
            return jagged_attention(query, key, value, current.packed, scaling, dropout)[None]
        found: Tensor = PairAttention.apply(query, key, value, current.packed.lengths, scaling, dropout, window)
        return found[None]

    def take_cls(self, module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        """On `cls_from`, before it: of each input (BERT's has two, the attention's output and the residual), only the
        CLS tokens: [1, tokens, width] to [pairs, 1, width]. All that follows computes one token per pair."""
        if self.left > 0:
            return None
        return tuple(pick_cls(hidden, self.current.packed).transpose(0, 1) for hidden in args)

    def take_cls_within(self, module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor] | None:
        """On each of `cls_only`, before it: [1, tokens, width] to [1, pairs, width]. For submodules whose output the
        model's code adds to a residual of all tokens, so that `scatter_cls` has to restore the shape."""
        return (pick_cls(args[0], self.current.packed),) if self.left == 0 else None

    def scatter_cls(self, module: nn.Module, args: Any, output: Tensor) -> Tensor | None:
        """On each of `cls_only`, after it: [1, pairs, width] back to [1, tokens, width], 0 but for the CLS tokens."""
        return put_cls(output, self.current.packed) if self.left == 0 else None

    def pad(self, module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor]:
        """On `cls_from`, before it, with mean pooling: [1, tokens, width] to the padded [pairs, length, width], with 0
        for padding, since the head takes its mean over each pair by the attention mask."""
        packed = self.current.packed
        assert packed.attention_mask is not None and packed.indices is not None
        pairs, length = packed.attention_mask.shape
        grid = args[0].new_zeros(pairs * length, args[0].shape[2]).index_copy(0, packed.indices, args[0][0])
        return (grid.view(pairs, length, -1),)


def pick_cls(hidden: Tensor, packed: Packed) -> Tensor:
    """The CLS tokens: [1, tokens, width] to [1, pairs, width]."""
    return hidden.index_select(1, packed.cls_positions)


def put_cls(hidden: Tensor, packed: Packed) -> Tensor:
    """The CLS tokens back at their places, with 0 between them: [1, pairs, width] to [1, tokens, width]."""
    return hidden.new_zeros(1, packed.input_ids.shape[1], hidden.shape[2]).index_copy(1, packed.cls_positions, hidden)
