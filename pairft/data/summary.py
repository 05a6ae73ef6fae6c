"""What was understood of the labels, in a line for the user, with warnings."""

import re
import unicodedata
from collections.abc import Sequence
from decimal import Decimal

from pairft.data.class_settings import target_counts
from pairft.data.labels import as_number, label_counts
from pairft.data.pairs import Pairs
from pairft.tasks import CORRELATIONS, MULTI_LABEL, TASKS, metrics_of, scored_splits


def summary(pairs: Pairs, task: str) -> str:
    """How the labels were understood: the classes with their shares of the training split and the positive class of F1,
    or the range of a regression; and a warning if names differ only in spelling."""
    rows = pairs.splits["train"]
    warning = constant_labels(pairs, task)
    found = target_counts(rows, pairs.label_column, pairs.label_ids)
    where = f"in {len(rows)} training examples"
    if pairs.label_names is None:
        values = {float(value): count for value, count in found.items()}  # type: ignore[arg-type]  # of a regression
        mean = sum(value * count for value, count in values.items()) / len(rows)
        span = f"from {min(values):g} to {max(values):g} (mean {mean:g})"
        return f"label: a regression {span} {where}{warning}"
    names, counts, held = pairs.label_names, [0] * len(pairs.label_names), 0
    for target, count in found.items():
        for index in target if isinstance(target, tuple) else (int(target),):
            counts[index] += count
            held += count
    shares = [f"{name} {percent(count / len(rows))}" for name, count in zip(names, counts, strict=True)]
    shown = ", ".join(shares[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    if pairs.problem_type == MULTI_LABEL:
        labels = f"{len(names)} label{'s' * (len(names) > 1)}"
        text = f"multi-label: {labels} ({shown}), {held / len(rows):.1f} per example {where}"
    else:
        text = f"label: {len(names)} classes ({shown}) {where}"
    if "f1" in metrics_of(TASKS[task], pairs.problem_type)[0]:
        each = "labels" if pairs.problem_type == MULTI_LABEL else "classes"
        macro = f"the mean over the {each} (macro)"
        text += f"; F1 is {macro if pairs.positive_name is None else f'of {pairs.positive_name}'}"
    alike = "; ".join(", ".join(map(repr, group)) for group in near_equal(names))
    return text + (f"\nwarning: classes that differ only in spelling: {alike}" if alike else "") + warning


def percent(share: float) -> str:
    """A share in percent with two digits, or three for all: 33 %, 9.6 %, 0.25 %."""
    return f"{100 * share:.0f} %" if share >= 0.0995 or share == 0 else f"{100 * share:.2g} %"


def constant_labels(pairs: Pairs, task: str) -> str:
    """A warning for each scored split whose labels are all equal, if the task's metrics include a correlation."""
    metrics = [name for name in metrics_of(TASKS[task], pairs.problem_type)[0] if name in CORRELATIONS]
    lines = []
    for split in scored_splits(pairs.splits) if metrics else ():
        texts = list(label_counts(pairs.splits[split], pairs.label_column))
        if len({pairs.label_ids[text] for text in texts}) == 1:
            lines.append(
                f"\nwarning: every label of the {split} split is {texts[0]}: a correlation ({', '.join(metrics)}) is "
                "undefined there, and reported as 0"
            )
    return "".join(lines)


def near_equal(names: Sequence[str]) -> list[list[str]]:
    """Groups of names that differ only in case, spaces, dashes or the way a number is written."""
    groups: dict[Decimal | str, list[str]] = {}
    for name in names:
        number = as_number(name)
        plain = " ".join(re.split(r"[\s_-]+", unicodedata.normalize("NFKC", name).casefold()))
        groups.setdefault(plain if number is None else number, []).append(name)
    return [group for group in groups.values() if len(group) > 1]
