"""The command line of `python -m pairft.predict`, read and checked before anything is computed."""

import argparse
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NoReturn

from pairft import disk
from pairft.data import formats, hub
from pairft.errors import UserError
from pairft.parsing import closest

DESCRIPTION = "Predict the label of each pair in a file, or of one pair, with a trained model."
OUTPUTS = (".csv", ".tsv", ".json", ".jsonl", ".parquet")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; {self.prog} --help lists the flags")


def parser() -> argparse.ArgumentParser:
    flags = _Parser(prog="python -m pairft.predict", description=DESCRIPTION, allow_abbrev=False)
    flags.add_argument("--model", required=True, help="a run's best/ or last/, or any folder of a sequence classifier")
    flags.add_argument(
        "--data",
        metavar="FILE",
        help=f"pairs to predict: {formats.SHOWN}",
    )
    flags.add_argument("--output", metavar="FILE", help=f"file for the predictions: {', '.join(OUTPUTS)}")
    flags.add_argument(
        "--text",
        nargs="+",
        metavar="SENTENCE",
        help="one pair instead of a file: the next one or two arguments, even if they begin with a dash; give a "
        "sentence that equals one of these flags as --text=SENTENCE",
    )
    flags.add_argument(
        "--task", help="task whose metrics are printed: ax, for a model trained on mnli (default: the model's own)"
    )
    flags.add_argument("--text-columns", help="columns of the sentences, comma-separated (default: as in training)")
    flags.add_argument("--label-column", help="column of the labels, if any (default: as in training)")
    flags.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"), help="(default: auto)")
    flags.add_argument(
        "--precision", default="auto", choices=("auto", "fp32", "bf16", "fp16"), help="as in training (default: auto)"
    )
    return flags


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
    if (args.text is None) == (args.data is None):
        raise UserError("give either --data FILE or --text SENTENCE SENTENCE")
    if args.text is not None:
        for flag, value in (("--text-columns", args.text_columns), ("--label-column", args.label_column)):
            if value is not None:
                raise UserError(f"{flag} names a column of --data: leave it out with --text")
        if args.task is not None:
            raise UserError("--task chooses the metrics of --data: leave it out with --text")
    else:
        data = disk.expanded(args.data)
        if not data.is_file():
            raise UserError(f"--data {data} {'is a folder' if data.is_dir() else 'does not exist'}: name a file")
        if not formats.is_readable(data):
            raise UserError(f"--data {data}: its name should end in one of {formats.SHOWN}")
    if args.output is not None:
        check_output(disk.expanded(args.output), args)
    missing = hub.unavailable({"--model": args.model})
    if missing:
        raise UserError(f"{missing}. Restore the connection, or name a local folder")


def check_output(output: Path, args: argparse.Namespace) -> None:
    if output.suffix not in OUTPUTS:
        raise UserError(f"--output {output}: its name should end in one of {', '.join(OUTPUTS)}")
    model = disk.expanded(args.model)
    held = [path for path in model.rglob("*") if path.is_file()] if model.is_dir() else []
    if output.exists() and args.data is not None and output.samefile(disk.expanded(args.data)):
        raise UserError(f"--output {output} is the file that --data names: choose another, it would be overwritten")
    if (held and model.resolve() in output.resolve().parents) or (output.exists() and any(map(output.samefile, held))):
        raise UserError(f"--output {output} is in the folder of --model {args.model}: choose another")
    if output.is_dir():
        raise UserError(f"can't write --output {output}: it is a folder")
    partial = partial_path(output)
    try:
        partial.touch()
        partial.unlink()
    except OSError as error:
        raise UserError(f"can't write --output {output}: {error.strerror}") from None


def partial_path(output: Path) -> Path:
    """The temporary name of `output` while it is written."""
    return output.with_name(f".{output.name}-{os.getpid()}.part")
