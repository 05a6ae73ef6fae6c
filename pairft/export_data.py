"""Labelled rows on which an exported model is compared with the model that it was made from."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from pairft import disk
from pairft.data import label_sets, tokens
from pairft.data.batches import collate_for
from pairft.data.files import read_files
from pairft.data.meaning import has_comma, read_labels
from pairft.data.pairs import Pairs, check_columns, checked_sentences
from pairft.data.targets import has_label
from pairft.errors import UserError
from pairft.parsing import columns_in
from pairft.tasks import REGRESSION, SINGLE_LABEL, TASKS, f1_of, metrics_of, positive_class
from pairft.training import evaluation

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerFast

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Labelled:
    """Tokenised rows, those without a label included, and how their answers are scored."""

    where: str
    rows: "Dataset"
    tokenizer: "PreTrainedTokenizerFast"
    metrics: tuple[str, ...]
    positive: int | None  # the id of the class that F1 is about
    positive_name: str | None

    def measured(self, model: torch.nn.Module) -> dict[str, str]:
        """The metrics of a model, and how many rows it answers in a second on the CPU. The rows are computed twice: the
        first time is to warm up."""
        collate = collate_for(self.tokenizer, CPU)
        evaluation.predict(model, self.rows, collate, CPU, None)
        began = time.perf_counter()
        output = evaluation.predict(model, self.rows, collate, CPU, None)
        seconds = time.perf_counter() - began
        scores = evaluation.compute_metrics(output.only(has_label(output.labels)), self.metrics, self.positive)
        shown = {name: f"{value:.4f}" for name, value in scores.items()}
        return {**shown, "rows/s": f"{len(self.rows) / seconds:.1f}"}

    def note(self) -> str:
        about_f1 = f", {f1_of(self.positive_name)}" if "f1" in self.metrics else ""
        return f"\n{len(self.rows)} rows of {self.where}{about_f1}; {torch.get_num_threads()} threads"


def read_labelled(
    where: str,
    about: Mapping[str, Any],
    tokenizer: "PreTrainedTokenizerFast",
    kind: str,
    names: tuple[str, ...] | None,
    max_length: int,
) -> Labelled:
    """The rows of the file `where`. `about`: as in pairft.json. `kind`, `names`: problem type and outputs of the model.
    Raises UserError if no row has a label that the answers can be compared with."""
    task, columns = TASKS[about.get("task", "custom")], about["text_columns"]
    if not columns:
        raise UserError("the model doesn't say which columns it reads: name them with --text-columns")
    if names is not None and kind == REGRESSION:
        raise UserError(f"the model gives {len(names)} values for each row, which --data can't score: leave it out")
    labels = columns_in(about["label_column"])
    rows = read_files([disk.expanded(where)], columns, labels)
    check_columns(rows, where, columns, labels, label_needed=True)
    rows = checked_sentences({"data": rows}, {"data": where}, columns, task.blank_allowed)["data"]
    label = ", ".join(labels)
    rows = label_sets.join_columns(rows, where, labels, label)
    by_number = about.get("labels_by_number", task.label_names is not None or "task" not in about)
    comma = kind == REGRESSION and has_comma([rows], where, label)
    ids = read_labels(rows, where, label, kind, names, by_number, label_needed=False, comma=comma)
    if not ids:
        raise UserError(f"{where} has no known label in the column {label!r}: name another with --label-column")
    pairs = Pairs({"data": rows}, tuple(columns), label, kind, names, ids)
    truncation = about.get("truncation", "longest")
    tokenised = tokens.tokenise(pairs, tokenizer, max_length, truncation)["data"]
    positive = positive_class(names) if kind == SINGLE_LABEL else None
    if names and about.get("positive_class") in names:
        positive = names.index(about["positive_class"])
    name = None if positive is None or names is None else names[positive]
    return Labelled(where, tokenised, tokenizer, metrics_of(task, kind)[0], positive, name)
