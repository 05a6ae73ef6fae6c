"""The job as a script of the Hugging Face course does it, with Trainer: one process of compare_trainer.py.

It imports what such a notebook imports, tokenises with dynamic padding, evaluates after every epoch, and writes what it
measured as JSON.
"""

import argparse
import json
import time
from pathlib import Path

import evaluate  # noqa: F401  (the notebook's import, paid for although its scripts are not downloaded here)
import numpy as np
from datasets import load_dataset
from sklearn.metrics import accuracy_score, f1_score
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

parser = argparse.ArgumentParser()
for flag in ("--model", "--data", "--output", "--folder"):
    parser.add_argument(flag, required=True)
parser.add_argument("--epochs", type=int, default=3)
parser.add_argument("--max-steps", type=int, default=-1)
parser.add_argument("--batch-size", type=int, default=8)
parser.add_argument("--seed", type=int, default=42)
parser.add_argument("--group-by-length", action="store_true")
args = parser.parse_args()


class FirstStep(TrainerCallback):
    """When the first step ended."""

    ended: float | None = None

    def on_step_end(self, *_, **__):
        self.ended = self.ended or time.time()


def score(predicted):
    labels = np.argmax(predicted.predictions, axis=-1)
    return {
        "accuracy": accuracy_score(predicted.label_ids, labels),
        "f1": f1_score(predicted.label_ids, labels),
    }


files = {split: f"{args.data}/{split}-00000-of-00001.parquet" for split in ("train", "validation")}
raw = load_dataset("parquet", data_files=files)
tokenizer = AutoTokenizer.from_pretrained(args.model)
tokenised = raw.map(lambda rows: tokenizer(rows["sentence1"], rows["sentence2"], truncation=True), batched=True)
model = AutoModelForSequenceClassification.from_pretrained(args.model, num_labels=2)
first, pad = FirstStep(), DataCollatorWithPadding(tokenizer)
slots, real = [], []  # of each training batch: tokens with padding, and without


def collate(rows):
    batch = pad(rows)
    if trainer.model.training:
        slots.append(batch["attention_mask"].numel())
        real.append(int(batch["attention_mask"].sum()))
    return batch


trainer = Trainer(
    model=model,
    args=TrainingArguments(
        args.folder,
        num_train_epochs=args.epochs,
        max_steps=args.max_steps,
        per_device_train_batch_size=args.batch_size,
        seed=args.seed,
        train_sampling_strategy="group_by_length" if args.group_by_length else "random",
        eval_strategy="epoch",
        save_strategy="no",  # its seconds would count the saving; pairft's don't
        use_cpu=True,
        disable_tqdm=True,
    ),
    train_dataset=tokenised["train"],
    eval_dataset=tokenised["validation"],
    data_collator=collate,
    processing_class=tokenizer,
    compute_metrics=score,
    callbacks=[first],
)
trainer.train()
trainer.save_model(f"{args.folder}/last")
evaluations = [line for line in trainer.state.log_history if "eval_loss" in line]
evaluating = sum(line["eval_runtime"] for line in evaluations)  # the scores among it
summary = next(line for line in reversed(trainer.state.log_history) if "train_runtime" in line)
seconds = summary["train_runtime"] - evaluating
examples = min(trainer.state.global_step * args.batch_size, round(summary["epoch"] * len(tokenised["train"])))
with Path(args.output).open("w", encoding="utf-8") as file:
    json.dump(
        {
            "first_step_ended": first.ended,
            "late_imports": 0.0,
            "padding": 1 - sum(real) / sum(slots),
            "steps": trainer.state.global_step,
            "train_seconds": seconds,
            "train_examples_per_second": examples / seconds,
            "eval_examples_per_second": len(evaluations) * len(tokenised["validation"]) / evaluating,
            "accuracy": evaluations[-1]["eval_accuracy"],
            "f1": evaluations[-1]["eval_f1"],
        },
        file,
    )
