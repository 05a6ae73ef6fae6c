"""Two sections of the report: where the model is wrong, and how sure it is."""

from collections.abc import Mapping
from typing import Any

from pairft.reporting import answers, charts
from pairft.runs.evaluations import Evaluated
from pairft.tasks import MULTI_LABEL, REGRESSION, SINGLE_LABEL


def wrong(found: Evaluated) -> dict[str, Any]:
    """Where the model is wrong: charts, confusions, the scores of the classes, mistakes."""
    shown: dict[str, Any] = {"matrix": None, "confusions": None, "classes": None, "charts": [charts.by_length(found)]}
    if found.problem_type == REGRESSION:
        shown["charts"] = [charts.values(found), charts.errors(found), *shown["charts"]]
    else:
        shown["classes"] = classes(found)
    if found.problem_type == SINGLE_LABEL and len(found.names or ()) <= answers.LARGEST:
        shown["matrix"] = matrix(found)
    elif found.problem_type == SINGLE_LABEL:
        shown["confusions"] = [
            (label, answer, f"{count:,}", f"{share:.0%}") for label, answer, count, share in answers.confusions(found)
        ]
    return {**shown, "mistakes": mistakes(found)}


def classes(found: Evaluated) -> dict[str, Any]:
    rows = answers.class_scores(found)
    what = "labels" if found.problem_type == MULTI_LABEL else "classes"
    fewer = len(rows) < len(found.names or ())
    return {"title": f"The {len(rows)} {what} with the lowest F1" if fewer else what.capitalize(), "rows": rows}


def matrix(found: Evaluated) -> dict[str, Any]:
    """The confusion matrix, a row for each label."""
    rows = [
        [
            {"count": int(count), "share": float(count / max(row.sum(), 1)), "right": place == number}
            for number, count in enumerate(row)
        ]
        for place, row in enumerate(answers.confusion(found))
    ]
    names = found.names or ()
    return {"names": names, "rows": [*zip(names, rows, strict=True)]}


def mistakes(found: Evaluated) -> dict[str, Any]:
    rows = answers.mistakes(found)
    if found.problem_type == REGRESSION:
        caption = "Where label and prediction differ most. Read them: some are errors of the label."
        return {"title": "The largest errors", "caption": caption, "measure": "off by {:.3f}", "rows": rows}
    number = int((~answers.is_right(found)).sum())
    caption = (
        f"Of {number:,} wrong answers, those of which the model was most sure. Read them: some are errors of the "
        "label, and a pattern among the others says what the training data lack. Words that only one of two sentences "
        "has are marked."
    )
    if not rows:
        caption = "There are none: every answer is right."
    return {"title": "The most confident mistakes", "caption": caption, "measure": "{:.1%} sure", "rows": rows}


def sure(found: Evaluated, calibration: Mapping[str, Any]) -> dict[str, Any] | None:
    """How far the probabilities can be trusted; None for a regression. `calibration`: the content of calibration.json,
    or {}."""
    if found.problem_type == REGRESSION:
        return None
    temperature = calibration.get("temperature")
    shown: dict[str, Any] = {"charts": [charts.reliability(found, temperature), charts.confidences(found)]}
    if not calibration:
        return {**shown, "scores": None}
    words = {"log_loss": "log loss", "brier": "Brier score", "ece": "expected calibration error"}
    before, after = calibration["before"], calibration["after"]
    about = (
        f"Lower is better. The temperature {temperature:.3f} divides all logits; predict --calibrated applies it. The "
        "scores with it are cross-fitted: each example at a temperature fitted on the others."
    )
    scores = [(text, f"{before[name]:.4f}", f"{after[name]:.4f}") for name, text in words.items()]
    return {**shown, "scores": scores, "about": about}
