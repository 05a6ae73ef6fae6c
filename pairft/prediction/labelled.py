"""Labelled rows on which an exported model is compared with the model that it was made from."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from pairft import disk
from pairft.data import label_sets, tokens
from pairft.data.batches import collate_for
from pairft.data.files import read_files
from pairft.data.pairs import Pairs, check_columns, checked_sentences
from pairft.data.targets import has_label
from pairft.errors import UserError
from pairft.parsing import columns_in
from pairft.prediction.about import About, check_number
from pairft.prediction.answers import labels_of
from pairft.tasks import SINGLE_LABEL, TASKS, f1_of, metrics_of, positive_class
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


def read_labelled(where: str, about: About, text_columns: Sequence[str], label_column: str) -> Labelled:
    """The rows of the file `where`. Raises UserError if none has a label that the answers can be compared with."""
    task, kind, names = TASKS[about.sidecar.get("task", "custom")], about.kind, about.names
    labels, columns = columns_in(label_column), tuple(text_columns)
    if not columns:
        raise UserError("the model doesn't say which columns it reads: name them with --text-columns")
    check_number(about, columns)
    rows = read_files([disk.expanded(where)], columns, labels)
    check_columns(rows, where, columns, labels, label_needed=True)
    rows = checked_sentences({"data": rows}, {"data": where}, columns, task.blank_allowed)["data"]
    label = ", ".join(labels)
    rows = label_sets.join_columns(rows, where, labels, label)
    ids = labels_of(rows, where, label, names, about.config, about.sidecar)
    if not ids:
        raise UserError(f"{where} has no known label in the column {label!r}: name another with --label-column")
    pairs = Pairs({"data": rows}, columns, label, kind, names, ids)
    truncation = about.sidecar.get("truncation", "longest")
    tokenised = tokens.tokenise(pairs, about.tokenizer, about.max_length, truncation)["data"]
    positive = positive_class(names) if kind == SINGLE_LABEL else None
    if names and about.sidecar.get("positive_class") in names:
        positive = names.index(about.sidecar["positive_class"])
    name = None if positive is None or names is None else names[positive]
    return Labelled(where, tokenised, about.tokenizer, metrics_of(task, kind)[0], positive, name)
