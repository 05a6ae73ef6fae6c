"""HF Trainer with its defaults on a folder of pairs, every number written down: what --preset trainer is held against.

OUTPUT gets numbers.json (loss, gradient norm and learning rate of each step; each evaluation) and tensors.safetensors
(the final weights, and the logits that they give on the validation split).
"""

import argparse
import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Features, List, Value, load_dataset
from safetensors.torch import save_file
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, f1_score
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
    set_seed,
)

COLUMNS = {  # of a task of each kind: two classes of pairs and of sentences, a regression, two validation splits
    "mrpc": ("sentence1", "sentence2"),
    "sst2": ("sentence",),
    "stsb": ("sentence1", "sentence2"),
    "mnli": ("premise", "hypothesis"),
    "custom": ("sentence1", "sentence2"),  # multi-label, as lists of names
}
NUM_LABELS = {"stsb": 1, "mnli": 3}  # others: 2
MNLI = ("validation_matched", "validation_mismatched")
METRICS = ("loss", "accuracy", "f1", "f1_micro", "pearson", "spearman")


class Recorder(Trainer):  # type: ignore[misc]
    """Trainer, with the unrounded loss of each step kept."""

    def training_step(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        loss: torch.Tensor = super().training_step(*args, **kwargs)
        self.losses = [*getattr(self, "losses", []), loss.item()]
        return loss


def scores(predicted: Any, task: str) -> dict[str, float]:
    if task == "stsb":
        pair = predicted.predictions[:, 0].astype(np.float64), predicted.label_ids.astype(np.float64)
        return {"pearson": float(pearsonr(*pair).statistic), "spearman": float(spearmanr(*pair).statistic)}
    if task == "custom":
        pair = predicted.label_ids.astype(int), (predicted.predictions > 0).astype(int)
        averages = {"f1": "macro", "f1_micro": "micro"}
        found = {name: float(f1_score(*pair, average=kind, zero_division=0.0)) for name, kind in averages.items()}
        return {"accuracy": float(accuracy_score(*pair)), **found}
    labels = np.argmax(predicted.predictions, axis=-1)
    found = {"accuracy": accuracy_score(predicted.label_ids, labels)}
    return {**found, "f1": f1_score(predicted.label_ids, labels)} if task == "mrpc" else found


def evaluations_of(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The lines of Trainer's log that are evaluations: their split, if there are two, step, loss and metrics."""
    found = []
    for line in history:
        for split in ("", *MNLI):
            prefix = f"eval_{split}_" if split else "eval_"
            held = {name: line[prefix + name] for name in METRICS if prefix + name in line}
            if "loss" in held:
                name = {"split": "validation" if split == MNLI[0] else split} if split else {}
                found.append({**name, "step": line["step"], **held})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--task", default="mrpc", choices=COLUMNS)
    parser.add_argument("--text-columns", help="those of COLUMNS")
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--max-steps", type=int, default=-1)
    parser.add_argument("--eval-every", default="epoch")
    parser.add_argument("--seed", type=int, default=42)
    args = parser.parse_args()

    scored = MNLI if args.task == "mnli" else ("validation",)
    files = {split: str(next(args.data.glob(f"{split}*"))) for split in ("train", *scored)}
    kind = Path(files["train"]).suffix.lstrip(".").replace("jsonl", "json")
    raw = load_dataset(kind, data_files=files, cache_dir=str(args.output / "cache"))
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    columns, names = COLUMNS[args.task], []
    if args.task == "custom":
        names = sorted({name for row in raw["train"]["label"] for name in row})
        kinds = raw["train"].features | {"label": List(Value("float32"))}
        raw = raw.map(lambda row: {"label": [float(name in row["label"]) for name in names]}, features=Features(kinds))
    tokenised = raw.map(lambda rows: tokenizer(*(rows[name] for name in columns), truncation=True), batched=True)
    set_seed(args.seed)  # the new head is drawn here
    model = AutoModelForSequenceClassification.from_pretrained(
        args.model,
        num_labels=len(names) or NUM_LABELS.get(args.task, 2),
        problem_type="multi_label_classification" if names else None,
        dtype=torch.float32,
    )
    strategy = {"epoch": "epoch", "never": "no"}.get(args.eval_every, "steps")
    trainer = Recorder(
        model=model,
        args=TrainingArguments(
            str(args.output / "trainer"),
            num_train_epochs=args.epochs,
            max_steps=args.max_steps,
            seed=args.seed,
            eval_strategy=strategy,
            eval_steps=int(args.eval_every) if strategy == "steps" else None,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
        ),
        train_dataset=tokenised["train"],
        eval_dataset={split: tokenised[split] for split in scored} if len(scored) > 1 else tokenised[scored[0]],
        data_collator=DataCollatorWithPadding(tokenizer),
        processing_class=tokenizer,
        compute_metrics=functools.partial(scores, task=args.task),
    )
    trainer.train()
    final = trainer.predict(tokenised[scored[0]])
    steps = [line for line in trainer.state.log_history if "loss" in line]
    numbers = {
        "steps": [
            {"step": line["step"], "loss": loss, "grad_norm": line["grad_norm"], "lr": line["learning_rate"]}
            for line, loss in zip(steps, trainer.losses, strict=True)
        ],
        "evaluations": evaluations_of(trainer.state.log_history),
        "final": {
            "step": steps[-1]["step"],
            **{name: final.metrics[f"test_{name}"] for name in METRICS if f"test_{name}" in final.metrics},
        },
    }
    (args.output / "numbers.json").write_text(json.dumps(numbers, indent=1), encoding="utf-8")
    tensors = {f"model/{name}": tensor.clone().contiguous() for name, tensor in model.state_dict().items()}
    save_file({**tensors, "logits": torch.from_numpy(final.predictions)}, args.output / "tensors.safetensors")


if __name__ == "__main__":
    main()
