"""Every setting of a run, with its type, default, meaning and choices.

The flags, the keys of a YAML file (flags.py) and the table in docs/flags.md all come from `Config`; checks.py checks
ranges and combinations.
"""

import dataclasses
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pairft import parsing
from pairft.parsing import Interval, columns_in
from pairft.tasks import TASKS


def setting(default: Any, text: str, choices: Sequence[str] = (), flag: bool = True, kept: bool = True) -> Any:
    """A field of Config. `flag`: it has a command line flag. `kept`: it is saved in a run's config.yaml."""
    return field(default=default, metadata={"help": text, "choices": tuple(choices), "flag": flag, "kept": kept})


@dataclass(frozen=True)
class Config:
    """The settings of one run. The field `batch_size` has the flag `--batch-size` and the YAML key `batch_size`."""

    config: str | None = setting(None, "YAML file with any of these settings; flags take precedence", kept=False)
    model: str = setting(
        "google-bert/bert-base-uncased", "Hub id, local folder, or 'builtin': the small encoder of a PyPI package"
    )
    task: str = setting("mrpc", "row of the task table; 'custom' takes its columns from flags", choices=tuple(TASKS))
    data: str = setting(
        "nyu-mll/glue",
        "Hub id; file (parquet, arrow, feather, xlsx, csv, tsv, json, jsonl; text also as .gz, .zst, .zip); "
        "train=FILE,validation=FILE,test=FILE; folder with train.*, validation.*, test.*; folder of save_to_disk; or "
        "'builtin': generated pairs",
    )
    data_config: str | None = setting(None, "configuration of a Hub dataset that has several")
    revision: str | None = setting(None, "branch, tag or commit of a Hub dataset")
    validation_share: float | None = setting(
        None,
        "share of the training split to hold out if there is no validation split; default: 10 %, or 200 rows if "
        "that is more and leaves as many to train on",
    )
    text_columns: tuple[str, ...] | None = setting(
        None, "one or two columns of sentences, comma-separated; put a name that contains a comma in double quotes"
    )
    label_column: str | None = setting(
        None, "column of the labels; or several columns of 0 and 1, comma-separated: one for each label (multi-label)"
    )
    regression: bool = setting(False, "labels are values, even if all are whole numbers (custom, nli, sts)")
    classification: bool = setting(False, "labels are classes, even if they are numbers (custom, nli, sts)")
    positive_class: str | None = setting(
        None, "name of the class that F1 is about; default: of two, the one whose name affirms; of more, all (macro)"
    )
    class_weights: str | None = setting(
        None, "'balanced': every class counts the same in the training loss", choices=("balanced",)
    )
    label_smoothing: float = setting(0.0, "share of each training label that is spread over all classes")
    limit: int | None = setting(None, "rows of each split, the first ones, for a first try; default: all")
    drop_bad_rows: bool = setting(
        False, "leave out rows without text or label, which are an error otherwise; those of a test split stay"
    )
    audit: bool = setting(False, "show everything that looks wrong with the data, with row numbers, then train")
    new_head: bool = setting(False, "draw a new head; without it, a head with labels other than the data's is an error")
    one_logit: bool = setting(
        False, "two classes with one logit, whose sigmoid is the probability of the positive class, as in CrossEncoder"
    )
    epochs: int = setting(3, "passes over the training data")
    max_steps: int | None = setting(None, "optimizer steps; takes precedence over --epochs")
    batch_size: int = setting(8, "examples per micro-batch and process")
    max_tokens: int | None = setting(
        None,
        "tokens per micro-batch instead of --batch-size examples, padding not counted; an example that is longer is a "
        "micro-batch of its own",
    )
    streaming: bool = setting(
        False,
        "read and tokenise the training files as training goes, not before; needs --max-steps and a validation split",
    )
    shuffle_buffer: int = setting(10_000, "rows of the blocks in which --streaming shuffles")
    accumulate: int = setting(1, "micro-batches per step and process; the gradient is the mean over all their examples")
    lr: float = setting(5e-5, "peak learning rate of AdamW")
    warmup_ratio: float = setting(0.0, "fraction of the steps that warm up the learning rate from 0")
    schedule: str = setting(
        "linear",
        "of the learning rate after the warmup: falls to 0 linearly or as half a cosine, or is constant",
        choices=("linear", "cosine", "constant"),
    )
    layer_decay: float = setting(
        1.0, "factor on the learning rate from each layer to the one below it; above the last layer it is --lr"
    )
    freeze: tuple[str, ...] | None = setting(
        None, "weights not to train, comma-separated: embeddings, layers.3, layers.0-3, or names of the model's modules"
    )
    weight_decay: float = setting(0.01, "AdamW's weight decay, on weight matrices only: none on biases and norms")
    lora_rank: int | None = setting(
        None, "train adapters of this rank beside the layers' linear modules (LoRA), and the head; needs peft"
    )
    lora_alpha: int | None = setting(None, "factor on the adapters, divided by the rank; default: twice --lora-rank")
    max_grad_norm: float = setting(1.0, "gradients are clipped to this L2 norm")
    gradient_checkpointing: bool = setting(
        False, "compute each layer again in the backward pass: less memory, more time, the same numbers"
    )
    max_length: int | None = setting(None, "tokens per pair; longer ones are truncated; default: the model's limit")
    truncation: str = setting(
        "longest",
        "what to cut from a pair that is too long: the longer sentence first, only the first sentence, only the "
        "second, or, of both, the middle",
        choices=("longest", "first", "second", "head-tail"),
    )
    precision: str = setting(
        "auto",
        "of the forward pass; auto: on CUDA bf16 if the hardware supports it, else fp16; elsewhere fp32",
        choices=("auto", "fp32", "bf16", "fp16"),
    )
    preset: str | None = setting(
        None, "'trainer': the hyperparameters and random draws of HF Trainer with its defaults", choices=("trainer",)
    )
    device: str = setting("auto", "auto: CUDA if available, else the CPU", choices=("auto", "cpu", "cuda", "mps"))
    unpad: str = setting(
        "auto",
        "padding-free batches, if the architecture supports them; auto: not on CUDA, where it has not been run yet",
        choices=("auto", "always", "never"),
    )
    capture: str = setting(
        "auto",
        "capture the step as CUDA graphs and replay them; auto: never, since it has not been run on a GPU yet",
        choices=("auto", "always", "never"),
    )
    shard: str = setting("none", "full: share out weights and moments to processes (FSDP2)", choices=("none", "full"))
    deterministic: bool = setting(False, "bit-reproducible kernels on CUDA")
    tf32: bool = setting(False, "TF32 matmuls in fp32 on CUDA")
    eval_every: Interval = setting("epoch", "steps between evaluations, 'epoch' or 'never'; always after the last step")
    save_every: Interval = setting("epoch", "steps between checkpoints, 'epoch' or 'never'; always after the last step")
    log_every: int = setting(10, "steps between log lines")
    patience: int | None = setting(
        None, "stop early, after this many evaluations in a row that have not beaten the best one; default: never"
    )
    dry_run: bool = setting(
        False, "try a few steps, say what the run will take in time, memory and disk, and leave nothing", kept=False
    )
    profile: bool = setting(
        False, "trace a few steps with torch's profiler, into profile/, and show the costliest operations", kept=False
    )
    timeout: float = setting(600.0, "seconds that one of several processes waits for another before the run ends")
    processes: int = setting(1, "the number of processes that the run was started with", flag=False)
    seed: int = setting(42, "seed of the new weights, the order of examples and dropout")
    seeds: tuple[int, ...] | None = setting(
        None, "comma-separated; one run per seed, in seed-… folders, and summary.json; takes precedence over --seed"
    )
    folds: int | None = setting(
        None,
        "cross-validation: one run per fold of the training split, in fold-… folders, with out_of_fold.csv, "
        "label_errors.csv and summary.json",
    )
    fold: int | None = setting(None, "the fold that this run holds out, from 1 to --folds", flag=False)
    group_column: str | None = setting(
        None, "with --folds: rows with the same value in this column stay in one fold, as equal pairs always do"
    )
    runs_dir: str = setting("runs", "folder that holds the run directories")
    run_name: str | None = setting(None, "name of the run directory in --runs-dir; default: generated", kept=False)
    push_to_hub: str | None = setting(
        None, "repository on the Hub, NAME or ORGANISATION/NAME: after training, best/ is uploaded to it, as private"
    )
    track: str | None = setting(
        None, "send settings and curves to this tracker, too; needs its package", choices=("wandb", "mlflow", "trackio")
    )
    report: bool = setting(True, "write report.html at the end: scores, curves, mistakes, settings, in one file")
    resume: bool = setting(
        False, "resume from --run-name's newest checkpoint; without a name, the newest unfinished run", kept=False
    )
    fallback: bool = setting(False, "the Hub could not be reached: the builtin model and pairs were used", flag=False)

    @property
    def is_group(self) -> bool:
        """Whether these are the settings of several runs: one per seed, or one per fold."""
        return self.seeds is not None or (self.folds is not None and self.fold is None)

    @property
    def label_columns(self) -> tuple[str, ...]:
        """The label columns: the task's, unless --label-column names one or several."""
        return (TASKS[self.task].label_column,) if self.label_column is None else columns_in(self.label_column)


PRESETS: dict[str, dict[str, Any]] = {
    "trainer": {
        "batch_size": 8,
        "lr": 5e-5,
        "warmup_ratio": 0.0,
        "weight_decay": 0.0,
        "precision": "fp32",
        "unpad": "never",
    }
}

# Settings that --resume may change. With any other change it would be a different run.
MAY_CHANGE = (
    *("epochs", "max_steps", "eval_every", "save_every", "log_every", "patience", "device", "capture"),
    *("timeout", "runs_dir", "audit", "push_to_hub", "report", "track"),
    # Where model and data are; fingerprints in the manifest tell whether the content is the same.
    *("model", "data", "data_config", "revision"),
)

FIELDS = {f.name: f for f in dataclasses.fields(Config)}
TYPES = typing.get_type_hints(Config)


def parse_value(name: str, value: Any) -> Any:
    """A setting's value, from the text of a flag or from a value in YAML. Raises UserError if it has another type."""
    return parsing.parse(name, value, TYPES[name])


def values(config: Config) -> dict[str, Any]:
    """The settings that a run's config.yaml holds: all but --config, --run-name and --resume."""
    return {name: getattr(config, name) for name, f in FIELDS.items() if f.metadata["kept"]}


def to_yaml(config: Config) -> str:
    """The settings of a run's config.yaml as YAML text, which `flags.read_file` reads back unchanged."""
    import yaml

    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in values(config).items()}
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
