"""The head of a pretrained model: what its outputs mean, and whether they fit the labels of the data."""

import copy
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from pairft.tasks import MULTI_LABEL, REGRESSION, SINGLE_LABEL

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

GENERIC = re.compile(r"LABEL_\d+")  # transformers' names for classes without names


def names_of(config: "PretrainedConfig") -> tuple[str, ...]:
    """The names of the outputs, by id."""
    return tuple(str(config.id2label[index]) for index in sorted(config.id2label))


def is_generic(names: Sequence[str]) -> bool:
    return all(GENERIC.fullmatch(name) for name in names)


def kind_of(config: "PretrainedConfig") -> str:
    """The problem type that a head was trained for. If the config has none, it follows from the number of outputs."""
    return str(config.problem_type or (REGRESSION if config.num_labels == 1 else SINGLE_LABEL))


def meaning_of(config: "PretrainedConfig", about: Mapping[str, Any]) -> tuple[str, tuple[str, ...] | None, int | None]:
    """What the outputs of a trained model mean: the problem type, the names of the classes by id (None for one value)
    and, after --one-logit, the id of the class that the model has the logit of. `about`: the content of pairft.json."""
    kind, held = kind_of(config), names_of(config)
    named = tuple(about.get("label_names") or ())
    if about.get("logit_of") in named and held == (about["logit_of"],):
        return SINGLE_LABEL, named, named.index(about["logit_of"])
    return kind, None if len(held) == 1 and kind != MULTI_LABEL else held, None


def as_two_classes(model: "PreTrainedModel", one_logit: int) -> None:
    """Make a model with one logit, x, return two: x for the class `one_logit`, and 0 for the other. The softmax of the
    two is the sigmoid of x, and their cross entropy the binary one, so that nothing else has to know about it. The
    model's weights and config stay those of one logit."""

    def pair(module: torch.nn.Module, args: Any, output: Any) -> Any:
        zero = torch.zeros_like(output.logits)
        output.logits = torch.cat([output.logits, zero] if one_logit == 0 else [zero, output.logits], dim=-1)
        return output

    model.register_forward_hook(pair)


def output_order(source: "PretrainedConfig", label_names: Sequence[str] | None) -> list[int] | None:
    """The index of the head's output for each class of the data, or None if the head doesn't fit the data.

    Classes are matched by name, then by name ignoring case; if the head's names are generic, by position. `label_names`
    is None for regression.
    """
    held = names_of(source)
    if label_names is not None and len(label_names) == len(held) == 1 and is_generic(held) and not source.problem_type:
        return [0]  # a head of one logit that doesn't say what it is, as CrossEncoder saves it
    if label_names is None or kind_of(source) == REGRESSION:
        return [0] if label_names is None and kind_of(source) == REGRESSION and len(held) == 1 else None
    wanted = tuple(label_names)
    if len(held) != len(wanted):
        return None
    if is_generic(held):
        return list(range(len(held)))
    if set(held) != set(wanted):
        held, wanted = (tuple(name.casefold() for name in names) for names in (held, wanted))
    if len(set(held)) < len(held) or set(held) != set(wanted):
        return None
    return [held.index(name) for name in wanted]


def output_parameters(model: "PreTrainedModel") -> dict[str, int]:
    """The parameters whose shape depends on the number of labels, by name, and the dimension that does."""
    grown_config = copy.deepcopy(model.config)
    grown_config.num_labels = model.config.num_labels + 1
    with torch.device("meta"):
        grown = type(model)(grown_config)
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    return {
        name: next(dim for dim, size in enumerate(parameter.shape) if size != shapes[name][dim])
        for name, parameter in grown.named_parameters()
        if parameter.shape != shapes[name]
    }


def put_in_order(model: "PreTrainedModel", outputs: dict[str, int], order: Sequence[int]) -> None:
    """Reorder the head in place: output `order[index]` becomes output `index`. `outputs`: from output_parameters."""
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, dim in outputs.items():
            parameters[name].copy_(parameters[name].index_select(dim, torch.tensor(order)))


def listed(names: Sequence[str]) -> str:
    """The first eight names, for a message."""
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")


def described(source: "PretrainedConfig") -> str:
    """What a head predicts, for a message."""
    held, kind = names_of(source), kind_of(source)
    if kind == REGRESSION:
        return "a regression" if len(held) == 1 else f"a regression with {len(held)} outputs"
    if len(held) == 1:
        return f"one logit ({held[0]})"
    return f"{len(held)} {'independent labels' if kind == MULTI_LABEL else 'classes'} ({listed(held)})"


def wanted(label_names: Sequence[str] | None, problem_type: str) -> str:
    """What the data needs, for a message that continues "the data"."""
    if label_names is None:
        return "is a regression"
    if len(label_names) == 1:
        return f"needs one logit ({label_names[0]})"
    kind = "independent labels" if problem_type == MULTI_LABEL else "classes"
    return f"has {len(label_names)} {kind} ({listed(label_names)})"


def taken_as(
    source: "PretrainedConfig", label_names: Sequence[str] | None, order: list[int] | None, by_position: bool
) -> str:
    """How a head's outputs were assigned to the data's classes, to be appended to the line on weights; "" if they are
    the same. It is a warning if they were assigned by position although the names differ."""
    held = names_of(source)
    if label_names is None or held == tuple(label_names):
        return "" if order is not None else f"\nwarning: its head for {described(source)} is kept, as HF Trainer does"
    taken = f"{listed(held)} of its head are taken as {listed(label_names)}"
    if is_generic(held) and order is not None:
        return f"; {taken}, by position"
    if by_position:
        return f"\nwarning: {taken}, by position as in HF Trainer"
    return f", its head's classes put in the data's order: {listed(label_names)}"
