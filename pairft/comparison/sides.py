"""What is compared: run directories, or groups of runs that differ by seed alone."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from pairft import disk
from pairft.errors import UserError
from pairft.runs import directory
from pairft.runs.resume import resume_command

NOT_SETTINGS = ("runs_dir", "push_to_hub")  # they say where a run is, not what it does
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class Run:
    """A run directory."""

    place: Path
    config: dict[str, Any]  # the content of config.yaml
    manifest: dict[str, Any]

    @property
    def seed(self) -> int:
        return int(self.config["seed"])


@dataclass(frozen=True)
class Side:
    """One of the things compared: a run, or the runs of a group in the order of their seeds."""

    letter: str
    name: str  # as given on the command line
    runs: tuple[Run, ...]
    is_group: bool = False
    left_out: Sequence[int] = ()  # seeds of the group that are not compared

    @property
    def seeds(self) -> list[int]:
        return [run.seed for run in self.runs]


def find_sides(names: Sequence[str], pair_by_seed: bool, by_step: bool) -> list[Side]:
    """The sides that the directories `names` hold; groups have the same seeds. `pair_by_seed`: runs whose settings
    differ by seed alone are one group. `by_step`: an evaluation after a given step is asked for, which an unfinished
    run may have. Raises UserError for what can't be compared."""
    sides = [read_side(letter, name, by_step) for letter, name in zip(LETTERS, names, strict=False)]
    if len(names) > len(LETTERS):
        raise UserError(f"{len(names)} runs are compared, but at most {len(LETTERS)} can be")
    places: dict[Path, Side] = {}
    for side in sides:
        for run in side.runs:
            twice = places.setdefault(run.place.resolve(), side)
            if twice is not side:
                raise UserError(f"{twice.name} and {side.name} are the same run: name two different ones")
    if pair_by_seed:
        sides = grouped(sides)
    if len(sides) < 2:
        raise UserError("there is nothing to compare it with: name two runs or more")
    if not any(side.is_group for side in sides):
        return sides
    for side in sides:
        if not side.is_group:
            other = next(other for other in sides if other.is_group)
            raise UserError(
                f"{other.name} has a run for each of the seeds {shown(other.seeds)}, but {side.name} is a single run: "
                f"compare it with one of them, such as {other.runs[0].place}, or train the same seeds with --seeds"
            )
    return with_common_seeds(sides)


def read_side(letter: str, name: str, by_step: bool) -> Side:
    """The run, or the group of runs, in a directory."""
    place = disk.expanded(name)
    run = read_run(place, name)
    if run.config.get("folds") is not None and run.config.get("fold") is None:
        raise UserError(
            f"{name} is a cross-validation, whose runs hold out different rows: compare the runs of one fold, such as "
            f"{place / 'fold-1'}"
        )
    seeds = run.config.get("seeds")
    if not by_step and not directory.is_finished(place):
        raise UserError(
            f"{name} is unfinished: resume it with {resume_command(place)}, or name a step that all of them were "
            "evaluated after, such as --which 459"
        )
    if seeds is None:
        return Side(letter, name, (run,))
    places = {seed: place / f"seed-{seed}" for seed in seeds}
    ended = [seed for seed, path in places.items() if path.is_dir() and (by_step or directory.is_finished(path))]
    runs = tuple(read_run(places[seed], str(places[seed])) for seed in sorted(ended))
    return Side(letter, name, runs, is_group=True, left_out=[seed for seed in seeds if seed not in ended])


def read_run(place: Path, name: str) -> Run:
    if not (place / "config.yaml").is_file():
        hint = f"name its run directory, {place.parent}" if (place.parent / "config.yaml").is_file() else "name one"
        raise UserError(f"{name} is no run directory, since it has no config.yaml: {hint}")
    try:
        config = yaml.safe_load((place / "config.yaml").read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        config = None
    if not isinstance(config, dict) or not isinstance(config.get("seed"), int):
        raise UserError(f"{place / 'config.yaml'} is not what a run writes: restore it, or name another run")
    manifest = place / "manifest.json"
    return Run(place, config, directory.read_json(manifest) if manifest.is_file() else {})


def grouped(sides: Sequence[Side]) -> list[Side]:
    """Runs as groups: those whose settings are equal but for the seed are one side."""
    groups: dict[str, list[Side]] = {}
    for side in sides:
        if side.is_group:
            raise UserError(
                f"--pair-by-seed puts runs together, but {side.name} is a group of runs: leave the flag out"
            )
        settings = {name: value for name, value in side.runs[0].config.items() if name not in ("seed", *NOT_SETTINGS)}
        groups.setdefault(yaml.safe_dump(settings), []).append(side)
    found = []
    for letter, members in zip(LETTERS, groups.values(), strict=False):
        members = sorted(members, key=lambda side: side.runs[0].seed)
        name, runs = ", ".join(side.name for side in members), tuple(side.runs[0] for side in members)
        if len({run.seed for run in runs}) < len(runs):
            raise UserError(f"--pair-by-seed: {name} have the same settings, and two the same seed: leave one out")
        found.append(Side(letter, name, runs, is_group=True))
    if len(found) == 1:
        raise UserError("--pair-by-seed: these runs differ by seed alone, so there is nothing to compare them with")
    return found


def with_common_seeds(sides: Sequence[Side]) -> list[Side]:
    """The groups with only those of their runs whose seed all of them have."""
    common = set.intersection(*(set(side.seeds) for side in sides))
    if len(common) < 2:
        listed = "; ".join(f"{side.name} has {shown(side.seeds)}" for side in sides)
        raise UserError(
            f"a comparison over seeds needs two or more that all groups have, and these have {len(common)} ({listed}): "
            "train the same --seeds, or compare two runs"
        )
    return [
        replace(
            side,
            runs=tuple(run for run in side.runs if run.seed in common),
            left_out=sorted({*side.left_out, *side.seeds} - common),
        )
        for side in sides
    ]


def shown(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers)) or "none"
