"""python -m pairft.predict: what a trained model says of a file of pairs, or of one pair."""

import argparse
import json
import os
import signal
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NoReturn

from pairft import disk
from pairft.config import Config, closest, parse_value
from pairft.data import hub
from pairft.errors import EXIT_SIGNAL, EXIT_USER, USER_ERRNOS, UserError

OUTPUTS = (".csv", ".tsv", ".json", ".jsonl", ".parquet")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; {self.prog} --help lists the flags")


def parser() -> argparse.ArgumentParser:
    made = _Parser(prog="python -m pairft.predict", description=__doc__, allow_abbrev=False)
    made.add_argument("--model", required=True, help="a run's best/ or last/, or any folder of a sequence classifier")
    made.add_argument(
        "--data", metavar="FILE", help="pairs to judge: parquet, csv, tsv, json (rows or a list) or jsonl"
    )
    made.add_argument("--output", metavar="FILE", help=f"where each row's answer goes: {', '.join(OUTPUTS)}")
    made.add_argument(
        "--text",
        nargs="+",
        metavar="SENTENCE",
        help="one pair instead of a file: the next one or two arguments as they stand, dashes in front and all; only a "
        "sentence that reads like one of these flags has to be given as --text=SENTENCE",
    )
    made.add_argument("--text-columns", help="columns of the sentences, comma-separated (default: as in training)")
    made.add_argument("--label-column", help="column of the labels, if any (default: as in training)")
    made.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"), help="(default: auto)")
    made.add_argument(
        "--precision", default="auto", choices=("auto", "fp32", "bf16", "fp16"), help="as in training (default: auto)"
    )
    return made


def take_text(argv: Sequence[str], flags: Collection[str]) -> tuple[list[str], list[str] | None]:
    """The arguments without --text and its sentences, and these. argparse would take a sentence that begins with a dash
    for a flag."""
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


def main(argv: Sequence[str] | None = None) -> int:
    made = parser()
    flags = list(made._option_string_actions)
    try:
        rest, sentences = take_text(sys.argv[1:] if argv is None else argv, flags)
        args, unknown = made.parse_known_args(rest)
        args.text = sentences
        if unknown:
            hint = "; --text takes one or two sentences, each in quotes" if sentences else ""
            raise UserError(f"unknown argument {unknown[0]}{closest(unknown[0], flags)}{hint}")
        check(args)
        predict(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return EXIT_SIGNAL + signal.SIGINT
    except BrokenPipeError:  # behind head, say: whoever read the answer has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python's own flush at the end fails, too
        return 0
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return EXIT_USER
    except OSError as error:
        if error.errno not in USER_ERRNOS:
            raise
        what = f"{error.filename or 'writing'}: {error.strerror}"
        sys.stderr.write(f"error: {what}; make room, allow it or choose another place (HF_HOME is the cache's)\n")
        return EXIT_USER
    return 0


def check(args: argparse.Namespace) -> None:
    """Raise UserError for arguments that don't go together, a file that isn't there, or an output that can't be written
    or would overwrite what is read. Done first: nothing should be computed in vain."""
    from pairft.data import files

    if (args.text is None) == (args.data is None):
        raise UserError("give either --data FILE or --text SENTENCE SENTENCE")
    if args.text is not None:
        for flag, value in (("--text-columns", args.text_columns), ("--label-column", args.label_column)):
            if value is not None:
                raise UserError(f"{flag} is about the columns of --data: leave it out with --text")
    else:
        data = disk.expanded(args.data)
        if not data.is_file():
            raise UserError(f"--data {data} {'is a folder' if data.is_dir() else 'does not exist'}: name a file")
        if data.suffix.lstrip(".") not in files.SUFFIXES:
            raise UserError(f"--data {data}: its name should end in one of .{', .'.join(files.SUFFIXES)}")
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
        raise UserError(f"--output {output} is one of the files of --model {args.model}, or among them: choose another")
    if output.is_dir():
        raise UserError(f"can't write --output {output}: it is a folder")
    part = part_of(output)
    try:
        part.touch()
        part.unlink()
    except OSError as error:
        raise UserError(f"can't write --output {output}: {error.strerror}") from None


def predict(args: argparse.Namespace) -> None:
    """Answer for one pair or for a file's rows; print the metrics where the file has labels."""
    import datasets

    from pairft.answers import answers_of, labels_of, scores_of
    from pairft.data import batches, lengths, tokens
    from pairft.data.files import read_files
    from pairft.data.pairs import Pairs, check_rows
    from pairft.model import classifier as model
    from pairft.model import head, padding
    from pairft.speed import unpad
    from pairft.training import device
    from pairft.training.evaluation import run_model

    datasets.disable_progress_bars()
    about = about_of(args.model)
    tokenizer, config = model.load_tokenizer(args.model)
    kind, held = head.kind_of(config), head.names_of(config)
    names = None if len(held) == 1 and kind != head.MULTI_LABEL else held
    columns = columns_of(args, about)
    label_column = args.label_column or about.get("label_column", "label")
    if args.data is not None:
        rows = read_files([disk.expanded(args.data)], columns, label_column, label_needed=args.label_column is not None)
    else:
        rows = datasets.Dataset.from_dict({name: [text] for name, text in zip(columns, args.text, strict=True)})
    where = args.data or "--text"
    check_rows(rows, where, columns, label_column, label_needed=False)
    ids: dict[str, float] = {}
    if args.data is not None and label_column in rows.column_names:
        try:
            ids = labels_of(rows, where, label_column, names, config, about)
            if not ids and args.output is not None:
                sys.stderr.write(f"{where}: the column {label_column!r} holds no known label, so nothing is scored\n")
        except UserError as error:
            if args.output is None:
                raise
            sys.stderr.write(f"not scored: {error}\n")
    if not ids and args.data is not None and args.output is None:
        raise UserError(f"{args.data} has no labels to score: say with --output where the answers should go")

    pairs = Pairs({"test": rows}, columns, label_column, names, ids)
    max_length = about.get("max_length") or lengths.length_limit(tokenizer, config)
    dataset = tokens.tokenise(pairs, tokenizer, max_length)["test"]
    where_to, amp_dtype = device.choose(Config(device=args.device, precision=args.precision))
    classifier, *_ = model.load_model(args.model, names, "trained")
    collate = batches.collate_for(tokenizer, where_to)
    if args.data is not None:  # a pair alone has no padding
        collate, warning = padding.checked_collate(classifier, tokenizer, dataset, where_to, may_change=True)
        if warning:
            sys.stderr.write(warning + "\n")
    classifier.to(where_to)
    if args.data is not None and device.is_on("auto", where_to):
        trial = unpad.trial_rows(dataset, config, lengths.length_limit(tokenizer, config))
        collate, _ = unpad.prepare(classifier, collate, trial, lengths.first_position(config), amp_dtype)
    outcome = run_model(classifier, dataset, collate, where_to, amp_dtype)
    answers = answers_of(outcome.logits, names, kind)
    if args.text is not None:
        print(json.dumps({key: values[0] for key, values in answers.items()}, ensure_ascii=False))
    if args.output is not None:
        write(answers, disk.expanded(args.output))
    if ids:
        print(scores_of(outcome, names, about))


def about_of(model: str) -> dict[str, Any]:
    """What a run has noted beside its model; nothing for a model from elsewhere."""
    from pairft.model.classifier import SIDECAR

    file = disk.expanded(model) / SIDECAR
    try:
        about: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except ValueError:
        raise UserError(f"{file} is not JSON: save the model again, or remove it and use --text-columns") from None
    return about


def columns_of(args: argparse.Namespace, about: dict[str, Any]) -> tuple[str, ...]:
    """The columns of the sentences. Raises UserError where there are not as many as the model reads."""
    trained = tuple(about.get("text_columns", ()))
    if args.text is not None:
        wanted = len(trained) or len(args.text)
        if len(args.text) != wanted or not 0 < wanted <= 2:
            raise UserError(f"--text has {len(args.text)} sentences, but this model reads {min(max(wanted, 1), 2)}")
        return tuple(f"sentence{number + 1}" for number in range(wanted))
    columns = parse_value("text_columns", args.text_columns) or trained
    if not columns:
        raise UserError(f"{args.model} doesn't say which columns it reads: name them with --text-columns")
    if len(columns) > 2 or not all(columns):
        raise UserError(f"--text-columns is {args.text_columns!r}, but should name one or two columns")
    if trained and len(columns) != len(trained):
        raise UserError(
            f"--text-columns names {len(columns)} column(s), but {args.model} was trained on {len(trained)}"
        )
    return columns


def part_of(output: Path) -> Path:
    """The name of an output that is being written."""
    return output.with_name(f".{output.name}-{os.getpid()}.part")


def write(answers: dict[str, list[Any]], path: Path) -> None:
    """The answers as a file of the kind that its name says, there whole or not at all."""
    import datasets

    table = datasets.Dataset.from_dict(answers)
    part = part_of(path)
    try:
        if path.suffix == ".parquet":
            table.to_parquet(part)
        elif path.suffix in (".json", ".jsonl"):
            # In one batch: a list of rows can't be written in several.
            table.to_json(part, lines=path.suffix == ".jsonl", batch_size=len(table), force_ascii=False)
        else:
            table.to_csv(part, sep="\t" if path.suffix == ".tsv" else ",")
        os.replace(part, path)
    except OSError as error:
        if part.parent.is_dir():
            part.unlink(missing_ok=True)
        raise UserError(f"can't write --output {path}: {error.strerror}") from None


if __name__ == "__main__":
    sys.exit(main())
