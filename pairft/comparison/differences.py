"""In what the runs differ before any of their answers is looked at: settings, versions, code, data, machine."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pairft.comparison.sides import NOT_SETTINGS, Run, Side

OF_MANIFEST = ("versions", "git_revision", "data_fingerprint", "model_fingerprint", "machine")
DIGEST = 12  # characters of a fingerprint or a revision that are shown
UNSET = "-"


class Difference(NamedTuple):
    name: str
    values: list[str]  # of each side


def differences(sides: Sequence[Side]) -> list[Difference]:
    """The settings and the entries of manifest.json that are not the same for all sides, in their order."""
    found = [settings_of(side) for side in sides]
    names = dict.fromkeys(name for one in found for name in one)
    rows = [Difference(name, [one.get(name, UNSET) for one in found]) for name in names]
    return [row for row in rows if len(set(row.values)) > 1]


def settings_of(side: Side) -> dict[str, str]:
    """What is known of a side, as text. Runs of a group differ by their seeds alone, so its first run stands for it."""
    run = side.runs[0]
    settings = {name: value for name, value in run.config.items() if name not in NOT_SETTINGS}
    if side.is_group:
        settings["seed"] = side.seeds
    return {**{name: shown(value) for name, value in settings.items()}, **manifest_of(run)}


def manifest_of(run: Run) -> dict[str, str]:
    found = {}
    for name in OF_MANIFEST:
        value = run.manifest.get(name)
        entries = value.items() if isinstance(value, Mapping) else [("", value)]
        for key, entry in entries:
            text = shown(entry)
            if name.endswith(("fingerprint", "revision")):
                text = text[:DIGEST] + "-dirty" * text.endswith("-dirty")
            found[f"{name} {key}".strip()] = text
    return found


def shown(value: Any) -> str:
    if value is None:
        return UNSET
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
