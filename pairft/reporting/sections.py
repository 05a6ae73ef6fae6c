"""What each section of the report says, as values for the template."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pairft.config import FIELDS, Config, values
from pairft.data import findings
from pairft.model.card_metadata import name_of
from pairft.reporting import diagnosis, outcome, usage
from pairft.reporting.curves import curves
from pairft.reporting.material import Material
from pairft.runs.log import scores_of
from pairft.tasks import scored_splits

CLASSES = 12  # whose shares are shown
LISTED = 100  # rows of the table of evaluations


def all_of(material: Material) -> dict[str, Any]:
    """The values of all sections. Those that the run directory has nothing for are None or empty."""
    metrics, main_metric = material.metrics
    ordered = [main_metric, *(name for name in metrics if name != main_metric)]
    scores = all_scores(material, ordered)
    limit = material.config.max_grad_norm
    return {
        "title": f"{name_of(material.config.model)} on {name_of(material.config.data)}",
        "run_name": material.run_dir.resolve().name,
        "started": started(material.manifest),
        "outcome": outcome.sentence(scores[0], material.found, examples(material)),
        "notes": notes(material, scores),
        "explained": explained(material, scores[0], main_metric),
        "facts": facts(material),
        "scores": scores,
        "curves": curves(material.training, material.evaluations, ordered, material.best["step"], limit),
        "evaluations": evaluations(material),
        "wrong": None if material.found is None else diagnosis.wrong(material.found),
        "sure": None if material.found is None else diagnosis.sure(material.found, material.calibration),
        "data": data(material),
        "use": usage.usage(material),
        "settings": settings(material.config),
        "machine": machine(material.manifest),
        "left_out": material.left_out,
    }


def started(manifest: Mapping[str, Any]) -> str:
    """When the run was started, to the minute."""
    found = re.match(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d)", str(manifest.get("started", "")))
    return f"{found[1]} {found[2]}" if found else ""


def examples(material: Material) -> str:
    """What the best model was evaluated on, in words."""
    number = material.about.get("scored_rows", {}).get("validation")
    number = len(material.found.rows) if material.found is not None else number
    what = ("sentence" if len(material.text_columns) == 1 else "pair") + "s" * (number != 1)
    kind = "held-out" if material.about.get("held_out") or material.config.fold else "validation"
    return f"{'the' if number is None else f'{number:,}'} {kind} {what}"


def notes(material: Material, scores: Sequence[outcome.Score]) -> list[str]:
    """What a reader has to know before anything else."""
    lines = []
    if material.results.get("fallback"):
        lines.append(
            "The Hugging Face Hub could not be reached, so this is the builtin encoder on generated pairs, not the "
            "model and the data of the defaults."
        )
    if material.best.get("collapsed"):
        lines.append("The model gives every example the same answer: it has learnt nothing that tells them apart.")
    elif warning := outcome.about_gain(scores[0], scores[1:]):
        lines.append(warning)
    if material.results.get("lost_best"):
        lines.append("A better model of this run was damaged and is lost; these are the scores of the best one left.")
    return lines


def explained(material: Material, main: outcome.Score, main_metric: str) -> list[str]:
    """How to read the outcome."""
    lines = [outcome.about_interval(main)] if main.interval else []
    if stopped := material.results.get("stopped_early"):
        lines.append(f"Training ended early, after step {stopped['step']:,}: {stopped['reason']}.")
    return [*lines, outcome.about_choice(len(material.evaluations), main_metric)]


def facts(material: Material) -> list[tuple[str, str]]:
    """A few numbers about the run."""
    best, train = material.best, material.results["train"]
    return [
        ("best model", f"step {best['step']:,} of {train['steps']:,} (epoch {best['epoch']:.2f})"),
        ("validation loss", f"{best['validation']['loss']:.4f}"),
        ("training time", duration(train["seconds"])),
        ("examples per second", f"{train['examples_per_second']:,.1f}"),
    ]


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def all_scores(material: Material, names: list[str]) -> list[outcome.Score]:
    """The metrics of the best model on every scored split."""
    found = []
    for split in scored_splits(name for name in material.best if name.startswith("validation")):
        about = material.problem_type, material.positive
        found += outcome.scores_of(material.best[split], names, material.answers(split), *about, split)
    return found


def evaluations(material: Material) -> dict[str, Any] | None:
    """The table of the evaluations; of more than LISTED, every second one, or third, …, and the best."""
    if not material.evaluations:
        return None
    names = list(scores_of(material.evaluations[0]))
    rows = [
        {
            "cells": [f"{line['step']:,}", f"{line['epoch']:.2f}", *(f"{line[name]:.4f}" for name in names)],
            "best": line["step"] == material.best["step"],
        }
        for line in material.evaluations
        if all(isinstance(line.get(name), (int, float)) for name in ("epoch", *names))
    ]
    every = -(-len(rows) // LISTED)
    shown = [row for number, row in enumerate(rows, start=1) if row["best"] or (len(rows) - number) % every == 0]
    return {"head": ["step", "epoch", *names], "rows": shown, "every": every}


def data(material: Material) -> dict[str, Any] | None:
    """What the audit found; None without one."""
    audit = material.audit
    if not audit:
        return None
    shares = audit["class_shares"]
    splits = list(shares)
    names = list(dict.fromkeys(name for split in splits for name in shares[split]))
    rows = [[name, *(f"{shares[split].get(name, 0.0):.1%}" for split in splits)] for name in names[:CLASSES]]
    if len(names) > CLASSES:
        rows.append([f"and {len(names) - CLASSES} more", *("" for _ in splits)])
    sizes = ", ".join(f"{number:,} in {split}" for split, number in audit["examples"].items())
    whole = "" if audit["whole"] else " With --audit it also looks for a column that gives the label away."
    found = [
        (findings.WORDS[one.what][2], one.split, f"{one.count:,}", findings.percent(one.share), findings.details(one))
        for one in audit["findings"]
    ]
    return {
        "examples": f"Examples: {sizes}.",
        "classes": {"head": ["class", *splits], "rows": rows},
        "findings": found,
        "about": f"Row numbers are those of the source, from 1.{whole}",
    }


def settings(config: Config) -> dict[str, Any]:
    """The settings: those that differ from the defaults, and the others."""
    given = values(config)
    changed = [name for name in given if given[name] != FIELDS[name].default]
    return {
        "changed": [(name, plain(given[name]), plain(FIELDS[name].default)) for name in changed],
        "others": [(name, plain(value)) for name, value in given.items() if name not in changed],
    }


def plain(value: Any) -> str:
    """A setting's value as text."""
    text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return {"False": "off", "True": "on", "None": "none"}.get(text, text)


def machine(manifest: dict[str, Any]) -> list[tuple[str, str]]:
    """Versions, machine and command, from manifest.json."""
    rows = {**manifest.get("versions", {}), "git revision": manifest.get("git_revision"), **manifest.get("machine", {})}
    rows["command"] = " ".join(map(str, manifest.get("command", [])))
    return [(name, str(value)) for name, value in rows.items() if value]
