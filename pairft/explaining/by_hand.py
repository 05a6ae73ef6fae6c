"""The formulas of a step on plain Python numbers, as one would compute them on paper: softmax, cross entropy, its
gradient, clipping, AdamW."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

CLIP_EPS = 1e-6  # that of torch's clip_grad_norm_


def softmax(logits: Sequence[float]) -> tuple[list[float], float, list[float]]:
    """exp(logit - the largest logit) of each class, the sum, and each divided by it: the probabilities. To subtract the
    same number from all logits changes no probability, and then no exponential overflows."""
    exponentials = [math.exp(logit - max(logits)) for logit in logits]
    total = sum(exponentials)
    return exponentials, total, [value / total for value in exponentials]


def cross_entropy(logits: Sequence[float], label: int) -> float:
    """-log(the probability of `label`), written so that a probability too small for a number does no harm."""
    return math.log(softmax(logits)[1]) - (logits[label] - max(logits))


def head_gradient(probability: float, is_label: bool, read: float) -> float:
    """The derivative of the cross entropy by the weight that multiplies `read` in the logit of a class with this
    probability."""
    return (probability - is_label) * read


def clip_factor(norm: float, max_norm: float) -> float:
    """What clip_grad_norm_ multiplies every gradient by."""
    return min(1.0, max_norm / (norm + CLIP_EPS))


@dataclass(frozen=True)
class FirstStep:
    """AdamW's first step of one weight. The moments are 0 before it."""

    m: float
    v: float
    m_corrected: float
    v_corrected: float
    decayed: float
    new: float


def adamw_first_step(
    weight: float, gradient: float, lr: float, betas: tuple[float, float], eps: float, weight_decay: float
) -> FirstStep:
    """Algorithm 2 of Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization", as torch has it: the decay
    is multiplied by the learning rate."""
    beta1, beta2 = betas
    m, v = (1 - beta1) * gradient, (1 - beta2) * gradient**2
    m_corrected, v_corrected = m / (1 - beta1), v / (1 - beta2)
    decayed = weight * (1 - lr * weight_decay)
    new = decayed - lr * m_corrected / (math.sqrt(v_corrected) + eps)
    return FirstStep(m, v, m_corrected, v_corrected, decayed, new)
