"""The same examples split over micro-batches in every way, by HF Trainer and by pairft: the losses and gradients of one
step. Writes the table in docs/parity.md, and fails if pairft's are not equal within the bounds.
"""

import re
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402
from datasets import Dataset  # noqa: E402
from transformers import (  # noqa: E402
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
    logging,
    set_seed,
)

from pairft.data import builtin  # noqa: E402
from pairft.data.batches import Position, collate_for, training_steps  # noqa: E402
from pairft.data.order import StepSize  # noqa: E402
from pairft.training.optim import build_optimizer  # noqa: E402
from pairft.training.step import update  # noqa: E402

# (examples, batch size, micro-batches): the first of each number of examples is the whole in one batch.
SPLITS = ((8, 8, 1), (8, 4, 2), (8, 2, 4), (8, 1, 8), (7, 7, 1), (7, 4, 2), (7, 2, 4), (7, 1, 7))
BOUNDS = {torch.float32: 1e-5, torch.float64: 1e-10}  # of each gradient tensor's norm
CPU = torch.device("cpu")


def rows(number: int, tokenizer: Any) -> Dataset:
    """Builtin training pairs, tokenised: two negatives, the rest positives. With as many of each, the gradients of the
    last biases would be small differences of large numbers, and show float32's rounding instead of the split."""
    drawn = list(builtin.draw_rows("train"))
    chosen = [row for row in drawn if row["label"] == 0][:2] + [row for row in drawn if row["label"] == 1][: number - 2]
    encoded = tokenizer([row["sentence1"] for row in chosen], [row["sentence2"] for row in chosen])
    return Dataset.from_dict({**encoded, "label": [row["label"] for row in chosen]})


def classifier(dtype: torch.dtype) -> Any:
    """The packaged encoder without dropout, so that the split is all that differs."""
    set_seed(42)
    return AutoModelForSequenceClassification.from_pretrained(
        builtin.model_folder(), dtype=dtype, num_labels=2, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )


def by_trainer(data: Dataset, batch_size: int, accumulate: int, tokenizer: Any) -> tuple[float, float]:
    """Loss and gradient norm that HF Trainer logs for the one step."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model=classifier(torch.float32),
            args=TrainingArguments(
                folder, per_device_train_batch_size=batch_size, gradient_accumulation_steps=accumulate,
                max_steps=1, logging_steps=1, save_strategy="no", report_to="none", disable_tqdm=True, use_cpu=True,
            ),
            train_dataset=data,
            data_collator=DataCollatorWithPadding(tokenizer),
        )  # fmt: skip
        trainer.train()
    line = trainer.state.log_history[0]
    return line["loss"], line["grad_norm"]


def by_pairft(
    data: Dataset, batch_size: int, accumulate: int, tokenizer: Any, dtype: torch.dtype
) -> tuple[float, float, dict[str, torch.Tensor]]:
    """Mean loss, gradient norm and every gradient of the one step."""
    model = classifier(dtype).train()
    optimizer = build_optimizer(model, weight_decay=0.0)
    gradients: dict[str, torch.Tensor] = {}

    def keep(*_: Any) -> None:
        gradients.update({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})

    optimizer.register_step_pre_hook(keep)
    steps = training_steps(data, collate_for(tokenizer, CPU), 42, StepSize(batch_size, accumulate), Position(), False)
    step = next(steps)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    one = partial(update, model, optimizer, scaler, torch.zeros(()), device=CPU, amp_dtype=None, max_grad_norm=1e9)
    loss_sum, norm = one(step.micro_batches, step.num_examples, 0.0)
    return loss_sum.item() / step.num_examples, norm.item(), gradients


def table() -> str:
    tokenizer = AutoTokenizer.from_pretrained(builtin.model_folder())
    lines = [
        "| examples | split | Trainer: loss | gradient norm | pairft: loss | gradient norm | gradients equal to the "
        "whole batch's, float32 | float64 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    whole: dict[tuple[int, torch.dtype], dict[str, torch.Tensor]] = {}
    whole_loss: dict[tuple[int, torch.dtype], float] = {}
    for examples, batch_size, accumulate in SPLITS:
        data = rows(examples, tokenizer)
        their_loss, their_norm = by_trainer(data, batch_size, accumulate, tokenizer)
        cells = []
        for dtype, bound in BOUNDS.items():
            loss, norm, gradients = by_pairft(data, batch_size, accumulate, tokenizer, dtype)
            key = (examples, dtype)
            reference = whole.setdefault(key, gradients)
            reference_loss = whole_loss.setdefault(key, loss)
            # The gradients of the keys' biases are 0 in exact arithmetic (softmax ignores a shift): what they hold is
            # rounding, so it is set against the norm of the whole gradient.
            largest = max(
                ((gradients[name] - g).norm() / (norm if name.endswith("key.bias") else g.norm())).item()
                for name, g in reference.items()
            )
            print(f"{examples} as {batch_size}x{accumulate} {dtype}: loss {loss}, gradients within {largest:.1e}")
            assert abs(loss - reference_loss) <= bound * reference_loss, (examples, batch_size, loss)
            assert largest <= bound, (examples, batch_size, dtype, largest)
            cells.append(f"within {bound:g}" if accumulate > 1 else "-")
            if dtype == torch.float32:
                our_loss, our_norm = loss, norm
        lines.append(
            f"| {examples} | {batch_size}×{accumulate} | {their_loss:.3f} | {their_norm:.3f} | {our_loss:.3f} "
            f"| {our_norm:.3f} | {cells[0]} | {cells[1]} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    path = ROOT / "docs" / "parity.md"
    text, count = re.subn(
        r"(<!-- accumulation:[^>]*-->\n).*?(<!-- /accumulation -->)",
        lambda found: found[1] + made + found[2] if (made := table()) else "",
        path.read_text(encoding="utf-8"),
        flags=re.DOTALL,
    )
    assert count == 1, count
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
