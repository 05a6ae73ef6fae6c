"""The metadata of a model card, which the Hub reads: task, data, scores, base model and licence."""

import contextlib
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairft import disk
from pairft.config import Config
from pairft.data import builtin, hub
from pairft.data.retries import hub_file
from pairft.tasks import MULTI_LABEL, TASKS, scored_splits

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

BUILTIN_MODEL = "sentence-transformers/all-MiniLM-L6-v2"  # what the package holds
# The names of our metrics among those of https://hf.co/metrics, and for people.
METRICS = {
    "accuracy": ("accuracy", "Accuracy"),
    "f1": ("f1", "F1"),
    "f1_micro": ("f1", "Micro F1"),
    "matthews": ("matthews_correlation", "Matthews correlation"),
    "pearson": ("pearsonr", "Pearson correlation"),
    "spearman": ("spearmanr", "Spearman correlation"),
}
LICENSE_KEYS = ("license", "license_name", "license_link")


def name_of(source: str) -> str:
    """A model or data set for people: a Hub id as it is, of a path the last part, since folders may be private."""
    if source == "builtin" or hub.is_hub_id(source):
        return source
    return ", ".join(Path(part).name for part in source.split(",")) or source


def title(about: Mapping[str, Any]) -> str:
    """Model and data in a line, for the heading and for the model's entry on the Hub."""
    model = BUILTIN_MODEL if about["model"] == "builtin" else name_of(about["model"])
    data = "pairft's generated pairs" if about["data"] == "builtin" else name_of(about["data"])
    if about["data"] != "builtin" and about["task"] != "custom":
        data += f" ({about['task']})"
    return f"{model} fine-tuned on {data}"


def front_matter(about: dict[str, Any], config: Config) -> str:
    """The metadata as YAML, without the lines that enclose it. `about`: the sidecar's content and the evaluation."""
    from huggingface_hub import ModelCardData

    results = eval_results(about, config)
    data = hub.canonical_data(about["data"])
    metadata = ModelCardData(
        base_model=base_model(about["model"]),
        datasets=[data] if is_on_hub(data) else None,
        eval_results=results,
        library_name="transformers",
        metrics=list(dict.fromkeys(result.metric_type for result in results)),
        model_name=title(about),
        pipeline_tag="text-classification",
        tags=["pairft"],
        **{key: value for key, value in base_metadata(about["model"]).items() if key in LICENSE_KEYS},
    )
    return metadata.to_yaml()


def is_on_hub(data: str) -> bool:
    return data != "builtin" and hub.is_hub_id(data)


def base_model(model: str) -> str | None:
    """The Hub id of the model that was fine-tuned, or None for a local folder."""
    if model == "builtin":
        return BUILTIN_MODEL
    return model if hub.is_hub_id(model) else None


@functools.cache  # a run saves its model several times
def base_metadata(model: str) -> dict[str, Any]:
    """The metadata in the base model's own card; {} if it has none or can't be read."""
    from huggingface_hub import ModelCard

    with contextlib.suppress(Exception):  # whatever is wrong with the card of another model, this one is trained
        path: Path | None = disk.expanded(model) / "README.md"
        if model == "builtin":
            path = builtin.model_folder() / "README.md"
        elif hub.is_hub_id(model):
            path = hub_file(model, "README.md", retry=False)
        if path is not None and path.is_file():
            found: dict[str, Any] = ModelCard.load(path, ignore_metadata_errors=True).data.to_dict()
            return found
    return {}


def eval_results(about: dict[str, Any], config: Config) -> list["EvalResult"]:
    """The scores of each split, as the Hub shows them."""
    from huggingface_hub import EvalResult

    task, data = TASKS[about["task"]], hub.canonical_data(about["data"])
    on_hub = is_on_hub(data)
    named = name_of(data) + (f" ({config.task})" if task.glue_config else "")
    named += ", held-out rows" if about.get("held_out") else ""
    averaged = {"average": "macro"} if about["problem_type"] == MULTI_LABEL or about["positive_class"] is None else None
    results = []
    for split in scored_splits(task.splits):
        for name in [name for name in about.get(split, {}) if name in METRICS]:
            metric, shown = METRICS[name]
            if name == "f1" and about["positive_class"] is not None:
                shown += f" of {about['positive_class']!r}"
            results.append(
                EvalResult(
                    task_type="text-classification",
                    task_name="Sentence pair classification" if len(about["text_columns"]) == 2 else None,
                    dataset_type=data if on_hub else "unknown",
                    dataset_name=named,
                    dataset_config=hub.data_config_of(config) if on_hub else None,
                    dataset_split=rows_scored(about, config, split, task.splits[split] if on_hub else split),
                    dataset_revision=config.revision if on_hub else None,
                    metric_type=metric,
                    metric_name=shown,
                    metric_value=about[split][name],
                    metric_args={"average": "micro"} if name == "f1_micro" else averaged if name == "f1" else None,
                )
            )
    return results


def rows_scored(about: Mapping[str, Any], config: Config, split: str, named: str) -> str:
    """The split that was scored, by its name at the source, or the part of it that --limit left, as `datasets` writes
    it. Held-out rows are from train: as scores on a validation split, they would be compared with other models'."""
    if about.get("held_out"):
        return "train"
    return f"{named}[:{config.limit}]" if about.get("scored_rows", {}).get(split, 0) == config.limit else named
