"""Write a model folder: weights, tokenizer, model card, and sidecar files with what predict needs."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairft import disk
from pairft.config import Config
from pairft.data.pairs import Pairs
from pairft.model.card_metadata import name_of
from pairft.model.card_text import model_card
from pairft.tasks import MULTI_LABEL, REGRESSION, SINGLE_LABEL, scored_splits

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

SIDECAR = "pairft.json"  # its file name
CALIBRATION = "calibration.json"  # the file name of what pairft/training/calibration.py finds
ONE_LOGIT = "one logit"  # of two classes (--one-logit)
# What sentence-transformers' CrossEncoder applies to the logits. By default it would squash the score of a regression.
ACTIVATIONS = {
    REGRESSION: "torch.nn.modules.linear.Identity",
    SINGLE_LABEL: "torch.nn.modules.linear.Identity",  # as by default; a base model may have had another one
    MULTI_LABEL: "torch.nn.modules.activation.Sigmoid",
    ONE_LOGIT: "torch.nn.modules.activation.Sigmoid",
}


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
        "held_out": pairs.held_out,
        "scored_rows": {split: len(pairs.splits[split]) for split in scored_splits(pairs.splits)},
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
    """Write a model folder: weights as safetensors, tokenizer, model card, sidecar and, if there is one, calibration.
    It is written under a temporary name and then replaces an older folder atomically.

    `about`: the sidecar's content and the evaluation, whose calibration has a file of its own. `settings`: the config
    as YAML. `weights`: whole, if they aren't the model's own.
    """
    part = folder.with_name(f".{folder.name}.part")
    with disk.removed_on_error(part), disk.disk_errors(folder):
        part.mkdir()  # not save_pretrained, which would recreate a run directory that someone has removed
        model.save_pretrained(part, state_dict=weights)
        set_activation(part / "config.json", ONE_LOGIT if about["logit_of"] else about["problem_type"])
        tokenizer.save_pretrained(part)
        calibration = about.get("calibration")
        shown = {name: value for name, value in about.items() if name != "calibration"}
        files = {SIDECAR: shown | {key: name_of(about[key]) for key in ("model", "data")}}
        for name, content in (files if calibration is None else {**files, CALIBRATION: calibration}).items():
            (part / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        (part / "README.md").write_text(model_card(about, settings), encoding="utf-8")
        disk.follow_umask(part, like=part / SIDECAR)
        disk.replace_atomically(part, folder)


def set_activation(file: Path, problem_type: str) -> None:
    """Add to a saved config.json what CrossEncoder applies to the logits. The model's own config stays as it is."""
    config = json.loads(file.read_text(encoding="utf-8"))
    config.pop("sbert_ce_default_activation_function", None)  # of sentence-transformers before version 4
    config["sentence_transformers"] = {"activation_fn": ACTIVATIONS[problem_type]}
    file.write_text(json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
