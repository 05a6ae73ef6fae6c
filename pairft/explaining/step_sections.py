"""The sections about the step: from logits to new weights, with each number by hand beside torch's. Each returns the
values for its lines, and its table."""

from collections.abc import Mapping

import numpy

from pairft.explaining import by_hand
from pairft.explaining.data_sections import Section, grouped
from pairft.explaining.explained import Explained
from pairft.explaining.terminal import Terminal, shortened, table, visible

MOST_CLASSES = 4  # shown, the label's first


def number(value: float) -> str:
    """Nine digits, which tell any two float32 numbers apart."""
    return f"{value:.9g}"


def difference(computed: float, torch_value: float, tolerance: float) -> str:
    """How far a number by hand is from torch's, which float32 rounds. An invariant: at most `tolerance`."""
    assert abs(computed - torch_value) <= tolerance, (computed, torch_value, tolerance)
    return f"{abs(computed - torch_value):.1e}"


def spacing(value: float) -> float:
    """The distance from a float32 number to the next one."""
    return float(numpy.spacing(numpy.float32(abs(value))))


def shown_classes(of: Explained) -> list[int]:
    return [of.label, *(index for index in range(len(of.names)) if index != of.label)][:MOST_CLASSES]


def class_name(name: str) -> str:
    return shortened(visible(name), 24)


def probability(of: Explained) -> float:
    return by_hand.softmax(of.step.logits)[2][of.label]


def rounding(of: Explained) -> float:
    """How far float32's rounding of the logits may shift a loss or a probability."""
    return 4 * spacing(1 + max(map(abs, of.step.logits)))


def logits(of: Explained, words: Mapping[str, str], terminal: Terminal) -> Section:
    exponentials, total, divided = by_hand.softmax(of.step.logits)
    classes = shown_classes(of)
    rows = [[class_name(of.names[index]) for index in classes]]
    rows += [[number(values[index]) for index in classes] for values in (of.step.logits, exponentials, divided)]
    names = ["", words["logit"], "exp", words["probability"]]
    return words["logits.lines"], {"total": number(total)}, table(names, rows, terminal, blocks=2)


def loss(of: Explained, words: Mapping[str, str], terminal: Terminal) -> Section:
    computed = by_hand.cross_entropy(of.step.logits, of.label)
    values = {
        "label": class_name(of.label_name),
        "probability": number(probability(of)),
        "loss": number(computed),
        "torch_loss": number(of.step.loss),
        "difference": difference(computed, of.step.loss, rounding(of)),
    }
    return words["loss.lines"], values, []


def gradient(of: Explained, words: Mapping[str, str], terminal: Terminal) -> Section:
    step = of.step
    computed = by_hand.head_gradient(probability(of), True, step.read)
    tolerance = rounding(of) * max(1.0, abs(step.read))
    difference(step.slope, step.gradient, 1e-3 * (1 + step.loss) * max(1.0, abs(step.read)))
    values = {
        "name": step.name,
        "weight": number(step.weight),
        "read": number(step.read),
        "label": class_name(of.label_name),
        "probability": number(probability(of)),
        "by_hand": number(computed),
        "gradient": number(step.gradient),
        "difference": difference(computed, step.gradient, tolerance),
        "slope": f"{step.slope:.4g}",
    }
    return words["gradient.lines"], values, []


def clipping(of: Explained, words: Mapping[str, str], terminal: Terminal) -> Section:
    step, limit = of.step, of.config.max_grad_norm
    factor = by_hand.clip_factor(step.norm, limit)
    computed = step.gradient * factor
    difference(min(step.norm, limit), step.clipped_norm, 1e-4 * step.clipped_norm)
    values = {
        "weights": grouped(step.num_weights, words),
        "norm": number(step.norm),
        "limit": limit,
        "factor": number(factor),
        "clipped": number(step.clipped),
        "by_hand": number(computed),
        "difference": difference(computed, step.clipped, 2 * spacing(computed)),
        "after": f"{step.clipped_norm:.5g}",  # torch adds the squares in float32, which shows in the sixth digit
    }
    return words["clipping.lines"], values, []


def adamw(of: Explained, words: Mapping[str, str], terminal: Terminal) -> Section:
    step, group = of.step, of.adamw
    (beta1, beta2), eps, decay = group["betas"], group["eps"], group["weight_decay"]
    found = by_hand.adamw_first_step(step.weight, step.clipped, of.lr, (beta1, beta2), eps, decay)
    largest = max(abs(step.weight), abs(found.decayed), abs(found.new))
    values = {
        **{"beta1": beta1, "rest1": f"{1 - beta1:g}", "beta2": beta2, "rest2": f"{1 - beta2:g}", "eps": eps},
        **{"m": number(found.m), "torch_m": number(step.exp_avg)},
        "m_difference": difference(found.m, step.exp_avg, 4 * spacing(found.m)),
        **{"v": number(found.v), "torch_v": number(step.exp_avg_sq)},
        "v_difference": difference(found.v, step.exp_avg_sq, 4 * spacing(found.v)),
        **{"m_corrected": number(found.m_corrected), "v_corrected": number(found.v_corrected)},
        **{"decay": decay, "decayed": number(found.decayed), "lr": of.lr},
        **{"new": number(found.new), "torch_new": number(step.new)},
        "difference": difference(found.new, step.new, 2 * spacing(largest)),
        "spacing": f"{spacing(step.new):.1e}",
    }
    return words["adamw.lines"], values, []


def after(of: Explained, words: Mapping[str, str], terminal: Terminal) -> Section:
    values = {
        "label": class_name(of.label_name),
        "loss": f"{of.step.loss:.6g}",
        "loss_after": f"{of.step.loss_after:.6g}",
        "probability": f"{probability(of):.6g}",
        "probability_after": f"{by_hand.softmax(of.step.logits_after)[2][of.label]:.6g}",
    }
    return words["after.lines"], values, []
