"""Write a model folder: weights, tokenizer, model card, and a sidecar file with what predict needs."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairft import disk
from pairft.config import Config
from pairft.data.findings import WORDS
from pairft.data.pairs import Pairs
from pairft.tasks import MULTI_LABEL, TASKS, f1_of, scored_splits

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

SIDECAR = "pairft.json"  # its file name


def sidecar(config: Config, pairs: Pairs, max_length: int) -> dict[str, Any]:
    """The content of pairft.json: what predict needs and transformers doesn't save."""
    return {
        "model": config.model,
        "data": config.data,
        "task": config.task,
        "text_columns": pairs.text_columns,
        "label_column": config.label_column or pairs.label_column,
        "problem_type": pairs.problem_type,
        "label_names": pairs.label_names,
        "positive_class": pairs.positive_name,
        "logit_of": pairs.label_names[pairs.one_logit] if pairs.label_names and pairs.one_logit is not None else None,
        "labels_by_number": pairs.by_number,
        "max_length": max_length,
        "truncation": config.truncation,
    }


def save_model(
    folder: Path,
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerFast",
    about: dict[str, Any],
    settings: str,
    weights: dict[str, "Tensor"] | None = None,
) -> None:
    """Write a model folder: weights as safetensors, tokenizer, model card and sidecar. It is written under a temporary
    name and then replaces an older folder atomically.

    `about`: the sidecar's content and the evaluation. `settings`: the config as YAML. `weights`: whole, if they aren't
    the model's own.
    """
    part = folder.with_name(f".{folder.name}.part")
    with disk.removed_on_error(part), disk.disk_errors(folder):
        part.mkdir()  # not save_pretrained, which would recreate a run directory that someone has removed
        model.save_pretrained(part, state_dict=weights)
        tokenizer.save_pretrained(part)
        (part / SIDECAR).write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        (part / "README.md").write_text(model_card(about, settings), encoding="utf-8")
        disk.follow_umask(part, like=part / SIDECAR)
        disk.replace_atomically(part, folder)


def model_card(about: dict[str, Any], settings: str) -> str:
    """The README of a model folder: inputs and outputs, scores and settings."""
    splits = [split for split in scored_splits(TASKS[about["task"]].splits) if split in about]
    shown = {"f1": f1_of(about["positive_class"])}
    head = ["value"] if len(splits) == 1 else splits
    rows = [[shown.get(name, name), *(f"{about[split][name]:.4f}" for split in splits)] for name in about["validation"]]
    scores = "\n".join("| " + " | ".join(row) + " |" for row in (["metric", *head], ["---"] * (1 + len(head)), *rows))
    columns = " and ".join(f"`{column}`" for column in about["text_columns"])
    labels = ", ".join(about["label_names"]) if about["label_names"] else "a number (regression)"
    if about["problem_type"] == MULTI_LABEL:
        labels = f"any of {labels} (multi-label)"
    if about.get("logit_of") is not None:
        labels += f", with one logit, whose sigmoid is the probability of {about['logit_of']}"
    return f"""---
library_name: transformers
pipeline_tag: text-classification
tags: [pairft]
---

# {about["model"]} fine-tuned on {about["data"]} ({about["task"]})

Reads {columns}, up to {about["max_length"]} tokens; answers: {labels}.
Trained for {about["step"]} steps ({about["epoch"]:.2f} epochs). Scores on {" and ".join(splits)}:

{scores}
{data_checks(about.get("audit", {}))}
Settings:

```yaml
{settings.strip()}
```
"""


def data_checks(counts: dict[str, dict[str, int]]) -> str:
    """What is wrong with the data, in numbers alone: the data may be private."""
    if not counts:
        return ""
    lines = [
        f"| {WORDS[what][2]} | {split} | {count} |"
        for what, splits in counts.items()
        for split, count in splits.items()
    ]
    return "\n".join(["", "What is wrong with the data:", "", "| | split | count |", "|---|---|---|", *lines, ""])
