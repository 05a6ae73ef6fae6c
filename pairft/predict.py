"""python -m pairft.predict: a trained model's predictions for the rows of a file, or for one pair."""

import argparse
import contextlib
import functools
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pairft import disk
from pairft.command import collector_paused, exit_code, stopped_by_signals
from pairft.config import parse_value
from pairft.errors import UserError
from pairft.output import progress, say
from pairft.parsing import columns_in
from pairft.predict_args import STANDARD, is_folder, read_arguments

if TYPE_CHECKING:
    from pairft.prediction.about import About
    from pairft.prediction.columns import Output
    from pairft.prediction.predictor import Predictor
    from pairft.prediction.sinks import Write
    from pairft.prediction.sources import Source

REMEDY = "make room, check permissions or choose another place (HF_HOME: the cache)"
SHOW_PROGRESS = 500  # rows from which on there is a progress bar: some seconds on a CPU


def main(argv: Sequence[str] | None = None) -> int:
    """Predict as the command line says. Returns the exit code."""
    return exit_code(functools.partial(start, sys.argv[1:] if argv is None else argv), REMEDY)


def start(argv: Sequence[str]) -> int:
    args = read_arguments(argv)
    try:
        with stopped_by_signals():
            predict(args, argv)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader, such as head, has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python's own flush on exit fails, too
    return 0


def predict(args: argparse.Namespace, argv: Sequence[str]) -> None:
    """Predict one pair, or the rows of a source; print the metrics if it has labels."""
    with collector_paused():
        from pairft.prediction.about import about_model

        about = about_model(args.model, args.task).deciding(args.calibrated, args.threshold)
    if args.glue_submission is not None:
        predict_submission(args, about)
    elif args.text is not None:
        predict_text(args, about)
    elif args.data == STANDARD:
        from pairft.prediction.standard import spooled

        with spooled(args.format) as path:
            predict_files(args, argv, about, [path], "standard input")
    else:
        from pairft.prediction.sources import files_of

        predict_files(args, argv, about, files_of(args.data), args.data)


def predict_text(args: argparse.Namespace, about: "About") -> None:
    """Print the answer for one pair as a line of JSON, and write it to --output."""
    from pairft.prediction import predictor
    from pairft.prediction.answers import answers_of

    columns = text_columns(args, about)
    blank = [name for name, text in zip(columns, args.text, strict=True) if not text.strip()]
    if len(blank) > about.blank_allowed(columns):
        raise UserError(f"--text: {' and '.join(map(repr, blank))} {'is' if len(blank) == 1 else 'are'} empty")
    model = predictor.load_weights(about, args.device, args.precision)
    logits = model.outputs([[text] for text in args.text]).logits
    answers = answers_of(logits, about.names, about.kind, args.top_k, about.decision)
    print(json.dumps({key: values[0] for key, values in answers.items()}, ensure_ascii=False))
    if args.output is not None:
        import pyarrow

        from pairft.prediction.columns import output_columns

        own_answer = output_columns(None, answers, args.columns)
        with opened(args, own_answer) as write:
            write([pyarrow.chunked_array([answers[column.name]]) for column in own_answer.columns])


def predict_files(args: argparse.Namespace, argv: Sequence[str], about: "About", paths: list[Path], where: str) -> None:
    """Write the rows and their answers, and print the metrics. Nothing is written before all rows have been looked
    over."""
    import numpy

    from pairft.data.targets import has_label
    from pairft.prediction import predictor
    from pairft.prediction.answering import answered
    from pairft.prediction.answers import answers_of, scores_of
    from pairft.prediction.columns import Output, output_columns
    from pairft.prediction.sources import open_source
    from pairft.prediction.survey import look_over, targets_of
    from pairft.runs import looks
    from pairft.training.evaluation import EvalOutput

    columns = text_columns(args, about)
    labels = columns_in(parse_value("label_column", args.label_column) or about.sidecar.get("label_column", "label"))
    label_needed = args.label_column is not None
    source = open_source(
        paths, columns, labels, label_needed, about.blank_allowed(columns), tolerant=args.on_bad_row != "error"
    )
    survey = look_over(source, where, label_needed, args.on_bad_row)
    targets = targets_of(survey, source, where, about, args.output)
    with collector_paused():
        model = predictor.load_weights(about, args.device, args.precision)
    none = numpy.zeros((0, len(about.output_names)), numpy.float32)
    answers = answers_of(none, about.names, about.kind, args.top_k, about.decision)
    output = Output((), ()) if args.output is None else output_columns(source, answers, args.columns)
    outputs: list[EvalOutput] = []
    labelled = looks.NONE
    settings = (args.columns, args.top_k, args.on_bad_row, args.task, columns, labels)
    first = first_block(args, source, model, settings)
    if first and targets is not None:
        say("not scored: some of the answers are from an earlier command")
        targets = None
    with (
        opened(args, output, first) as write,
        progress("predicting", survey.num_rows, SHOW_PROGRESS) as advance,
    ):
        for some in answered(source, model, output, write, targets, args.top_k, args.on_bad_row, first):
            advance(some.num_rows)
            if targets is not None:
                outputs.append(some.output)
                labelled += some.labelled
    if args.output not in (None, STANDARD):
        say(f"{survey.num_rows} rows written to {args.output}")
    if outputs:
        parts = zip(*((some.logits, some.losses, some.labels) for some in outputs), strict=True)
        whole = EvalOutput(*map(numpy.concatenate, parts))
        if not has_label(whole.labels).any():
            say("not scored: no row with an answer has a label")
            return
        scores = scores_of(whole, about.names, about.kind, about.sidecar, about.decision)
        print(scores, file=sys.stderr if args.output == STANDARD else sys.stdout)
        for line in looks.look([about.name], labelled, argv):
            say(line)


def predict_submission(args: argparse.Namespace, about: "About") -> None:
    """Write the files of --glue-submission."""
    import numpy

    from pairft.prediction import predictor, submission
    from pairft.prediction.answering import answered
    from pairft.prediction.columns import Output
    from pairft.prediction.sources import open_source
    from pairft.prediction.survey import look_over

    columns, task = text_columns(args, about), submission.task_of(about)
    with submission.test_files(args.data, task) as tests:
        sources = [open_source(paths, columns, (), False, blank_allowed=len(columns)) for _, paths in tests]
        surveys = [look_over(source, str(source.paths[0]), False, "error") for source in sources]
        with collector_paused():
            model = predictor.load_weights(about, args.device, args.precision)
        texts = {}
        with progress("predicting", sum(survey.num_rows for survey in surveys), SHOW_PROGRESS) as advance:
            for (split, _), source in zip(tests, sources, strict=True):
                logits = []
                for some in answered(source, model, Output((), ()), lambda block: None):
                    advance(some.num_rows)
                    logits.append(some.output.logits)
                texts[split] = submission.predictions(numpy.concatenate(logits), about, task)
    submission.write_files(disk.expanded(args.glue_submission), texts)


def first_block(args: argparse.Namespace, source: "Source", model: "Predictor", settings: tuple[object, ...]) -> int:
    """How many blocks an earlier command has written into the folder that --output names; 0 if it is no folder."""
    if args.output is None or not is_folder(args.output):
        return 0
    from pairft.data.files import content_key
    from pairft.data.tokens import tokenizer_digest
    from pairft.prediction import parts

    suffix = f".{args.format or 'parquet'}"
    about = model.about
    of_model = (about.names, about.kind, about.decision, about.sidecar, tokenizer_digest(about.tokenizer))
    key = parts.digest_of(model.model, content_key(source.paths), suffix, settings, of_model, model.amp_dtype)
    done = parts.files_done(disk.expanded(args.output), key, suffix)
    if done:
        say(f"--output {args.output}: resuming; files of an earlier command: {done}")
    return done * parts.BLOCKS_OF_A_FILE


@contextlib.contextmanager
def opened(args: argparse.Namespace, output: "Output", first: int = 0) -> "Iterator[Write]":
    """Within the context, the function that writes a block to --output. `first`: the number of the first one."""
    from pairft.prediction import parts, sinks

    if args.output is None:
        yield lambda block: None
    elif args.output == STANDARD:
        with sinks.opened_stdout(f".{args.format or 'jsonl'}", output.columns) as write:
            yield write
    elif is_folder(args.output):
        suffix, number = f".{args.format or 'parquet'}", first // parts.BLOCKS_OF_A_FILE
        with parts.opened_folder(disk.expanded(args.output), suffix, output.columns, number) as write:
            yield write
    else:
        with sinks.opened_output(disk.expanded(args.output), output.columns) as write:
            yield write


def text_columns(args: argparse.Namespace, about: "About") -> tuple[str, ...]:
    """The text columns. Raises UserError unless there are as many as the model reads."""
    from pairft.prediction.about import check_number

    trained = about.text_columns
    if args.text is not None:
        wanted = len(trained) or len(args.text)
        if len(args.text) != wanted or not 0 < wanted <= 2:
            raise UserError(f"--text has {len(args.text)} sentences, but this model reads {min(max(wanted, 1), 2)}")
        return tuple(f"sentence{number + 1}" for number in range(wanted))
    columns: tuple[str, ...] = parse_value("text_columns", args.text_columns) or trained
    if not columns:
        raise UserError(f"{args.model} doesn't say which columns it reads: name them with --text-columns")
    check_number(about, columns)
    return columns


if __name__ == "__main__":
    sys.exit(main())
