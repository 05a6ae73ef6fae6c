"""python -m pairft.export: a trained model as an ONNX file, compared with torch and, if asked for, quantised."""

import argparse
import contextlib
import functools
import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pairft import disk
from pairft.command import Parser, exit_code, stopped_by_signals
from pairft.config import parse_value
from pairft.data import formats, hub
from pairft.errors import UserError
from pairft.tasks import REGRESSION

NEEDED = ("onnx", "onnxscript", "onnxruntime")


def main(argv: Sequence[str] | None = None) -> int:
    """Export as the command line says. Returns the exit code."""
    return exit_code(
        functools.partial(start, sys.argv[1:] if argv is None else argv), "make room or choose another place"
    )


def parser() -> Parser:
    flags = Parser(
        prog="python -m pairft.export", description="Write a trained model as an ONNX file.", allow_abbrev=False
    )
    flags.add_argument("--model", required=True, help="a run's best/ or last/, or any folder of a sequence classifier")
    flags.add_argument("--output", required=True, metavar="FILE", help="the file to write: NAME.onnx")
    flags.add_argument("--int8", action="store_true", help="quantise it: weights of 8 bits, a quarter of the size")
    flags.add_argument("--data", metavar="FILE", help=f"labelled pairs, to measure quality and speed: {formats.SHOWN}")
    flags.add_argument("--text-columns", help="columns of the sentences, comma-separated (default: as in training)")
    flags.add_argument("--label-column", help="column of the labels (default: as in training)")
    return flags


def start(argv: Sequence[str]) -> int:
    args = parser().parse_args(argv)
    check(args)
    with stopped_by_signals():
        export(args)
    return 0


def check(args: argparse.Namespace) -> None:
    """Raise UserError if a package, a file or a folder is missing, or a flag has no effect."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"the export needs {' and '.join(missing)}: pip install {' '.join(NEEDED)}")
    output = disk.expanded(args.output)
    if output.suffix != ".onnx" or output.is_dir():
        raise UserError(f"--output {output}: its name should end in .onnx")
    if not output.parent.is_dir():
        raise UserError(f"--output {output}: there is no folder {output.parent}; create it first")
    if args.data is None:
        for flag, value in (("--text-columns", args.text_columns), ("--label-column", args.label_column)):
            if value is not None:
                raise UserError(f"{flag} names a column of --data: leave it out, or add --data")
    elif not disk.expanded(args.data).is_file() or not formats.is_readable(disk.expanded(args.data)):
        raise UserError(f"--data {args.data}: name a file that ends in one of {formats.SHOWN}")
    if unavailable := hub.unavailable({"--model": args.model}):
        raise UserError(f"{unavailable}. Restore the connection, or name a local folder")


def export(args: argparse.Namespace) -> None:
    """Write the graph, compared with torch on texts of many lengths and, if there are any, on labelled rows."""
    import datasets

    from pairft.model import classifier, head, onnx_graph
    from pairft.prediction.about import about_model
    from pairft.prediction.labelled import read_labelled

    datasets.disable_progress_bars()
    about = about_model(args.model)
    kind, names = head.kind_of(about.config), head.names_of(about.config)
    names_or_none = None if kind == REGRESSION and len(names) == 1 else names
    model, *_ = classifier.load_model(args.model, names_or_none, "trained", kind)
    data = None
    if args.data is not None:
        columns, label = (parse_value(name, getattr(args, name)) for name in ("text_columns", "label_column"))
        label = label or about.sidecar.get("label_column", "label")
        data = read_labelled(args.data, about, columns or about.text_columns, label)
    batches = [*onnx_graph.examples(about.tokenizer, len(about.text_columns) or 2, about.max_length)]
    output = disk.expanded(args.output)
    with temporary(output) as folder:
        graph = folder / (f"fp32-{output.name}" if args.int8 else output.name)
        onnx_graph.export(model, batches[1], graph)
        models: dict[str, Any] = {"torch": model, "ONNX": onnx_graph.OnnxModel(graph)}
        error = onnx_graph.largest_difference(model, models["ONNX"], batches)
        if not error <= onnx_graph.TOLERANCE:
            raise UserError(
                f"the logits of the exported {model.config.model_type} differ from torch's by up to {error:.1e}, which "
                f"is more than {onnx_graph.TOLERANCE:.0e}: nothing was written"
            )
        sizes = [model.num_parameters() * 4, disk.size_of(folder)]
        longest = max(batch["input_ids"].shape[1] for batch in batches)
        print(f"ONNX: logits within {error:.1e} of torch's, on examples of up to {longest} tokens")
        if args.int8:
            onnx_graph.quantise(graph, folder / output.name)
            models["ONNX int8"] = onnx_graph.OnnxModel(folder / output.name)
            sizes.append(disk.size_of(folder) - sizes[-1])
            error = onnx_graph.largest_difference(model, models["ONNX int8"], batches)
            hint = "" if data else "; --data FILE measures what that does to the answers"
            print(f"ONNX int8: logits within {error:.1e} of torch's{hint}")
        if about.one_logit is not None:  # from here on they have two: see head.py
            for one in models.values():
                head.as_two_classes(one, about.one_logit)
        rows = [
            {"": name, "MB": f"{size / 1e6:.1f}", **(data.measured(one) if data else {})}
            for (name, one), size in zip(models.items(), sizes, strict=True)
        ]
        print(table(rows) + (data.note() if data else ""))
        made = [file for file in folder.iterdir() if file.name.startswith(output.name)]
        for file in sorted(made, reverse=True):  # NAME.onnx.data, of large models, first
            os.replace(file, output.with_name(file.name))
    print(f"wrote {output}")


@contextlib.contextmanager
def temporary(output: Path) -> Iterator[Path]:
    """A folder beside the output, which is removed at the end."""
    folder = output.with_name(f".{output.name}-{os.getpid()}.part")
    try:
        folder.mkdir()
        yield folder
    except OSError as error:
        raise UserError(f"can't write --output {output}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def table(rows: Sequence[dict[str, str]]) -> str:
    """Rows with the same keys, as a table for the terminal."""
    lines = [list(rows[0]), *(list(row.values()) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    shown = [[cell.rjust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    return "\n".join(
        "  ".join([line[0].strip().ljust(widths[0]), *cells[1:]]) for line, cells in zip(lines, shown, strict=True)
    )


if __name__ == "__main__":
    sys.exit(main())
