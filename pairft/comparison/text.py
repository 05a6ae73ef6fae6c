"""A comparison as text for the terminal."""

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from pairft.comparison.words import shown_p
from pairft.tasks import f1_of

WIDTH = 100
HEADS = {
    "fixed": "fixed: {first} is wrong, {second} is right",
    "broken": "broken: {first} is right, {second} is wrong",
    "closer": "closer: {second} has a smaller error than {first}",
    "further": "further: {second} has a larger error than {first}",
}


def text_of(result: dict[str, Any], limit: int) -> str:
    """All of it, with at most `limit` flipped examples of each kind."""
    lines = [*sides(result), *settings(result), *scores(result)]
    for comparison in result["comparisons"]:
        lines += [*outcome(comparison, result), ""]
    for comparison in result["comparisons"]:
        for kind, found in comparison["flips"].items():
            lines += [*flipped(kind, found, comparison, limit), ""]
    return "\n".join(map(printable, lines)).rstrip() + "\n"


def sides(result: dict[str, Any]) -> Iterator[str]:
    for side in result["sides"]:
        seeds = f", seeds {', '.join(map(str, side['seeds']))}" if side["seeds"] else ""
        yield f"{side['letter']}  {side['name']}{seeds}"
    yield f"{model_of(result)} on {result['num_rows']:,} {result['unit']} of {result['rows']}"
    for note in result["notes"]:
        yield from textwrap.wrap(note, WIDTH)
    yield ""


def model_of(result: dict[str, Any]) -> str:
    which = result["which"]
    return f"the models after step {which}" if isinstance(which, int) else f"the {which} models"


def settings(result: dict[str, Any]) -> list[str]:
    if not result["settings"]:
        return ["no setting differs", ""]
    letters = [side["letter"] for side in result["sides"]]
    rows = [["differs", *letters], *([row["name"], *row["values"]] for row in result["settings"])]
    return [*columns(rows), ""]


def scores(result: dict[str, Any]) -> list[str]:
    sides, others = result["sides"], result["comparisons"]
    rows = [["metric", *(side["letter"] for side in sides), *(f"{o['second']} - {o['first']}" for o in others)]]
    for name in sides[0]["scores"]:
        found = [side["scores"][name] for side in sides]
        changes = [other["differences"][name] for other in others]
        values = [estimate(one, "") for one in found] + [estimate(one, "+") for one in changes]
        rows.append([metric_name(name, result), *values])
    about = f"{100 * result['confidence']:.0f} % intervals: {result['resamples']:,} bootstrap resamples of the "
    about += f"{result['unit']}, the same for all models"
    about += "" if sides[0]["seeds"] is None else "; other seeds vary more"
    return [*columns(rows), about, ""]


def metric_name(name: str, result: dict[str, Any]) -> str:
    """With whose F1 it is."""
    return f1_of(result["positive_class"]) if name == "f1" and result["problem_type"].startswith("single") else name


def estimate(one: dict[str, Any], sign: str) -> str:
    low, high = one["interval"]
    return f"{one['value']:{sign}.4f} ({low:{sign}.4f} to {high:{sign}.4f})"


def outcome(comparison: dict[str, Any], result: dict[str, Any]) -> list[str]:
    """The verdict, how it was reached, and what to keep in mind."""
    letters = f"{comparison['second']} against {comparison['first']}: " if len(result["comparisons"]) > 1 else ""
    lines = [letters + comparison["verdict"]]
    if comparison["test"]:
        lines.append(f"by {comparison['test']['name']} on the {result['num_rows']:,} {result['unit']}")
    else:
        lines += list(over_seeds(comparison, result["sides"][0]["seeds"]))
    return [*lines, *(line for note in comparison["notes"] for line in textwrap.wrap(f"note: {note}", WIDTH))]


def over_seeds(comparison: dict[str, Any], seeds: Sequence[int]) -> Iterator[str]:
    change = f"{comparison['second']} minus {comparison['first']}"
    yield f"by the paired t-test over seeds, not over examples; {change} of each seed:"
    rows = [["seed", *map(str, seeds), "mean", "95 % interval", "t-test", "Wilcoxon"]]
    for name, test in comparison["seed_tests"].items():
        low, high = test["interval"]
        p_values = ["-" if p is None else shown_p(p) for p in (test["p"], test["p_wilcoxon"])]
        changes = [f"{change:+.4f}" for change in (*test["differences"], test["mean"])]
        rows.append([name, *changes, f"{low:+.4f} to {high:+.4f}", *p_values])
    yield from columns(rows)


def flipped(kind: str, found: Sequence[dict[str, Any]], comparison: dict[str, Any], limit: int) -> Iterator[str]:
    head = HEADS[kind].format(**comparison)
    order = "largest changes" if kind in ("closer", "further") else "surest mistakes"
    shown = f", the {order} first" if len(found) > 1 and limit else ""
    shown += f", {limit} shown" if len(found) > limit else ""
    yield f"{head} ({len(found)}{shown})"
    for row in found[:limit]:
        answers = "   ".join(f"{comparison[side]}: {answer(row[side])}" for side in ("first", "second"))
        yield f"row {row['row']}  label: {row['label']}   {answers}"
        for column, text in row["texts"].items():
            yield from textwrap.wrap(f"{column}: {text}", WIDTH, initial_indent="  ", subsequent_indent="    ")


def answer(given: dict[str, Any]) -> str:
    """What a side answers to an example."""
    if "error" in given:
        return f"{given['answer']:.3g} (off by {given['error']:.3g})"
    if "runs" in given:
        return f"{given['runs_right']} of {given['runs']} right, {given['confidence']:.2f}"
    return f"{given['answer'] or 'no label'} {given['confidence']:.2f}"


def printable(text: str) -> str:
    """A line without characters that would control the terminal."""
    return "".join(character if character.isprintable() else " " for character in text)


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
