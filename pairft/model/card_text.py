"""The model card: the README of a model folder, for people who get the folder without the run."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pairft.config import Config, parse_value
from pairft.data.findings import WORDS
from pairft.data.lengths import NO_LIMIT
from pairft.model.card_metadata import front_matter, name_of, title
from pairft.tasks import MULTI_LABEL, REGRESSION, TASKS, f1_of, metrics_of, scored_splits

# What transformers calls our --truncation. It can't cut in the middle.
TRUNCATION = {"longest": "True", "first": '"only_first"', "second": '"only_second"', "head-tail": "True"}
SETTINGS = "## Settings\n"
EXAMPLE = ("How old are you?", "What is your age?")


def model_card(about: dict[str, Any], settings: str) -> str:
    """The README of a model folder: metadata, inputs and outputs, scores, use and settings."""
    splits = [split for split in scored_splits(TASKS[about["task"]].splits) if split in about]
    shown = {"f1": f1_of(about["positive_class"])}
    head = ["value"] if len(splits) == 1 else splits
    rows = [[shown.get(name, name), *(f"{about[split][name]:.4f}" for split in splits)] for name in about["validation"]]
    columns = " and ".join(f"`{column}`" for column in about["text_columns"])
    labels = ", ".join(about["label_names"]) if about["label_names"] else "a number (regression)"
    if about["problem_type"] == MULTI_LABEL:
        labels = f"any of {labels} (multi-label)"
    if about.get("logit_of") is not None:
        labels += f", with one logit, whose sigmoid is the probability of {about['logit_of']}"
    config = config_of(settings)
    limit = "" if about["max_length"] >= NO_LIMIT else f", up to {about['max_length']} tokens"
    return f"""---
{front_matter(about, config).strip()}
---

# {title(about)}

Reads {columns}{limit}; answers: {labels}.
Trained for {about["step"]} steps ({about["epoch"]:.2f} epochs). Scores on {scored_rows(about, config, splits)}:

{table(["metric", *head], *rows)}
{probabilities(about)}{data_checks(about.get("audit", {}))}
## How to use it

{usage(about)}

{SETTINGS}
```yaml
{without_paths(settings).strip()}
```
"""


def scored_rows(about: Mapping[str, Any], config: Config, splits: Sequence[str]) -> str:
    """The rows that the scores are on, in words."""
    rows = about["scored_rows"]
    if config.fold is not None:
        fold = f"fold {config.fold} of {config.folds} of the training split"
        return f"{fold} ({rows['validation']} rows), which the model was not trained on"
    if about["held_out"]:
        return f"{rows['validation']} rows held out from the training split"
    return " and ".join(
        f"the first {rows[split]} rows of {split}" if rows[split] == config.limit else f"{split} ({rows[split]} rows)"
        for split in splits
    )


def config_of(settings: str) -> Config:
    """The config that `to_yaml` has written."""
    import yaml

    return Config(**{name: parse_value(name, value) for name, value in yaml.safe_load(settings).items()})


def without_paths(settings: str) -> str:
    """The config as YAML without the folders of the machine, which may be private."""
    import yaml

    content = {name: value for name, value in yaml.safe_load(settings).items() if name != "runs_dir"}
    named = {name: name_of(content[name]) for name in ("model", "data")}
    return yaml.safe_dump(content | named, sort_keys=False, allow_unicode=True)


def table(head: list[str], *rows: list[str]) -> str:
    """A table in Markdown. A name of a class may hold what separates cells."""
    lines = [[cell.replace("|", "\\|") for cell in row] for row in (head, ["---"] * len(head), *rows)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def usage(about: dict[str, Any]) -> str:
    """How other programs get the scores that the evaluation had, as code to be copied."""
    pair = EXAMPLE[: len(about["text_columns"])]
    is_pair, limits = len(pair) == 2, ""
    if about["max_length"] < NO_LIMIT:
        limits = f", truncation={TRUNCATION[about['truncation']]}, max_length={about['max_length']}"
    texts = ", ".join(f'"{sentence}"' for sentence in pair)
    batches = ", ".join(f'["{sentence}"]' for sentence in pair)
    kind = about["problem_type"] if about.get("logit_of") is None else MULTI_LABEL
    probabilities = {MULTI_LABEL: ".sigmoid()", REGRESSION: ""}.get(kind, ".softmax(-1)")
    example = f'{{"text": "{pair[0]}", "text_pair": "{pair[-1]}"}}' if is_pair else texts
    parts = [
        "`MODEL` is this folder, or its id on the Hub. With pairft:",
        code(
            "import pairft\n\n"
            f'predictions = pairft.load("MODEL").predict([{f"({texts})" if is_pair else texts}])\n'
            "print(predictions.columns)"
        ),
        code(f"python -m pairft.predict --model MODEL --text {texts.replace(', ', ' ')}", "bash"),
        "With transformers:",
        code(
            "from transformers import pipeline\n\n"
            f'classify = pipeline("text-classification", model="MODEL"{limits})\n'
            f"print(classify([{example}], top_k=None))"
        ),
        "A pair is a dict: for `pipeline`, a list of two strings is two texts, and a string with a separator is one."
        if is_pair
        else "",
        code(
            "from transformers import AutoModelForSequenceClassification, AutoTokenizer\n\n"
            'tokenizer = AutoTokenizer.from_pretrained("MODEL")\n'
            'model = AutoModelForSequenceClassification.from_pretrained("MODEL")\n'
            f'inputs = tokenizer({batches}, padding=True{limits}, return_tensors="pt")\n'
            f"print(model(**inputs).logits{probabilities})"
        ),
    ]
    if is_pair:
        softmax = ", apply_softmax=True" if probabilities == ".softmax(-1)" else ""
        limit = f", max_length={about['max_length']}" if limits else ""
        parts += [
            "With sentence-transformers, version 5 or later:",
            code(
                "from sentence_transformers import CrossEncoder\n\n"
                f'model = CrossEncoder("MODEL"{limit})\nprint(model.predict([({texts})]{softmax}))'
            ),
        ]
    return "\n\n".join(filter(None, [*parts, other_cut(about["truncation"], is_pair)]))


def other_cut(truncation: str, is_pair: bool) -> str:
    """Which libraries can't cut examples that are too long as pairft did, if any."""
    if truncation == "head-tail":
        return "Examples that are too long were cut in the middle in training, which only pairft does."
    if truncation != "longest" and is_pair:
        return f"Of a pair that is too long, the {truncation} text was cut; `CrossEncoder` cuts the longer one."
    return ""


def code(text: str, language: str = "python") -> str:
    return f"```{language}\n{text}\n```"


def probabilities(about: dict[str, Any]) -> str:
    """How far the probabilities can be trusted; "" if that isn't known, as of a regression."""
    calibration = about.get("calibration")
    if calibration is None:
        return ""
    before, after = calibration["before"], calibration["after"]
    shown = {"log_loss": "log loss", "brier": "Brier score", "ece": "expected calibration error"}
    rows = [[words, f"{before[name]:.4f}", f"{after[name]:.4f}"] for name, words in shown.items()]
    lines = [
        table(["probabilities", "as they are", "calibrated"], *rows),
        "",
        f"`predict --calibrated` divides all logits by {calibration['temperature']:.4f}.",
    ]
    if "thresholds" in calibration:
        _, metric = metrics_of(TASKS[about["task"]], about["problem_type"])
        found = calibration["thresholds"][metric]
        lines.append(
            f"`predict --threshold {metric}` answers {calibration['positive_class']!r} if its probability is at least "
            f"{found['threshold']:.4f}: {metric} is then {found['after']:.4f} instead of {found['before']:.4f}."
        )
    lines.append("`calibration.json` holds these values. Scores after fitting are cross-fitted on the same rows.")
    return "\n".join(["", *lines, ""])


def data_checks(counts: dict[str, dict[str, int]]) -> str:
    """What is wrong with the data, in numbers alone: the data may be private."""
    if not counts:
        return ""
    lines = [
        f"| {WORDS[what][2]} | {split} | {count} |"
        for what, splits in counts.items()
        for split, count in splits.items()
    ]
    return "\n".join(["", "What is wrong with the data:", "", "| | split | count |", "|---|---|---|", *lines, ""])


def with_spread(card: str, which: str, summary: Mapping[str, Any]) -> str:
    """A card with the scores of all runs of its group, before its settings or, if someone has removed them, at the end.
    `which`: "best" or "last". `summary`: the content of summary.json."""

    def text(found: Mapping[str, Any]) -> list[str]:
        sd = "-" if found["sd"] is None else f"{found['sd']:.4f}"
        interval = "-" if found["interval"] is None else "{:.4f} to {:.4f}".format(*found["interval"])
        return [f"{found['mean']:.4f}", sd, f"{found['min']:.4f}", f"{found['max']:.4f}", interval]

    kind, how = ("seeds", "that differ only in their seeds")
    if "folds" in summary:
        kind, how = "folds", "of a cross-validation, each trained without one fold, which it is scored on"
    numbers = ", ".join(map(str, summary[kind]))
    diverged = f" ({', '.join(map(str, summary['diverged']))} diverged)" if summary["diverged"] else ""
    section = "\n".join(
        [
            "<!-- spread -->",
            f"## Other {kind}\n",
            f"One of {len(summary[kind])} models {how}: {numbers}{diverged}. Scores of the {which} model of each:\n",
            table(
                ["metric", "mean", "sd", "min", "max", "95 % interval of the mean"],
                *([name, *text(found)] for name, found in summary[which].items()),
            ),
            "<!-- /spread -->\n\n",
        ]
    )
    card = re.sub("<!-- spread -->.*?<!-- /spread -->\n*", "", card, flags=re.DOTALL)
    before, mark, rest = card.rpartition(SETTINGS)
    return before + section + mark + rest if mark else f"{card.rstrip()}\n\n{section.rstrip()}\n"
