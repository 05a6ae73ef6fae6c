"""The command line of `python -m pairft.predict`, read and checked before anything is computed."""

import argparse
import csv
from collections.abc import Collection, Sequence
from pathlib import Path

from pairft import disk
from pairft.command import Parser
from pairft.data import formats, hub
from pairft.errors import UserError
from pairft.parsing import closest, columns_in
from pairft.prediction import sinks
from pairft.prediction.decision import check_threshold
from pairft.tasks import THRESHOLD_METRICS

DESCRIPTION = "Predict the label of each pair in a file, or of one pair, with a trained model."
OUTPUTS = sinks.OUTPUTS
STANDARD = "-"  # standard input or output
ON_BAD_ROW = ("error", "skip", "null")


def parser() -> argparse.ArgumentParser:
    flags = Parser(prog="python -m pairft.predict", description=DESCRIPTION, allow_abbrev=False)
    flags.add_argument(
        "--model", required=True, help="a run's best/ or last/, or any folder or Hub id of a sequence classifier"
    )
    flags.add_argument(
        "--data",
        metavar="FILE",
        help=f"rows to predict: {formats.SHOWN}; or a folder of such files, or - for standard input",
    )
    flags.add_argument(
        "--output",
        metavar="FILE",
        help=f"file for the rows with their answers: {', '.join(OUTPUTS)}; FOLDER/ for several files (the same "
        "command resumes there); or - for standard output",
    )
    flags.add_argument(
        "--text",
        nargs="+",
        metavar="SENTENCE",
        help="one pair instead of a file: the next one or two arguments, even if they begin with a dash; give a "
        "sentence that equals one of these flags as --text=SENTENCE",
    )
    flags.add_argument(
        "--task",
        help="task whose metrics are printed: ax, for a model trained on mnli; any, for a model from elsewhere "
        "(default: the model's own)",
    )
    flags.add_argument("--text-columns", help="columns of the sentences, comma-separated (default: as in training)")
    flags.add_argument("--label-column", help="column of the labels, if any (default: as in training)")
    flags.add_argument(
        "--columns", help="columns of the output, comma-separated (default: all of the rows' and answers')"
    )
    flags.add_argument(
        "--top-k", type=int, metavar="K", help="write the K most probable classes, each with its probability"
    )
    flags.add_argument(
        "--on-bad-row",
        default="error",
        choices=ON_BAD_ROW,
        help="what to do with a row that is blank or can't be read: skip leaves it out, null leaves its answer empty "
        "(default: error, before anything is written)",
    )
    flags.add_argument(
        "--format",
        choices=(*formats.TEXT_FORMATS, "parquet"),
        help="format of standard input and output (default: input as it begins, output as jsonl), and of the files of "
        "FOLDER/ (default: parquet)",
    )
    flags.add_argument(
        "--glue-submission",
        metavar="DIR",
        help="write the file for GLUE's leaderboard into this folder, of the test split in --data (default: the Hub's)",
    )
    add_probability_flags(flags)
    flags.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"), help="(default: auto)")
    flags.add_argument(
        "--precision", default="auto", choices=("auto", "fp32", "bf16", "fp16"), help="as in training (default: auto)"
    )
    return flags


def add_probability_flags(flags: argparse.ArgumentParser) -> None:
    flags.add_argument(
        "--calibrated", action="store_true", help="probabilities at the temperature in the model's calibration.json"
    )
    flags.add_argument(
        "--threshold",
        metavar="METRIC|P",
        help="for two classes: a row with at least this probability gets the positive class; as chosen in training for "
        f"{', '.join(THRESHOLD_METRICS[:-1])} or {THRESHOLD_METRICS[-1]}, or a number between 0 and 1 (default: the "
        "more probable class)",
    )


def take_text(argv: Sequence[str], flags: Collection[str]) -> tuple[list[str], list[str] | None]:
    """The arguments without --text and its sentences, and the sentences (None without --text). argparse would mistake a
    sentence that begins with a dash for a flag."""
    rest: list[str] = []
    sentences: list[str] | None = None
    left = 0
    for argument in argv:
        if argument == "--text":
            sentences, left = sentences or [], 2
        elif argument.startswith("--text="):
            sentences, left = [*(sentences or []), argument.removeprefix("--text=")], 1
        elif left and sentences is not None and argument.split("=")[0] not in flags:
            sentences.append(argument)
            left -= 1
        else:
            rest.append(argument)
            left = 0
    return rest, sentences


def read_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """The checked arguments; `text` is the list of sentences, or None. Exits after --help; raises UserError."""
    flags = parser()
    names = list(flags._option_string_actions)
    rest, sentences = take_text(argv, names)
    args, unknown = flags.parse_known_args(rest)
    args.text = sentences
    if unknown:
        hint = "; --text takes one or two sentences, each in quotes" if sentences else ""
        raise UserError(f"unknown argument {unknown[0]}{closest(unknown[0], names)}{hint}")
    check(args)
    return args


def check(args: argparse.Namespace) -> None:
    """Raise UserError if arguments exclude each other, a file is missing, or the output can't be written or would
    overwrite an input."""
    if args.glue_submission is not None:
        check_submission(args)
    elif (args.text is None) == (args.data is None):
        raise UserError("give either --data FILE or --text SENTENCE SENTENCE")
    if args.text is not None:
        check_text(args)
    elif args.data not in (None, STANDARD):
        data = disk.expanded(args.data)
        if not data.exists():
            raise UserError(f"--data {data} does not exist: name a file")
        if not data.is_dir() and not data.is_file():  # such as a named pipe, which can't be read twice
            raise UserError(f"--data {data} is not a file: give its content to --data - through standard input")
        if not data.is_dir() and not formats.is_readable(data):
            raise UserError(f"--data {data}: its name should end in one of {formats.SHOWN}")
    if args.output == STANDARD and args.text is not None:
        raise UserError("--output - is for the rows of --data: the answer for --text is printed anyway")
    several = args.output is not None and is_folder(args.output)
    if args.format is not None and STANDARD not in (args.data, args.output) and not several:
        raise UserError("--format is for --data -, --output - and --output FOLDER/: the name of a file says its format")
    if args.format == "parquet" and args.output == STANDARD:
        raise UserError("--format parquet can't be written to standard output: name a file with --output")
    if args.top_k is not None and args.top_k < 1:
        raise UserError(f"--top-k is {args.top_k}, but should be at least 1")
    check_threshold(args.threshold, args.top_k)
    if args.columns is not None:
        if args.output is None:
            raise UserError("--columns names columns of --output: add --output, or leave it out")
        args.columns = named_columns(args.columns)
    if args.output not in (None, STANDARD):
        check_output(disk.expanded(args.output), args)
    missing = hub.unavailable({"--model": args.model})
    if missing:
        raise UserError(f"{missing}. Restore the connection, or name a local folder")


def check_submission(args: argparse.Namespace) -> None:
    """Raise UserError for a flag that doesn't go with --glue-submission."""
    flags = ("--text", "--output", "--columns", "--top-k", "--label-column", "--threshold")
    given = [flag for flag in flags if getattr(args, flag[2:].replace("-", "_")) is not None]
    given += ["--on-bad-row"] if args.on_bad_row != "error" else []
    given += ["--calibrated"] if args.calibrated else []
    if given:
        raise UserError(f"{given[0]} doesn't go with --glue-submission, whose files have a format of their own")
    folder = disk.expanded(args.glue_submission)
    if disk.exists(folder) and not folder.is_dir():
        raise UserError(f"--glue-submission {folder} is a file: name a folder")
    if args.data == STANDARD:
        raise UserError("--glue-submission reads files: name one with --data, or leave it out for the Hub's")


def check_text(args: argparse.Namespace) -> None:
    """Raise UserError for a flag that is without effect on one pair."""
    for flag, value in (("--text-columns", args.text_columns), ("--label-column", args.label_column)):
        if value is not None:
            raise UserError(f"{flag} names a column of --data: leave it out with --text")
    if args.task is not None:
        raise UserError("--task chooses the metrics of --data: leave it out with --text")
    if args.output is not None and is_folder(args.output):
        raise UserError(f"--output {args.output} is a folder for the rows of --data: name a file with --text")
    if args.on_bad_row != "error":
        raise UserError("--on-bad-row is for the rows of --data: leave it out with --text")


def named_columns(text: str) -> tuple[str, ...]:
    """The names in --columns. Raises UserError if there are none, or one twice."""
    try:
        names = columns_in(text)
    except csv.Error:
        names = ()
    if not names or not all(names) or len(set(names)) < len(names):
        raise UserError(f"--columns is {text!r}, but should be names of columns, comma-separated, each once")
    return names


def is_folder(output: str) -> bool:
    """Whether --output names a folder for several files."""
    return output.endswith("/")


def check_output(output: Path, args: argparse.Namespace) -> None:
    if is_folder(args.output):
        check_outside(output, args)
        if output.exists() and not output.is_dir():
            raise UserError(f"--output {output}/ is a file: leave out the slash, or name a folder")
        return
    if output.is_dir():
        raise UserError(f"--output {output} is a folder: name a file, or write {output}/ for several files in it")
    if not sinks.is_output(output):
        raise UserError(f"--output {output}: its name should end in one of {', '.join(OUTPUTS)}")
    check_outside(output, args)
    partial = sinks.partial_path(output)
    try:
        partial.touch()
        partial.unlink()
    except OSError as error:
        raise UserError(f"can't write --output {output}: {error.strerror}") from None


def check_outside(output: Path, args: argparse.Namespace) -> None:
    """Raise UserError if the output is, or is in a folder, that is read."""
    model = disk.expanded(args.model)
    held = [path for path in model.rglob("*") if path.is_file()] if model.is_dir() else []
    inputs: list[Path] = []
    if args.data not in (None, STANDARD):
        data = disk.expanded(args.data)
        inputs = [data, *(data.iterdir() if data.is_dir() else ())]
        if data.is_dir() and data.resolve() in output.resolve().parents:
            raise UserError(f"--output {output} is in the folder of --data {args.data}: choose another")
    if output.exists() and any(map(output.samefile, inputs)):
        raise UserError(f"--output {output} is the file that --data names: choose another, it would be overwritten")
    if (held and model.resolve() in output.resolve().parents) or (output.exists() and any(map(output.samefile, held))):
        raise UserError(f"--output {output} is in the folder of --model {args.model}: choose another")
