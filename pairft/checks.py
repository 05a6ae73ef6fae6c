"""Checks that settings are in range and that their combination makes sense."""

import math
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from pairft.config import FIELDS, PRESETS, Config
from pairft.errors import UserError
from pairft.parsing import closest, flag_of
from pairft.tasks import TASKS

AT_LEAST_1 = (
    *("epochs", "max_steps", "batch_size", "max_tokens", "shuffle_buffer", "accumulate", "max_length", "limit"),
    *("processes", "lora_rank", "lora_alpha", "patience"),
    *("log_every", "eval_every", "save_every"),
)
SEEDS = 2**32  # the number of seeds that numpy takes


def resolve(given: dict[str, Any]) -> Config:
    """The complete config, checked. Given settings (flags over file) take precedence over the preset, and the preset
    over the defaults."""
    preset = given.get("preset")
    if preset is not None and preset not in PRESETS:
        raise UserError(f"--preset is {preset!r}, but should be one of: {', '.join(PRESETS)}")
    config = Config(**{**(PRESETS[preset] if preset else {}), **given})
    check(config)
    return config


def check(config: Config) -> None:
    """Raise one UserError that names every problem."""
    problems = [
        *wrong_choices(config),
        *without_training(config),
        *outside_ranges(config),
        *wrong_seeds(config),
        *wrong_folds(config),
        *wrong_columns(config),
        *wrong_problem(config),
        *wrong_names(config),
        *wrong_streaming(config),
        *wrong_encoder_settings(config),
    ]
    if config.capture == "always" and config.deterministic:
        problems.append("--capture always and --deterministic exclude each other: a resume would capture other steps")
    if config.preset == "trainer" and config.max_tokens is not None:
        problems.append("--preset trainer and --max-tokens exclude each other: Trainer's batches have a fixed size")
    if problems:
        raise UserError("\n  ".join(problems))


def wrong_choices(config: Config) -> Iterator[str]:
    """A line for each value that is not among its setting's choices."""
    for name, f in FIELDS.items():
        value, choices = getattr(config, name), f.metadata["choices"]
        if choices and value is not None and value not in choices:
            hint = closest(value, choices)
            yield f"{flag_of(name)} is {value!r}, but should be one of: {', '.join(choices)}{hint}"


def without_training(config: Config) -> Iterator[str]:
    """A line for a task that has no training data."""
    task = TASKS.get(config.task)
    if task is not None and task.model_of is not None:
        yield (
            f"--task {config.task} has no training data: train with --task {task.model_of}, then predict its file with "
            f"python -m pairft.predict --task {config.task} --model runs/RUN/best --data FILE --output FILE"
        )


def outside_ranges(config: Config) -> Iterator[str]:
    """A line for each number outside its range."""
    for name in AT_LEAST_1:
        value = getattr(config, name)
        if isinstance(value, int) and value < 1:
            yield f"{flag_of(name)} is {value}, but should be at least 1"
    for name in ("lr", "max_grad_norm", "timeout"):
        value = getattr(config, name)
        if not 0 < value < math.inf:
            yield f"{flag_of(name)} is {value}, but should be above 0 and finite"
    if not 0 <= config.warmup_ratio <= 1:
        yield f"--warmup-ratio is {config.warmup_ratio}, but should be from 0 to 1"
    if config.validation_share is not None and not 0 < config.validation_share < 1:
        yield f"--validation-share is {config.validation_share}, but should be between 0 and 1"
    if not 0 < config.layer_decay <= 1:
        yield f"--layer-decay is {config.layer_decay}, but should be above 0 and at most 1 (no decay)"
    if not 0 <= config.label_smoothing < 1:
        yield f"--label-smoothing is {config.label_smoothing}, but should be at least 0 and below 1"
    if not 0 <= config.weight_decay < math.inf:
        yield f"--weight-decay is {config.weight_decay}, but should be at least 0 and finite"


def wrong_seeds(config: Config) -> Iterator[str]:
    """A line for each seed out of range, and one if --seeds is empty or names a seed twice."""
    for name, seeds in (("seed", (config.seed,)), ("seeds", config.seeds or ())):
        for seed in seeds:
            if not 0 <= seed < SEEDS:
                yield f"{flag_of(name)} is {seed}, but should be from 0 to {SEEDS - 1}"
    if config.seeds is not None and len(set(config.seeds)) < max(1, len(config.seeds)):
        yield f"--seeds is {','.join(map(str, config.seeds))!r}, but should name each seed once"


def wrong_folds(config: Config) -> Iterator[str]:
    """What is wrong with --folds, with the fold of a run, and with --group-column."""
    folds, group = config.folds, config.group_column
    if folds is not None and folds < 2:
        yield f"--folds is {folds}, but should be at least 2"
    if folds is not None and config.seeds is not None:
        yield "--folds and --seeds exclude each other: start a cross-validation for each --seed"
    if config.fold is not None and not 1 <= config.fold <= (folds or 0):
        yield f"the setting fold is {config.fold}, but should be from 1 to the number of --folds ({folds})"
    if group is not None and folds is None:
        yield "--group-column keeps groups together in --folds: add --folds, or leave it out"
    if group is not None and config.task in TASKS and group in config.label_columns:
        yield f"--group-column is {group!r}, which is the label column: name another"


def wrong_columns(config: Config) -> Iterator[str]:
    """What is wrong with the text columns and the label column."""
    columns, task = config.text_columns, TASKS.get(config.task)
    if columns is not None and (len(columns) not in (1, 2) or not all(columns)):
        yield f"--text-columns is {','.join(columns)!r}, but should name one or two columns"
    if columns is not None and len(set(columns)) < len(columns):
        yield f"--text-columns names {columns[0]!r} twice"
    labels = config.label_columns if task else ()
    for label_column in labels:
        if label_column in (columns or (task and task.text_columns) or ()):
            yield f"--text-columns names {label_column!r}, which is the label column: name another with --label-column"
    if len(set(labels)) < len(labels) or not all(labels):
        yield f"--label-column is {config.label_column!r}, but should name each column once"
    if task and len(labels) > 1:
        remedy = "put a name that contains a comma in double quotes"
        if not task.is_open or task.regression:
            yield f"--label-column names {len(labels)} columns (multi-label): use --task custom, or {remedy}"
        for name in ("regression", "classification"):
            if getattr(config, name):
                yield f"--label-column names {len(labels)} columns (multi-label): leave out {flag_of(name)} or {remedy}"
    if config.truncation == "second" and len(columns or (task and task.text_columns) or "ab") == 1:
        yield "--truncation second: there is only one text column; choose longest or head-tail"
    if config.task == "custom" and columns is None:
        yield "--task custom needs --text-columns, for example --text-columns question,answer"


def wrong_problem(config: Config) -> Iterator[str]:
    """What is wrong with --regression and --classification."""
    task = TASKS.get(config.task)
    flags = [flag_of(name) for name in ("regression", "classification") if getattr(config, name)]
    if len(flags) == 2:
        yield "--regression and --classification exclude each other: leave one out"
    elif flags and task is not None and not task.is_open:
        names = ", ".join(name for name, row in TASKS.items() if row.is_open)
        yield f"{flags[0]} is for tasks whose labels may be either ({names}): leave it out with --task {config.task}"


def wrong_names(config: Config) -> Iterator[str]:
    """What is wrong with --run-name, --push-to-hub, --track, --model, --data and --runs-dir."""
    if config.run_name is not None:
        yield from run_name_problems(config.run_name)
    if config.push_to_hub is not None:
        if problem := repository_problem(config.push_to_hub):
            yield f"--push-to-hub is {config.push_to_hub!r}, but {problem}"
        if config.is_group:
            yield (
                "--push-to-hub uploads one model, but --seeds and --folds train several: leave it out, then upload one "
                "with python -m pairft.push"
            )
    if config.track and config.track in FIELDS["track"].metadata["choices"] and find_spec(config.track) is None:
        yield f"--track {config.track} needs {config.track}: pip install 'pairft[{config.track}]'"
    for name in ("model", "data", "data_config", "revision", "group_column", "runs_dir"):
        if getattr(config, name) is not None and not getattr(config, name).strip():
            yield f"{flag_of(name)} is empty"


def repository_problem(name: str) -> str | None:
    """What is wrong with the name of a repository on the Hub, if anything."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(name)
    except HFValidationError:
        return (
            "should be NAME or ORGANISATION/NAME: up to 96 letters, digits, '-', '_' and '.', without '--' and '..', "
            "and without '-', '.' or '.git' at its ends"
        )
    return None


def run_name_problems(name: str) -> list[str]:
    """What is wrong with a --run-name, if anything."""
    plain = name and not name.startswith(".") and not set(name) & set('/\\:*?"<>|\0') and name == name.strip()
    if plain and len(name.encode()) <= 200:  # most file systems allow 255 bytes; leave room for a suffix
        return []
    return [f"--run-name is {name!r}, but should be a plain folder name; --runs-dir is the folder that contains it"]


def wrong_streaming(config: Config) -> Iterator[str]:
    """What --streaming lacks, and what it excludes."""
    if not config.streaming:
        return
    if config.max_steps is None:
        yield "--streaming needs --max-steps: it doesn't count the rows, and so not the steps of --epochs"
    if config.task in TASKS and len(config.label_columns) > 1:
        yield "--streaming takes one label column: write the labels of a row as a list"
    excluded = {"--preset trainer": config.preset, "--limit": config.limit, "--class-weights": config.class_weights}
    excluded |= {"--audit": config.audit or None, "--folds": config.folds}
    for flag, value in excluded.items():
        if value is not None:
            yield f"--streaming and {flag} exclude each other: leave one out"
    if config.drop_bad_rows:
        yield "--streaming can't leave out rows, as --drop-bad-rows asks: remove them, or leave out --streaming"


def wrong_encoder_settings(config: Config) -> Iterator[str]:
    """Which settings of the encoder's training exclude others."""
    if config.one_logit and config.preset == "trainer":
        yield "--one-logit and --preset trainer exclude each other: Trainer has a logit for each class"
    if config.gradient_checkpointing and config.capture == "always":
        yield "--gradient-checkpointing and --capture always exclude each other: leave one out"
    if config.lora_rank is None:
        if config.lora_alpha is not None:
            yield f"--lora-alpha {config.lora_alpha} needs --lora-rank"
        return
    if config.freeze is not None:
        yield "--lora-rank and --freeze exclude each other: LoRA freezes all but its adapters and the head"
    if config.shard == "full":
        yield "--lora-rank and --shard full exclude each other: leave one out"
    if find_spec("peft") is None:
        yield "--lora-rank needs peft: pip install 'pairft[lora]' (or pip install peft)"
