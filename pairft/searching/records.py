"""The trials of a search as sweep.json and the terminal show them."""

from typing import TYPE_CHECKING, Any

from pairft.searching.space import shown
from pairft.searching.study import PRUNED

if TYPE_CHECKING:
    from optuna import Study


def name_of(number: int) -> str:
    """The name of a trial's run."""
    return f"trial-{number:04d}"


def records(study: "Study") -> list[dict[str, Any]]:
    """The trials so far, for sweep.json."""
    from optuna.trial import TrialState

    states = {TrialState.COMPLETE: "finished", TrialState.PRUNED: PRUNED, TrialState.RUNNING: "unfinished"}
    return [
        {
            "trial": trial.number,
            "run": trial.user_attrs.get("run") or name_of(trial.number),
            "state": states.get(trial.state) or trial.user_attrs.get("how", "failed"),
            "metric": trial.user_attrs.get("metric"),
            "score": trial.value if trial.state == TrialState.COMPLETE else None,
            "settings": trial.params,
            "evaluations": [score for _, score in sorted(trial.intermediate_values.items())],
            "seconds": trial.user_attrs.get("seconds"),
            "reason": trial.user_attrs.get("reason"),
        }
        for trial in study.trials
    ]


def table(trials: list[dict[str, Any]]) -> str:
    """The trials as a table for the terminal: for a pruned one, the best score until then. The best one is marked."""
    names = list(dict.fromkeys(name for trial in trials for name in trial["settings"]))
    metric = next((trial["metric"] for trial in trials if trial["metric"]), "score")
    rows = [["trial", "state", metric, *names]]
    for trial in trials:
        score = max(trial["evaluations"], default=None) if trial["score"] is None else trial["score"]
        values = [shown(trial["settings"].get(name)) for name in names]
        rows.append([str(trial["trial"]), trial["state"], "-" if score is None else f"{score:.4f}", *values])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    if (best := best_of(trials)) is not None:
        lines[1 + best["trial"]] += "  <- best"
    return "\n".join(lines)


def best_of(trials: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The finished trial with the highest score, the first of several; None if none has finished."""
    finished = [trial for trial in trials if trial["score"] is not None]
    return max(finished, key=lambda trial: trial["score"], default=None)
