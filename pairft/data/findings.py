"""What is wrong with the data, in words: a few lines at the start of a run, and the whole table with --audit."""

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with a split, and where."""

    what: str  # a key of WORDS
    split: str
    count: int  # of its examples; of the classes for "absent"
    share: float  # of its examples; of the classes for "absent"
    rows: tuple[int, ...] = ()  # up to three of them, by their numbers in the source, counted from 1
    beside: tuple[int, ...] = ()  # the training row that each of these repeats
    more: dict[str, Any] = field(default_factory=dict)  # "cut": tokens; "often": sentences; "absent": classes; …


# The predicate of a line, for one and for several examples; and the name in the table and in the model card.
WORDS = {
    "leak": ("is also in train", "are also in train", "also in train"),
    "leak_swapped": ("is in train, swapped", "are in train, swapped", "in train, swapped"),
    "labels": ("also has another label", "also have another label", "with several labels"),
    "cut": ("is cut to {max_length} tokens", "are cut to {max_length} tokens", "cut to --max-length"),
    "giveaway": ("", "", "one column predicts the label"),
    "absent": ("", "", "classes without an example"),
    "repeats": ("repeats an earlier one", "repeat earlier ones", "repeated"),
    "often": ("has a sentence of very many", "have a sentence of very many", "with a frequent sentence"),
    "labels_swapped": (
        "has another label if swapped",
        "have another label if swapped",
        "another label if swapped",
    ),
    "dropped": ("is left out", "are left out", "left out, without text or label"),
}
CUT = {
    "longest": "the longer sentence first",
    "first": "the first sentence",
    "second": "the second sentence",
    "head-tail": "in the middle",
}
WIDTH, LINES = 120, 3  # of the short form


def percent(share: float) -> str:
    return "< 0.1%" if 0 < share < 0.0005 else f"{share:.1%}"


def short(findings: Sequence[Finding], max_length: int, truncation: str) -> list[str]:
    """At most LINES lines about the findings, the gravest first; none if there are none. Rows that are left out have
    been reported when the data were read."""
    kinds = [kind for kind in WORDS if kind != "dropped" and any(finding.what == kind for finding in findings)]
    if not kinds:
        return []
    texts = [sentence([f for f in findings if f.what == kind], max_length, truncation) for kind in kinds]
    for number in range(len(texts), 0, -1):
        rest = f"; and {len(texts) - number} more" if number < len(texts) else ""
        text = f"data: {'; '.join(texts[:number])}{rest} (rows: audit.json, or --audit)"
        lines = textwrap.wrap(text, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
        if len(lines) <= LINES:
            break
    return lines


def sentence(findings: Sequence[Finding], max_length: int, truncation: str) -> str:
    """The findings of one kind, of all splits, in words."""
    what = findings[0].what
    if what == "giveaway":
        return ", ".join(
            f"{f.more['column']!r} alone predicts the label ({f.more['metric']} {f.more['score']:.3f}, by chance "
            f"{f.more['baseline']:.3f})"
            for f in findings
        )
    if what == "absent":
        return ", ".join(f"no {f.split} example of {listed(f.more['classes'])}" for f in findings)
    subjects = [f"{f.count} {f.split} pair{'s' * (f.count > 1)} ({percent(f.share)})" for f in findings]
    several = len(findings) > 1 or findings[0].count > 1
    predicate = WORDS[what][several].format(max_length=max_length)
    return f"{' and '.join(subjects)} {predicate}" + (f", {CUT[truncation]}" if what == "cut" else "")


def listed(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def table(findings: Sequence[Finding]) -> list[str]:
    """All findings as a table for the terminal."""
    if not findings:
        return ["audit: nothing found"]
    head = ("audit", "split", "count", "share", "rows")
    rows = [(WORDS[f.what][2], f.split, str(f.count), percent(f.share), details(f)) for f in findings]
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(4)]
    return [
        f"{row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]:>{widths[2]}}  {row[3]:>{widths[3]}}  {row[4]}".rstrip()
        for row in (head, *rows)
    ]


def details(finding: Finding) -> str:
    """The examples of a finding by row number, and what else is known about it."""
    rows = [str(row) for row in finding.rows]
    if finding.beside:
        rows = [f"{row} (train {other})" for row, other in zip(rows, finding.beside, strict=True)]
    more = finding.more
    parts = [", ".join(rows)] if rows else []
    if "tokens" in more:
        parts.append(f"{more['tokens']} tokens lost ({percent(more['tokens_share'])})")
    if "sentences" in more:
        parts.append(f"sentences: {more['sentences']}")
    if "classes" in more:
        parts.append(listed(more["classes"]))
    if "column" in more:
        parts.append(f"{more['column']}: {more['metric']} {more['score']:.3f}, by chance {more['baseline']:.3f}")
    return "; ".join(parts)


def counts(findings: Iterable[Finding]) -> dict[str, dict[str, int]]:
    """How many examples of each split are concerned, by finding: no text of the data and no row."""
    found: dict[str, dict[str, int]] = {}
    for finding in findings:
        found.setdefault(finding.what, {})[finding.split] = finding.count
    return found
