"""The report of several runs: one per seed, or one per fold. Each run has a report of its own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy

from pairft.config import Config
from pairft.flags import read_file
from pairft.model.card_metadata import name_of
from pairft.reporting.material import json_of, needed
from pairft.reporting.outcome import title_of
from pairft.reporting.sections import machine, settings, started
from pairft.reporting.svg import MUTED, ONE, TWO, Chart, canvas, legend
from pairft.runs.seeds import all_scores
from pairft.tasks import TASKS, metrics_of


def all_of(group: Path) -> dict[str, Any]:
    """The values of all sections. Raises UserError if config.yaml or summary.json is damaged."""
    config = Config(**read_file(group / "config.yaml"))
    summary = needed(group / "summary.json", ("last", "best", "runs"))
    kind = "fold" if "folds" in summary else "seed"
    about = needed(
        group / f"{kind}-{summary[f'{kind}s'][0]}" / "best" / "pairft.json", ("problem_type", "text_columns")
    )
    _, main = metrics_of(TASKS[config.task], about["problem_type"])
    title = title_of(main, about["problem_type"], summary.get("positive_class"))
    manifest = json_of(group / "manifest.json") if (group / "manifest.json").is_file() else {}
    return {
        "title": f"{name_of(config.model)} on {name_of(config.data)}, {len(summary['runs'])} {kind}s",
        "run_name": group.resolve().name,
        "started": started(manifest),
        "outcome": sentence(summary["last"][main], title, kind, len(summary["runs"])),
        "notes": notes(summary, kind),
        "explained": [explained(kind)],
        "kind": kind,
        "charts": [spread_chart(summary, main, kind)],
        "scores": scores(summary),
        "runs": runs(group, summary, kind),
        "settings": settings(config),
        "machine": machine(manifest),
    }


def sentence(found: Mapping[str, Any], title: str, kind: str, number: int) -> str:
    """The main metric of the last models in a sentence. `found`: its mean, interval and range."""
    text = f"{title} is {found['mean']:.3f} on average over {number} {kind}s"
    if found["interval"] is not None:
        low, high = found["interval"]
        return f"{text} (95\u00a0% interval of the mean {low:.3f} to {high:.3f})."
    return f"{text}, from {found['min']:.3f} to {found['max']:.3f}."


def notes(summary: Mapping[str, Any], kind: str) -> list[str]:
    lines = []
    if summary["diverged"]:
        lines.append(f"Diverged, and not counted: {kind} {', '.join(map(str, summary['diverged']))}.")
    if summary["collapsed"]:
        lines.append(
            f"The last model gives every example the same answer: {kind} {', '.join(map(str, summary['collapsed']))}."
        )
    return lines


def explained(kind: str) -> str:
    if kind == "seed":
        return (
            "These are the models after the last step, so that no choice among models makes the scores too good. The "
            "interval (Student’s t) says how far the mean may be from that over all seeds. Every run is scored on the "
            "same examples, so it says nothing about others: the report of each run does."
        )
    return (
        "These are the models after the last step, each scored on the fold that it was not trained on. There is no "
        "interval of the mean: folds share training rows, so that their scores are not independent."
    )


def spread_chart(summary: Mapping[str, Any], metric: str, kind: str) -> Chart:
    """The main metric of each run's last and best model."""
    numbers = list(summary["runs"])
    rows = []
    with canvas("spread", f"{metric} of each {kind}") as drawn:
        places = numpy.arange(len(numbers))
        for which, colour, marker, fill in (("last", ONE, "o", "full"), ("best", TWO, "s", "none")):
            values = [all_scores(summary["runs"][number][which])[metric] for number in numbers]
            drawn.axes.plot(
                places, values, color=colour, marker=marker, fillstyle=fill, markersize=7, ls="none", label=which
            )
            rows.append(values)
        drawn.axes.axhline(summary["last"][metric]["mean"], color=MUTED, linestyle=":", linewidth=1.2)
        drawn.axes.set_xticks(places[:: -(-len(places) // 10)], numbers[:: -(-len(places) // 10)])
        drawn.axes.margins(x=0.08, y=0.15)
        drawn.axes.set_xlabel(kind)
        legend(drawn.axes)
    caption = (
        f"{metric} of the last and the best model of each {kind}; the dotted line is the mean of the last ones. The "
        "best was chosen on the examples that it is scored on."
    )
    table = [[number, *(f"{value:.4f}" for value in values)] for number, *values in zip(numbers, *rows, strict=True)]
    return Chart("spread", f"Each {kind}", drawn.svg, caption, (kind, "last", "best"), table)


def scores(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The table of mean, standard deviation, range and interval."""
    rows = []
    for which in ("last", "best"):
        for name, found in summary[which].items():
            sd = "" if found["sd"] is None else f"{found['sd']:.4f}"
            interval = "" if found["interval"] is None else "{:.4f} to {:.4f}".format(*found["interval"])
            low, high = found["min"], found["max"]
            rows.append([which, name, f"{found['mean']:.4f}", sd, f"{low:.4f}", f"{high:.4f}", interval])
    head = ("model", "metric", "mean", "sd", "min", "max", "95\u00a0% interval of the mean")
    pooled = summary.get("out_of_fold", {})
    about = "The best models were chosen on the examples that they are scored on."
    if pooled:
        values = ", ".join(f"{name} {value:.4f}" for name, value in pooled.items() if name != "rows")
        about += (
            f" All {pooled['rows']:,} held-out rows together: {values} (out_of_fold.csv). Rows whose label the folds "
            f"contradict: {summary['label_errors']:,} (label_errors.csv)."
        )
    return {"head": head, "rows": rows, "about": about}


def runs(group: Path, summary: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """A row for each run, with a link to its report if there is one."""
    rows, names = [], list(summary["last"])
    for number, run in summary["runs"].items():
        name = f"{kind}-{number}"
        report = f"{name}/report.html" if (group / name / "report.html").is_file() else None
        cells = [f"{run['best']['step']:,}", *(f"{all_scores(run['last'])[metric]:.4f}" for metric in names)]
        rows.append({"name": name, "report": report, "cells": cells})
    return {
        "head": ["best step", *names],
        "rows": rows,
        "about": "Scores of the last models. Each name leads to the report of its run.",
    }
