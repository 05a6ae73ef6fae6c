"""Where in pairft a statement stands: file and line, found in the source when asked."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pairft

ROOT = Path(pairft.__file__).resolve().parent.parent


def place(function: Callable[..., Any], statement: str) -> str:
    """The file and line, such as pairft/training/step.py:92, of the line of `function` that contains `statement`."""
    function = inspect.unwrap(function)  # of its decorators
    lines, first = inspect.getsourcelines(function)
    [found] = [number for number, line in enumerate(lines, first) if statement in line]
    path = Path(inspect.getsourcefile(function) or "").resolve()
    return f"{path.relative_to(ROOT).as_posix()}:{found}"


def statements() -> dict[str, tuple[tuple[Callable[..., Any], str], ...]]:
    """For each section of the explanation, the functions and statements that do what it shows."""
    from pairft.data import batches, tokens, truncation
    from pairft.prediction.answers import probabilities_of
    from pairft.speed.packing import pack
    from pairft.training import optim, step

    return {
        "text": ((tokens.encode_rows, "sentences = [rows.column(name)"),),
        "tokens": ((tokens.encode_sentences, "backend.encode_batch_fast(some)"),),
        "special": ((truncation.gaps, "max_length - sequence_ids.count(None)"),),
        "truncation": ((tokens.encode_sentences, "left_out = gaps("),),
        "padded": ((batches.collate, "array = numpy.full(shape, padding"),),
        "packed": ((pack, "cu_seqlens=F.pad(lengths.cumsum(0)"),),
        "logits": ((step.update, "logits = model(**batch.inputs()).logits"), (probabilities_of, "values.softmax(1)")),
        "loss": ((step.loss_of, "return F.cross_entropy("),),
        "gradient": ((step.update, "scaler.scale(share).backward()"),),
        "clipping": ((step.update, "clip_grad_norm_(model.parameters(), max_grad_norm)"),),
        "adamw": ((optim.build_optimizer, "return torch.optim.AdamW("), (step.update, "scaler.step(optimizer)")),
        "after": ((optim.lr_at, "return peak * max(0.0, (total_steps - step)"),),
    }


def places() -> dict[str, str]:
    """The files and lines of each section, in a text."""
    return {name: ", ".join(place(*one) for one in found) for name, found in statements().items()}
