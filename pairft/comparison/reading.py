"""The answers of a run: those that its evaluation has kept, or those of its model to rows of your own."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy

from pairft.comparison.alignment import Examples
from pairft.comparison.sides import Run
from pairft.config import parse_value
from pairft.data.targets import has_label
from pairft.errors import UserError
from pairft.parsing import columns_in
from pairft.runs import evaluations
from pairft.tasks import SINGLE_LABEL, positive_class
from pairft.training.evaluation import EvalOutput

if TYPE_CHECKING:
    from pairft.prediction.about import About

Answers = tuple[Examples, EvalOutput]


def kept_answers(run: Run, which: str | int, split: str) -> Answers:
    """The answers of a run's evaluation on a split, of "best", "last" or after a step. Raises UserError if the run has
    not kept them."""
    if not (run.place / evaluations.FOLDER).is_dir():
        raise UserError(
            f"{run.place} has no {evaluations.FOLDER}/, where runs keep their answers: an earlier version trained it. "
            "Score its model on labelled rows with --data FILE, or remove its results.json and --resume it, which "
            "evaluates its last model again"
        )
    files = sorted(path.stem for path in (run.place / evaluations.FOLDER).glob("*.parquet"))
    known = [name for name in files if "-step-" not in name]
    if known and split not in known:
        raise UserError(f"{run.place} has no evaluation of the split {split!r}: name one of: {', '.join(known)}")
    step = evaluations.step_of(run.place, which) if isinstance(which, str) else which
    path = evaluations.answers_path(run.place, split, step)
    steps = [str(int(name.rpartition("-")[2])) for name in files if name.startswith(f"{split}-step-")]
    if steps and not path.is_file():
        raise UserError(
            f"{path} is missing, but there are answers after step{'s' * (len(steps) > 1)} {', '.join(steps)}: name one "
            "with --which, or score the models on labelled rows with --data FILE"
        )
    found = evaluations.read(run.place, step, split)
    about = found.problem_type, found.names, found.positive, found.text_columns
    return Examples(found.rows, list(found.texts), found.output.labels, *about), found.output


def model_answers(model: Path, data: str, text_columns: str | None, label_column: str | None, device: str) -> Answers:
    """A model's answers to the labelled rows of a file. Raises UserError if there are none."""
    from pairft.prediction import predictor
    from pairft.prediction.about import about_model, check_number
    from pairft.prediction.sources import blocks, files_of, open_source
    from pairft.prediction.survey import look_over, targets_of

    about = about_model(str(model))
    columns: tuple[str, ...] = parse_value("text_columns", text_columns) or about.text_columns
    check_number(about, columns)
    labels = columns_in(parse_value("label_column", label_column) or about.sidecar.get("label_column", "label"))
    source = open_source(files_of(data), columns, labels, label_needed=True, blank_allowed=about.blank_allowed(columns))
    survey = look_over(source, data, label_needed=True, on_bad_row="error")
    targets = targets_of(survey, source, data, about, None)
    assert targets is not None
    loaded = predictor.load_weights(about, device, "auto")
    outputs: list[EvalOutput] = []
    texts: list[tuple[str, ...]] = []
    done = 0
    for some in blocks(source):
        sentences = some.sentences(columns)
        outputs.append(loaded.outputs(sentences, done, targets[done : done + len(some)]))
        texts += zip(*sentences, strict=True)
        done += len(some)
    parts = zip(*((one.logits, one.losses, one.labels) for one in outputs), strict=True)
    output = EvalOutput(*map(numpy.concatenate, parts))
    labelled = has_label(output.labels)
    kept = [row for row, holds in zip(texts, labelled.tolist(), strict=True) if holds]
    rows = numpy.flatnonzero(labelled) + 1
    about_rows = about.problem_type, about.names, positive_of(about), columns
    return Examples(rows, kept, output.labels[labelled], *about_rows), output.only(labelled)


def positive_of(about: "About") -> int | None:
    """The id of the class that F1 is about."""
    if about.names and about.sidecar.get("positive_class") in about.names:
        return about.names.index(about.sidecar["positive_class"])
    return positive_class(about.names) if about.kind == SINGLE_LABEL else None
