"""A trained model that answers: loaded once, it predicts any number of blocks of pairs. Used by the command
(predict.py) and by Python code (`pairft.load`)."""

import importlib.util
import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy
import torch

from pairft.checks import wrong_choices
from pairft.config import Config
from pairft.data import hub
from pairft.data.batches import Collate, collate_for
from pairft.data.pairs import Pairs
from pairft.data.targets import target_array
from pairft.data.tokens import NO_ROOM, encode_sentences, unknown_id
from pairft.errors import UserError
from pairft.model import classifier, padding
from pairft.output import say
from pairft.prediction.about import About, about_model, check_number
from pairft.prediction.answers import answers_of, probabilities_of
from pairft.prediction.decision import check_threshold
from pairft.prediction.inputs import Frame, columns_or_pairs, is_blank, sentences_of
from pairft.tasks import REGRESSION
from pairft.training import device as devices
from pairft.training import evaluation

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BLOCK_ROWS = 4096  # rows that are tokenised, sorted by length and predicted together


@dataclass(frozen=True)
class Predictions:
    """The answers for some pairs, in their order."""

    labels: list[str]  # multi-label: those above 0.5, comma-separated, or ""; [] for a regression
    probabilities: numpy.ndarray  # float32 [pairs, classes]; [pairs, 0] for a regression
    scores: numpy.ndarray  # float32 [pairs, outputs] of a regression, otherwise [pairs, 0]
    label_names: tuple[str, ...]  # of the columns of `probabilities`, or of `scores`
    logits: numpy.ndarray  # float32 [pairs, outputs]
    columns: dict[str, list[Any]]  # as the command writes them: for pandas.DataFrame(predictions.columns)

    def __len__(self) -> int:
        return len(self.logits)


@dataclass(frozen=True)
class Examples:
    """Tokenised pairs, as `evaluation.predict` reads them from a Dataset."""

    columns: dict[str, Any]

    def __len__(self) -> int:
        return len(self.columns["length"])

    def __getitem__(self, indices: Sequence[int]) -> dict[str, Any]:
        return {name: [values[index] for index in indices] for name, values in self.columns.items()}

    @property
    def lengths(self) -> numpy.ndarray:
        """The number of tokens of each example, int32 [examples]."""
        lengths: numpy.ndarray = self.columns["length"]
        return lengths


@dataclass
class Predictor:
    """A model on its device, ready to predict."""

    about: About
    model: "PreTrainedModel"
    device: torch.device
    amp_dtype: torch.dtype | None
    collate: Collate
    is_prepared: bool = False  # the padding has been checked, and removed where that is possible
    is_cut_said: bool = False  # that --truncation leaves no room in some row
    fallbacks: evaluation.Fallbacks = field(default_factory=evaluation.Fallbacks)

    @property
    def label_names(self) -> tuple[str, ...]:
        return self.about.output_names

    def predict(
        self,
        pairs: Frame,
        text_columns: Sequence[str] | str | None = None,
        top_k: int | None = None,
        calibrated: bool = False,
        threshold: str | float | None = None,
    ) -> Predictions:
        """The answers for `pairs`: a list of pairs (or of single sentences, as the model reads), or a DataFrame, a
        `datasets.Dataset` or a dict of columns. `text_columns` names the columns of the sentences, if they are not
        those of training. `top_k`: the classes in `columns`, the most probable first. `calibrated`, `threshold`: as
        the flags of predict. Raises UserError, a ValueError, for anything else, and for empty sentences."""
        check_threshold(threshold, top_k)
        about = self.about.deciding(calibrated, threshold)
        columns = (text_columns,) if isinstance(text_columns, str) else tuple(text_columns or self.about.text_columns)
        check_number(self.about, columns)
        rows = iter(columns_or_pairs(pairs, columns, len(self.about.text_columns) or None))
        outputs, number = [], 0
        while some := list(itertools.islice(rows, BLOCK_ROWS)):
            sentences = sentences_of(some, number)
            bad = numpy.sum([[is_blank(text) for text in column] for column in sentences], axis=0)
            for row in numpy.flatnonzero(bad > self.about.blank_allowed(columns))[:1]:
                raise UserError(f"row {number + row + 1} has an empty sentence: fill it in, or leave the row out")
            outputs.append(self.outputs(sentences, number).logits)
            number += len(some)
        width = len(self.label_names)
        logits = numpy.concatenate(outputs) if outputs else numpy.zeros((0, width), numpy.float32)
        return predictions_of(logits, about, top_k)

    def outputs(
        self, sentences: Sequence[list[str]], before: int = 0, labels: numpy.ndarray | None = None
    ) -> evaluation.EvalOutput:
        """Logits and losses of the pairs whose sentences are given as one or two columns of text, in their order.
        `before`: the rows before them, for messages. `labels`: as of `encode_labels`, if there are any."""
        if not sentences[0]:
            none = numpy.zeros((0, len(self.label_names)), numpy.float32)
            return evaluation.EvalOutput(none, none[:, 0], self.unlabelled(0))
        sidecar, tokenizer = self.about.sidecar, self.about.tokenizer
        max_length = self.about.max_length
        truncation = sidecar.get("truncation", "longest")
        columns = encode_sentences(sentences, tokenizer, max_length, truncation)
        for row in numpy.flatnonzero(columns["lost"] == NO_ROOM)[:1]:
            if not self.is_cut_said:
                self.is_cut_said = True
                number = before + row + 1
                say(f"warning: rows such as {number} are cut as by --truncation longest: {truncation} leaves no room")
        largest = max(max(ids, default=0) for ids in columns["input_ids"])
        known = len(self.model.get_input_embeddings().weight)
        if largest >= known:
            raise unknown_id(largest, known, self.about.name)
        columns["label"] = (self.unlabelled(len(columns["length"])) if labels is None else labels).tolist()
        examples: Any = Examples(columns)
        if not self.is_prepared and len(examples) > 1:  # a single pair has no padding
            self.prepare(examples)
        return evaluation.predict(
            self.model, examples, self.collate, self.device, self.amp_dtype, fallbacks=self.fallbacks
        )

    def unlabelled(self, number: int) -> numpy.ndarray:
        """The targets of rows without labels."""
        pairs = Pairs({}, (), "label", self.about.problem_type, self.about.names, {})
        return numpy.repeat(target_array(pairs)[-1:], number, axis=0)

    def prepare(self, examples: Any) -> None:
        """Check the padding side, and make the model padding-free where that is possible; both on these examples."""
        self.model.to("cpu")  # where the check is made
        self.collate, warning = padding.checked_collate(
            self.model, self.about.tokenizer, examples, self.device, may_change=True
        )
        if warning:
            say(warning)
        self.model.to(self.device)
        if importlib.util.find_spec("pairft.speed") is not None:
            from pairft.speed.fast_paths import padding_free

            self.collate, _ = padding_free(self.model, self.collate, examples, self.about.tokenizer, self.amp_dtype)
        self.is_prepared = True


def load(model: str | os.PathLike[str], device: str = "auto", precision: str = "auto") -> Predictor:
    """A predictor for a folder or Hub id of a sequence classifier. `device`, `precision`: as the flags of predict.
    Raises UserError, a ValueError, if it can't be loaded."""
    model = os.fspath(model)
    for problem in wrong_choices(Config(device=device, precision=precision)):
        raise UserError(problem)
    missing = hub.unavailable({"--model": model})
    if missing:
        raise UserError(f"{missing}. Restore the connection, or name a local folder")
    return load_weights(about_model(model), device, precision)


def load_weights(about: About, device: str, precision: str) -> Predictor:
    target, amp_dtype = devices.choose_device(Config(device=device, precision=precision))
    model, *_ = classifier.load_model(about.name, about.names, "trained", one_logit=about.one_logit)
    model.to(target)
    model.eval()
    if importlib.util.find_spec("pairft.speed") is not None:
        from pairft.speed.fast_paths import faster_layers

        faster_layers(model, amp_dtype)
    return Predictor(about, model, target, amp_dtype, collate_for(about.tokenizer, target))


def predictions_of(logits: numpy.ndarray, about: About, top_k: int | None) -> Predictions:
    names, kind, none = about.names, about.kind, logits[:, :0]
    is_scores = names is None or kind == REGRESSION
    columns = answers_of(logits, names, kind, None, about.decision)
    return Predictions(
        labels=columns.get("label", []),
        probabilities=none if is_scores else probabilities_of(about.decision.scaled(logits), kind),
        scores=logits if is_scores else none,
        label_names=about.output_names,
        logits=logits,
        columns=columns if top_k is None else answers_of(logits, names, kind, top_k, about.decision),
    )
