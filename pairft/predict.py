"""python -m pairft.predict: what a trained model says of a file of pairs, or of one pair."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from pairft.config import Config, closest, parse_value
from pairft.errors import EXIT_USER, UserError
from pairft.tasks import TASKS, metrics_of

if TYPE_CHECKING:
    import numpy
    from datasets import Dataset

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
    made.add_argument("--text", nargs="+", metavar="SENTENCE", help="one pair instead of a file")
    made.add_argument("--text-columns", help="columns of the sentences, comma-separated (default: as in training)")
    made.add_argument("--label-column", help="column of the labels, if any (default: as in training)")
    made.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"), help="(default: auto)")
    made.add_argument(
        "--precision", default="auto", choices=("auto", "fp32", "bf16", "fp16"), help="as in training (default: auto)"
    )
    return made


def main(argv: Sequence[str] | None = None) -> int:
    made = parser()
    try:
        args, unknown = made.parse_known_args(argv)
        if unknown:
            flags = list(made._option_string_actions)
            raise UserError(f"unknown argument {unknown[0]}{closest(unknown[0], flags)}")
        predict(args)
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return EXIT_USER
    return 0


def predict(args: argparse.Namespace) -> None:
    """Answer for one pair or for a file's rows; print the metrics where the file has labels."""
    if (args.text is None) == (args.data is None):
        raise UserError("give either --data FILE or --text SENTENCE SENTENCE")
    if args.output is not None and Path(args.output).suffix not in OUTPUTS:
        raise UserError(f"--output {args.output}: its name should end in one of {', '.join(OUTPUTS)}")

    import datasets

    from pairft import batches, device, model, padding, tokens, unpad
    from pairft.data import Data, check_rows
    from pairft.evaluation import run_model, score
    from pairft.labels import read_labels

    datasets.disable_progress_bars()
    about_file = Path(args.model).expanduser() / model.SIDECAR
    try:
        about = json.loads(about_file.read_text(encoding="utf-8")) if about_file.is_file() else {}
    except ValueError:
        raise UserError(
            f"{about_file} is not JSON: save the model again, or remove it and use --text-columns"
        ) from None
    tokenizer, config = model.load_tokenizer(args.model)
    names = tuple(config.id2label[index] for index in range(config.num_labels)) if config.num_labels > 1 else None
    max_length = about.get("max_length") or tokens.length_limit(tokenizer, config)
    columns = parse_value("text_columns", args.text_columns) or tuple(about.get("text_columns", ()))
    if len(columns) > 2 or not all(columns):
        raise UserError(f"--text-columns is {args.text_columns!r}, but should name one or two columns")
    if len(columns) != len(about.get("text_columns", columns)):
        wanted = len(about["text_columns"])
        raise UserError(f"--text-columns names {len(columns)} column(s), but {args.model} was trained on {wanted}")
    label_column = args.label_column or about.get("label_column", "label")

    if args.text is not None:
        wanted = len(columns) or len(args.text)
        if len(args.text) != wanted or wanted > 2:
            raise UserError(f"--text has {len(args.text)} sentences, but this model reads {min(wanted, 2)}")
        columns = tuple(f"sentence{number + 1}" for number in range(wanted))
        rows, labelled = one_row(dict(zip(columns, args.text, strict=True))), False
        where = "--text"
    else:
        if not columns:
            raise UserError(f"{args.model} doesn't say which columns it reads: name them with --text-columns")
        rows = rows_of(Path(args.data).expanduser(), columns, label_column)
        labelled = label_column in rows.column_names
        where = args.data
    check_rows(rows, where, columns, label_column, label_needed=False)
    numbered = "task" not in about or TASKS[about["task"]].label_names is not None
    by_number = about.get("labels_by_number", numbered)
    ids = read_labels(rows, where, label_column, names, by_number, label_needed=False)
    if not ids and args.data is not None and args.output is None:
        raise UserError(f"{args.data} has no labels to score: say with --output where the answers should go")
    if labelled and not ids:
        sys.stderr.write(f"{where}: the column {label_column!r} holds no known label, so nothing is scored\n")

    pairs = Data({"test": rows}, columns, label_column, names, ids)
    dataset = tokens.tokenise(pairs, tokenizer, max_length)["test"]
    where_to, amp_dtype = device.choose(Config(device=args.device, precision=args.precision))
    classifier, _ = model.load_model(args.model, names, trained=True)
    collate = batches.collate_for(tokenizer, where_to)
    if args.data is not None:  # a pair alone has no padding
        collate, warning = padding.checked_collate(classifier, tokenizer, dataset, where_to, may_change=True)
        if warning:
            sys.stderr.write(warning + "\n")
    classifier.to(where_to)
    if args.data is not None:
        trial = unpad.trial_rows(dataset, config, tokens.length_limit(tokenizer, config))
        collate, _ = unpad.prepare(classifier, collate, trial, tokens.first_position(config), amp_dtype)
    outcome = run_model(classifier, dataset, collate, where_to, amp_dtype)
    answers = answers_of(outcome.logits, names)
    if args.text is not None:
        print(json.dumps({key: values[0] for key, values in answers.items()}, ensure_ascii=False))
    if args.output is not None:
        write(answers, Path(args.output).expanduser())
    if labelled and ids:
        known = outcome.only(tokens.has_label(outcome.labels))
        metrics, _ = metrics_of(TASKS[about.get("task", "custom")], names)
        scores = score(known, metrics)
        print("  ".join(f"{name} {value:.4f}" for name, value in scores.items()), f" ({len(known.labels)} rows)")


def one_row(row: dict[str, str]) -> "Dataset":
    import datasets

    return datasets.Dataset.from_dict({name: [text] for name, text in row.items()})


def rows_of(path: Path, text_columns: tuple[str, ...], label_column: str) -> "Dataset":
    """The wanted columns of a file. Raises UserError where there is no such file or its kind is unknown."""
    from pairft import files

    if not path.is_file():
        raise UserError(f"--data {path} {'is a folder' if path.is_dir() else 'does not exist'}: name a file")
    if path.suffix.lstrip(".") not in files.SUFFIXES:
        raise UserError(f"--data {path}: its name should end in one of .{', .'.join(files.SUFFIXES)}")
    return files.read_files([path], text_columns, label_column, label_needed=False)


def answers_of(logits: "numpy.ndarray", names: tuple[str, ...] | None) -> dict[str, list[Any]]:
    """Columns: the label's name and the probability of each; for a regression, the score. logits: [rows, classes]."""
    from scipy.special import softmax

    from pairft.evaluation import predictions_of

    if names is None:
        return {"score": predictions_of(logits).tolist()}
    probabilities = softmax(logits, axis=1)
    columns = {f"probability_{name}": probabilities[:, index].tolist() for index, name in enumerate(names)}
    return {"label": [names[index] for index in predictions_of(logits)], **columns}


def write(answers: dict[str, list[Any]], path: Path) -> None:
    """The answers as a file of the kind that its name says, there whole or not at all."""
    import datasets

    table = datasets.Dataset.from_dict(answers)
    part = path.with_name(f".{path.name}.part")
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
