"""python -m pairft.compare: is one run better than another, or is it chance? On the same examples, or over seeds."""

import argparse
import functools
import io
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pairft import disk
from pairft.command import Parser, collector_paused, exit_code, stopped_by_signals
from pairft.errors import UserError
from pairft.output import say

if TYPE_CHECKING:
    from pairft.comparison.alignment import Examples
    from pairft.comparison.reading import Answers
    from pairft.comparison.sides import Run, Side

FORMATS = ("text", "html", "json")
CHOSEN = (
    "best/ was chosen by its score on these {unit}, so all scores are a bit too good: alike for all, if as many models "
    "were there to choose from"
)
ONE_RUN = (
    "one run each: this compares two models, not their settings; another seed gives other models (several: train with "
    "--seeds, and compare the groups)"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Compare as the command line says. Returns the exit code."""
    return exit_code(functools.partial(start, sys.argv[1:] if argv is None else argv), "check permissions or make room")


def parser() -> Parser:
    flags = Parser(
        prog="python -m pairft.compare",
        description="Compare runs on the same examples: which is better, and is it more than chance?",
        allow_abbrev=False,
    )
    flags.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="two or more run directories, or groups of --seeds; all against the first",
    )
    flags.add_argument("--format", choices=FORMATS, help="(default: as the name of --output ends, else text)")
    flags.add_argument("--output", metavar="FILE", help="file to write (default: standard output)")
    flags.add_argument("--metric", help="metrics to compare, comma-separated (default: the task's, and loss)")
    flags.add_argument(
        "--which", default="best", metavar="best|last|STEP", help="the models to compare (default: best)"
    )
    flags.add_argument("--split", help="split whose kept answers are compared (default: validation)")
    flags.add_argument("--data", metavar="FILE", help="labelled rows of your own for the models to answer instead")
    flags.add_argument("--text-columns", help="with --data: columns of the sentences (default: as in training)")
    flags.add_argument("--label-column", help="with --data: column of the labels (default: as in training)")
    flags.add_argument(
        "--device", choices=("auto", "cpu", "cuda", "mps"), help="with --data: of the models (default: auto)"
    )
    flags.add_argument(
        "--pair-by-seed",
        action="store_true",
        help="runs whose settings differ by seed alone are a group, and groups are compared over the seeds",
    )
    flags.add_argument(
        "--limit", type=int, default=20, metavar="N", help="examples of each kind to show; json has all (default: 20)"
    )
    return flags


def start(argv: Sequence[str]) -> int:
    args = parser().parse_args(argv)
    check(args)
    with stopped_by_signals():
        shown = compare(args, argv)
        if args.output is not None:
            disk.write_text(disk.expanded(args.output), shown)
            say(f"written to {args.output}")
            return 0
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # of a terminal that can't show a character
        try:
            if sys.stdout is not None:  # it was closed before Python started
                sys.stdout.write(shown)
                sys.stdout.flush()
        except BrokenPipeError:  # the reader, such as head, has closed the pipe
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python's own flush on exit fails, too
    return 0


def check(args: argparse.Namespace) -> None:
    """Raise UserError for flags that exclude each other, or an output that can't be written. Turns a step into a
    number, and sets the format."""
    if args.which.isdecimal():
        args.which = int(args.which)
    elif args.which not in ("best", "last"):
        raise UserError(f"--which is {args.which!r}, but should be best, last or the number of a step")
    if args.data is None:
        for flag in ("--text-columns", "--label-column", "--device"):
            if getattr(args, flag[2:].replace("-", "_")) is not None:
                raise UserError(f"{flag} is about the rows of --data: add --data, or leave it out")
    else:
        if isinstance(args.which, int):
            raise UserError(f"--which {args.which}: there is no model folder of a step, only best and last, for --data")
        if args.split is not None:
            raise UserError("--split names answers that the runs have kept: leave it out with --data")
        if not disk.expanded(args.data).exists():
            raise UserError(f"--data {args.data} does not exist: name a file")
    if args.limit < 0:
        raise UserError(f"--limit is {args.limit}, but should be at least 0")
    if args.output is not None:
        check_output(disk.expanded(args.output), args.data)
    ending = "" if args.output is None else Path(args.output).suffix[1:]
    args.format = args.format or (ending if ending in FORMATS else "text")


def check_output(output: Path, data: str | None) -> None:
    """Raise UserError if --output can't be written, or would replace what is no comparison."""
    if output.is_dir():
        raise UserError(f"--output {output} is a folder: name a file")
    if output.exists() and not output.is_file():
        raise UserError(f"--output {output} is no regular file: name one, or leave it out for standard output")
    if not output.parent.is_dir():
        raise UserError(f"--output {output}: there is no folder {output.parent}; create it, or name another file")
    if data is not None and output.exists() and output.samefile(disk.expanded(data)):
        raise UserError(f"--output {output} is the file that --data names: name another, it would be overwritten")


def compare(args: argparse.Namespace, argv: Sequence[str]) -> str:
    """The comparison, as text, HTML or JSON."""
    with collector_paused():
        from pairft.comparison.alignment import aligned
        from pairft.comparison.page import page_of
        from pairft.comparison.result import result_of
        from pairft.comparison.sides import find_sides
        from pairft.comparison.text import text_of

    sides = find_sides(args.runs, args.pair_by_seed, isinstance(args.which, int))
    runs = [run for side in sides for run in side.runs]
    found = [answers_of(run, args) for run in runs]
    examples, outputs = aligned(found, [str(run.place) for run in runs])
    if not len(examples.rows):
        raise UserError("there are no rows to compare the runs on")
    by_side = iter(outputs)
    about = {
        "which": args.which,
        "rows": args.data or f"the {args.split or 'validation'} split",
        "notes": notes(sides, examples, found, args, argv),
    }
    result = result_of(
        sides, examples, [[next(by_side) for _ in side.runs] for side in sides], metrics(sides, examples, args), about
    )
    if args.format == "json":
        return json.dumps(result, indent=2, ensure_ascii=False) + "\n"
    return page_of(result, args.limit) if args.format == "html" else text_of(result, args.limit)


def answers_of(run: "Run", args: argparse.Namespace) -> "Answers":
    from pairft.comparison.reading import kept_answers, model_answers

    if args.data is None:
        return kept_answers(run, args.which, args.split or "validation")
    return model_answers(run.place / args.which, args.data, args.text_columns, args.label_column, args.device or "auto")


def metrics(sides: Sequence["Side"], examples: "Examples", args: argparse.Namespace) -> list[str]:
    """The metrics to compare, the one that decides over seeds first."""
    from pairft.comparison.scores import chosen_metrics
    from pairft.tasks import TASKS, metrics_of

    configs = [run.config for side in sides for run in side.runs]
    own, main = metrics_of(TASKS[configs[0]["task"]], examples.problem_type)
    has_losses = args.data is not None or not any(config.get("preset") == "trainer" for config in configs)
    asked = None if args.metric is None else [name.strip() for name in args.metric.split(",")]
    return chosen_metrics(asked, list(dict.fromkeys([main, *own])), examples.problem_type, has_losses)


def notes(
    sides: Sequence["Side"],
    examples: "Examples",
    found: Sequence["Answers"],
    args: argparse.Namespace,
    argv: Sequence[str],
) -> list[str]:
    """What to keep in mind. Records a look at rows of your own."""
    notes: list[str] = []
    if args.data is None and args.which == "best" and args.split in (None, "validation"):
        notes.append(CHOSEN.format(unit="pairs" if len(examples.text_columns) == 2 else "sentences"))
    if not sides[0].is_group:
        notes.append(ONE_RUN)
    for side in sides:
        if side.left_out:
            seeds = f"seed{'s' * (len(side.left_out) > 1)} {', '.join(map(str, side.left_out))}"
            notes.append(
                f"{side.letter}: not compared: {seeds}, which not every group has results for; leaving out a run that "
                "diverged flatters its settings"
            )
    if any(one.positive != examples.positive for one, _ in found) and examples.names and examples.positive is not None:
        notes.append(
            f"F1 is about {examples.names[examples.positive]!r}, as in the first run; others chose another class"
        )
    if args.data is not None:
        from pairft.runs import looks

        rows = looks.labelled_rows(examples.texts, map(examples.label_text, examples.labels))
        said = looks.look([run.place / args.which for side in sides for run in side.runs], rows, argv)
        for line in said if args.output is not None or args.format != "text" else ():  # text has it at its top
            say(line)
        notes += said
    return notes


if __name__ == "__main__":
    sys.exit(main())
