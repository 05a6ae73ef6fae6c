"""How to use the model of a report, as a command and as Python."""

import json
import shlex

from pairft.model.card_text import EXAMPLE
from pairft.reporting.material import Material
from pairft.tasks import REGRESSION


def usage(material: Material) -> dict[str, str]:
    """The text of the section: `command`, `python`, `about`."""
    folder = str(material.run_dir / "best")
    sentences = EXAMPLE[: len(material.text_columns)]
    quoted = " ".join(json.dumps(text) for text in sentences)
    predict = f"python -m pairft.predict --model {shlex.quote(folder)}"
    example = json.dumps(sentences[0]) if len(sentences) == 1 else f"({', '.join(map(json.dumps, sentences))})"
    shown = "answers.scores" if material.problem_type == REGRESSION else "answers.labels, answers.probabilities"
    return {
        "command": f"{predict} --text {quoted}\n{predict} --data new.csv --output answers.csv",
        "python": (
            "import pairft\n\n"
            f"model = pairft.load({json.dumps(folder, ensure_ascii=False)})\n"
            f"answers = model.predict([{example}])\n"
            f"print({shown})"
        ),
        "about": about(material),
    }


def about(material: Material) -> str:
    """What the file of `predict` has to hold, and what a threshold changes."""
    columns = " and ".join(f"“{name}”" for name in material.text_columns)
    text = f"new.csv needs {columns}; --text-columns names other columns."
    metric = material.metrics[1]
    found = material.calibration.get("thresholds", {}).get(metric)
    if found is None:
        return text
    name = material.calibration["positive_class"]
    return (
        f"{text} --threshold {metric} answers “{name}” from a probability of {found['threshold']:.3f} on: {metric} is "
        f"then {found['after']:.4f} instead of {found['before']:.4f} (cross-fitted)."
    )
