"""The space of a search: a YAML file that names settings, each with a range or with choices, and fixed ones."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

from pairft import checks, effects, flags
from pairft.config import FIELDS, TYPES, Config, parse_value
from pairft.errors import UserError
from pairft.parsing import closest, flag_of, in_text

# The settings of a recipe. Another data set, other rows or columns would change what is scored, so that the scores of
# two trials could not be compared; the seed is not a recipe.
SEARCHABLE = (
    *("model", "one_logit", "class_weights", "label_smoothing", "epochs", "max_steps", "patience", "batch_size"),
    *("max_tokens", "accumulate", "lr", "warmup_ratio", "schedule", "layer_decay", "freeze", "weight_decay"),
    *("lora_rank", "lora_alpha", "max_grad_norm", "max_length", "truncation", "precision"),
)
BASE = "base"  # the key of the fixed settings
EXAMPLE = "{low: 1e-5, high: 1e-4, log: true} or a list of values"


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included: whole ones if both are ints."""

    low: float
    high: float
    log: bool = False  # drawn uniformly on a logarithmic scale

    @property
    def whole(self) -> bool:
        return isinstance(self.low, int)


Values = Range | tuple[Any, ...]  # of one setting; choices are None, booleans, numbers or text, as Optuna stores them


def read_space(path: Path) -> tuple[dict[str, Values], dict[str, Any]]:
    """The values to search by setting, and the fixed settings, parsed. Raises one UserError that names every
    problem."""
    content = flags.read_yaml(path)
    fixed = content.pop(BASE, None) or {}
    if not isinstance(fixed, dict):
        raise UserError(f"{path}: {BASE} should hold settings, one 'key: value' per line")
    space: dict[str, Values] = {}
    problems = []
    for key, given in content.items():
        name = str(key).replace("-", "_")
        if name not in SEARCHABLE:
            problems.append(not_searchable(key, name))
            continue
        try:
            space[name] = values_of(name, given)
        except UserError as error:
            problems.append(str(error))
        else:
            problems += outside(name, space[name])
    base = {}
    try:
        base = flags.parse_keys(fixed, BASE)
    except UserError as error:
        problems.append(str(error))
    if problems:
        raise UserError(f"{path}: " + "\n  ".join(problems))
    if not space:
        raise UserError(f"{path}: names no setting to search: write, for example, lr: {EXAMPLE}")
    return space, base


def not_searchable(key: Any, name: str) -> str:
    """What to say of a key that can't be searched."""
    if name in FIELDS:
        return (
            f"{key!r} can't be searched: what differs between trials is {', '.join(SEARCHABLE)}; fix it under {BASE}, "
            "if it is a setting of training"
        )
    return f"unknown key {key!r}{closest(name, [*SEARCHABLE, BASE])}"


def values_of(name: str, given: Any) -> Values:
    """The range or the choices of a setting. Raises UserError if they are neither."""
    if isinstance(given, dict):
        return range_of(name, given)
    if not isinstance(given, list) or not given:
        raise UserError(f"{name} is {given!r}, but should be {EXAMPLE}; a value for all trials goes under {BASE}")
    choices = tuple(plain(parse_value(name, choice)) for choice in given)
    if len(set(choices)) < len(choices):
        raise UserError(f"{name} is {given!r}, but should name each value once")
    return choices


def plain(value: Any) -> Any:
    """A value as Optuna stores it: of several names, the text that `parse_value` reads back."""
    return ",".join(value) if isinstance(value, tuple) else value


def range_of(name: str, given: dict[Any, Any]) -> Range:
    """The range of a setting that is a number. Raises UserError if it makes no sense."""
    kinds = get_args(TYPES[name]) or (TYPES[name],)
    if not {int, float} & set(kinds):
        raise UserError(f"{name} has the range {given!r}, but is no number: give a list of values")
    for key in given:
        if key not in ("low", "high", "log"):
            raise UserError(f"{name}: unknown key {key!r}{closest(str(key), ('low', 'high', 'log'))}")
    if given.get("low") is None or given.get("high") is None:
        raise UserError(f"{name} is {given!r}, but should have both low and high")
    low, high = (parse_value(name, given[end]) for end in ("low", "high"))
    log = given.get("log", False)
    if not isinstance(log, bool):
        raise UserError(f"{name}: log is {log!r}, but should be true or false")
    if not -math.inf < low < high < math.inf:
        raise UserError(f"{name}: low is {low} and high {high}, but low should be below high, and both finite")
    if log and low <= 0:
        raise UserError(f"{name}: low is {low}, but should be above 0 with log: true")
    return Range(low, high, log)


def outside(name: str, values: Values) -> Iterator[str]:
    """A line for each end of a range, or choice, that the setting can't have."""
    for value in (values.low, values.high) if isinstance(values, Range) else values:
        config = Config(**{name: parse_value(name, value)})
        yield from checks.outside_ranges(config)
        yield from checks.wrong_choices(config)


def check_together(space: Mapping[str, Values], base: dict[str, Any]) -> Config:
    """The config of the baseline: the fixed settings, and the defaults. Raises UserError if they can't be searched
    from."""
    config = checks.resolve(base)
    excluded = {"--seeds": config.seeds, "--folds": config.folds, "--push-to-hub": config.push_to_hub}
    excluded |= {"--run-name (a sweep has --name)": config.run_name, "--resume": config.resume or None}
    excluded |= {"--dry-run": config.dry_run or None, "--profile": config.profile or None}
    for flag, given in excluded.items():
        if given is not None:
            raise UserError(f"{flag} doesn't go with a search, whose trials are single runs: leave it out")
    firsts = {name: values.low if isinstance(values, Range) else values[0] for name, values in space.items()}
    first = replace(config, **{name: parse_value(name, value) for name, value in firsts.items()})
    for line in effects.without_effect(firsts, first):
        raise UserError(f"{line.removeprefix('note: ')}, so it can't be searched")
    return config


def settings_of(base: Mapping[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a trial: the fixed ones, and those that were drawn."""
    return {**base, **{name: parse_value(name, value) for name, value in parameters.items()}}


def as_flags(settings: Mapping[str, Any]) -> list[str]:
    """The command line flags of train.py that give these settings."""
    words = []
    for name, value in settings.items():
        if not FIELDS[name].metadata["flag"] or value is None:
            continue
        if isinstance(value, bool):
            words.append(flag_of(name) if value else flag_of(name).replace("--", "--no-", 1))
        else:
            words.append(f"{flag_of(name)}={in_text(value) if isinstance(value, tuple) else value}")
    return words


def described(space: Mapping[str, Values]) -> dict[str, Any]:
    """The space as plain values, as its YAML file has them."""
    return {name: asdict(values) if isinstance(values, Range) else list(values) for name, values in space.items()}


def to_yaml(space: Mapping[str, Values], base: Mapping[str, Any]) -> str:
    """The text that `read_space` reads back unchanged."""
    import yaml

    fixed = {name: list(value) if isinstance(value, tuple) else value for name, value in base.items()}
    content = {**({BASE: fixed} if fixed else {}), **described(space)}
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def shown(value: Any) -> str:
    """A drawn value, for a table."""
    return f"{value:.3g}" if isinstance(value, float) else "none" if value is None else str(value)
