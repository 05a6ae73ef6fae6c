"""A model folder: weights and tokenizer, a model card, and a sidecar with what predict needs."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairft import disk
from pairft.config import Config
from pairft.data.pairs import Pairs
from pairft.tasks import f1_of, positive_name

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

SIDECAR = "pairft.json"  # its name in the folder


def sidecar(config: Config, pairs: Pairs, max_length: int) -> dict[str, Any]:
    """What predict needs beyond what transformers keeps in a model folder."""
    return {
        "model": config.model,
        "data": config.data,
        "task": config.task,
        "text_columns": pairs.text_columns,
        "label_column": pairs.label_column,
        "label_names": pairs.label_names,
        "positive_class": positive_name(pairs.label_names),
        "labels_by_number": pairs.by_number,
        "max_length": max_length,
    }


def save_model(
    folder: Path,
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerFast",
    about: dict[str, Any],
    settings: str,
) -> None:
    """Write a model folder: weights as safetensors, tokenizer, card and sidecar; under another name first, so that it
    replaces an older one whole. `about`: the sidecar and the evaluation; `settings`: the config as YAML."""
    part = folder.with_name(f".{folder.name}.part")
    with disk.removed_on_error(part), disk.disk_errors(folder):
        part.mkdir()  # save_pretrained would make the run's folder anew where someone has removed it
        model.save_pretrained(part)
        tokenizer.save_pretrained(part)
        (part / SIDECAR).write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        (part / "README.md").write_text(model_card(about, settings), encoding="utf-8")
        disk.follow_umask(part, like=part / SIDECAR)
        disk.replace_atomically(part, folder)


def model_card(about: dict[str, Any], settings: str) -> str:
    """The README of a model folder: what it answers, how well it did, and how it was trained."""
    shown = {"f1": f1_of(about["positive_class"])}
    scores = "\n".join(f"| {shown.get(name, name)} | {value:.4f} |" for name, value in about["validation"].items())
    columns = " and ".join(f"`{column}`" for column in about["text_columns"])
    labels = ", ".join(about["label_names"]) if about["label_names"] else "a number (regression)"
    return f"""---
library_name: transformers
pipeline_tag: text-classification
tags: [pairft]
---

# {about["model"]} fine-tuned on {about["data"]} ({about["task"]})

Reads {columns}, up to {about["max_length"]} tokens; answers: {labels}.
Trained for {about["step"]} steps ({about["epoch"]:.2f} epochs). On the validation split:

| metric | value |
|---|---|
{scores}

Settings:

```yaml
{settings.strip()}
```
"""
