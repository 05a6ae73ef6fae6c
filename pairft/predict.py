"""python -m pairft.predict: a trained model's predictions for a file of pairs, or for one pair."""

import argparse
import functools
import importlib.util
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairft import disk
from pairft.command import exit_code
from pairft.config import Config, parse_value
from pairft.errors import UserError
from pairft.output import say
from pairft.parsing import columns_in
from pairft.predict_args import partial_path, read_arguments
from pairft.tasks import REGRESSION, SINGLE_LABEL, TASKS

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PretrainedConfig

    from pairft.data.meaning import Target

REMEDY = "make room, check permissions or choose another place (HF_HOME: the cache)"


def main(argv: Sequence[str] | None = None) -> int:
    """Predict as the command line says. Returns the exit code."""
    return exit_code(functools.partial(start, sys.argv[1:] if argv is None else argv), REMEDY)


def start(argv: Sequence[str]) -> int:
    args = read_arguments(argv)
    try:
        predict(args)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as head, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python's own flush on exit fails, too
    return 0


def predict(args: argparse.Namespace) -> None:
    """Predict one pair, or the rows of a file; print the metrics if the file has labels."""
    import datasets

    from pairft.answers import answers_of, scores_of
    from pairft.data import batches, lengths, tokens
    from pairft.data.files import read_files
    from pairft.data.pairs import Pairs, check_columns, checked_sentences
    from pairft.model import classifier, head, padding
    from pairft.training import device, evaluation

    datasets.disable_progress_bars()
    about = for_task(args, about_of(args.model))
    tokenizer, model_config = classifier.load_tokenizer(args.model)
    kind, names, one_logit = head.meaning_of(model_config, about)
    columns = columns_of(args, about)
    labels = columns_in(parse_value("label_column", args.label_column) or about.get("label_column", "label"))
    label_column = ", ".join(labels)
    if args.data is not None:
        rows = read_files([disk.expanded(args.data)], columns, labels, label_needed=args.label_column is not None)
    else:
        rows = datasets.Dataset.from_dict({name: [text] for name, text in zip(columns, args.text, strict=True)})
    where = args.data or "--text"
    check_columns(rows, where, columns, labels, label_needed=False)
    blank_allowed = TASKS[about.get("task", "custom")].blank_allowed
    rows = checked_sentences({"data": rows}, {"data": where}, columns, blank_allowed)["data"]
    ids: dict[str, Target] = {}
    if args.data is not None:
        rows, ids = known_labels(args, rows, labels, names, model_config, about)

    several_values = names is not None and kind == REGRESSION  # then nothing is scored
    problem_type = SINGLE_LABEL if several_values else kind
    pairs = Pairs({"test": rows}, columns, label_column, problem_type, names, ids)
    max_length = about.get("max_length") or lengths.length_limit(tokenizer, model_config)
    dataset = tokens.tokenise(pairs, tokenizer, max_length, about.get("truncation", "longest"))["test"]
    target, amp_dtype = device.choose_device(Config(device=args.device, precision=args.precision))
    model, *_ = classifier.load_model(args.model, names, "trained", one_logit=one_logit)
    collate = batches.collate_for(tokenizer, target)
    if args.data is not None:  # a single pair has no padding
        collate, warning = padding.checked_collate(model, tokenizer, dataset, target, may_change=True)
        if warning:
            say(warning)
    model.to(target)
    if args.data is not None and importlib.util.find_spec("pairft.speed") is not None:
        from pairft.speed.fast_paths import padding_free

        collate, _ = padding_free(model, collate, dataset, tokenizer, amp_dtype)
    output = evaluation.predict(model, dataset, collate, target, amp_dtype)
    answers = answers_of(output.logits, names, kind)
    if args.text is not None:
        print(json.dumps({key: values[0] for key, values in answers.items()}, ensure_ascii=False))
    if args.output is not None:
        write(answers, disk.expanded(args.output))
    if ids:
        print(scores_of(output, names, kind, about))


def known_labels(
    args: argparse.Namespace,
    rows: "Dataset",
    labels: Sequence[str],
    names: tuple[str, ...] | None,
    config: "PretrainedConfig",
    about: dict[str, Any],
) -> tuple["Dataset", dict[str, "Target"]]:
    """The rows, with several label columns as one, and the target of each distinct label in the file. There are no
    targets if nothing can be scored, which a line explains. Raises UserError if there is no --output either."""
    from pairft.answers import labels_of
    from pairft.data.label_sets import join_columns

    ids: dict[str, Target] = {}
    label_column = ", ".join(labels)
    if set(labels) <= set(rows.column_names):
        try:
            rows = join_columns(rows, args.data, labels, label_column)
            ids = labels_of(rows, args.data, label_column, names, config, about)
            if not ids and args.output is not None:
                say(f"{args.data}: the column {label_column!r} holds no known label, so nothing is scored")
        except UserError as error:
            if args.output is None:
                raise
            say(f"not scored: {error}")
    if not ids and args.output is None:
        raise UserError(f"{args.data} has no labels to score: name a file for the answers with --output")
    return rows, ids


def about_of(model: str) -> dict[str, Any]:
    """The content of pairft.json, which a run saves beside its model; {} for other models."""
    from pairft.model.card import SIDECAR

    file = disk.expanded(model) / SIDECAR
    try:
        about: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except ValueError:
        raise UserError(f"{file} is not JSON: save the model again, or remove it and use --text-columns") from None
    return about


def for_task(args: argparse.Namespace, about: dict[str, Any]) -> dict[str, Any]:
    """`about` with --task in place of the task that the model was trained on. Raises UserError unless models of that
    task predict it."""
    own = about.get("task", "custom")
    if args.task in (None, own):
        return about
    choices = [own, *(name for name, task in TASKS.items() if task.model_of == own)]
    if args.task not in choices:
        raise UserError(
            f"--task is {args.task!r}, but {args.model} was trained on {own}: leave the flag out, or choose one of: "
            f"{', '.join(choices)}"
        )
    return {**about, "task": args.task}


def columns_of(args: argparse.Namespace, about: dict[str, Any]) -> tuple[str, ...]:
    """The text columns. Raises UserError unless there are as many as the model reads."""
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


def write(answers: dict[str, list[Any]], path: Path) -> None:
    """Write the answers in the format of the file's suffix, completely or not at all. Raises UserError if that
    fails."""
    import datasets

    table = datasets.Dataset.from_dict(answers)
    partial = partial_path(path)
    try:
        if path.suffix == ".parquet":
            table.to_parquet(partial)
        elif path.suffix in (".json", ".jsonl"):
            # In one batch: a list of rows can't be written in several.
            table.to_json(partial, lines=path.suffix == ".jsonl", batch_size=len(table), force_ascii=False)
        else:
            table.to_csv(partial, sep="\t" if path.suffix == ".tsv" else ",")
        os.replace(partial, path)
    except OSError as error:
        if partial.parent.is_dir():
            partial.unlink(missing_ok=True)
        raise UserError(f"can't write --output {path}: {error.strerror}") from None


if __name__ == "__main__":
    sys.exit(main())
