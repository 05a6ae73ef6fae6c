"""What is known of a model before its weights are loaded."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pairft import disk
from pairft.data import lengths
from pairft.errors import UserError
from pairft.model import classifier, head
from pairft.model.card import SIDECAR
from pairft.parsing import closest
from pairft.prediction.decision import PLAIN, Decision, decision_of
from pairft.tasks import REGRESSION, SINGLE_LABEL, TASKS

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerFast

# How the names of architectures with other heads than a sequence classifier's end.
OTHER_HEADS = (
    *("ForCausalLM", "LMHeadModel", "ForMaskedLM", "ForPreTraining", "ForConditionalGeneration"),
    *("ForTokenClassification", "ForQuestionAnswering", "ForMultipleChoice"),
)


@dataclass(frozen=True)
class About:
    """A model's tokenizer, and what its config.json and pairft.json say."""

    name: str  # a folder or Hub id
    tokenizer: "PreTrainedTokenizerFast"
    config: "PretrainedConfig"
    sidecar: dict[str, Any]  # the content of pairft.json; {} for a model from elsewhere
    decision: Decision = PLAIN  # how its logits become probabilities and labels

    @property
    def kind(self) -> str:
        """REGRESSION, SINGLE_LABEL or MULTI_LABEL."""
        return head.meaning_of(self.config, self.sidecar)[0]

    @property
    def names(self) -> tuple[str, ...] | None:
        """The names of the outputs; None for the one output of a regression."""
        return head.meaning_of(self.config, self.sidecar)[1]

    @property
    def one_logit(self) -> int | None:
        """After --one-logit, the id of the class that the model has the logit of."""
        return head.meaning_of(self.config, self.sidecar)[2]

    @property
    def output_names(self) -> tuple[str, ...]:
        """The names of the outputs, whatever they are."""
        return self.names or head.names_of(self.config)

    @property
    def problem_type(self) -> str:
        """As `Pairs` has it. Several values per row can't be scored: they count as classes without labels."""
        return SINGLE_LABEL if self.names is not None and self.kind == REGRESSION else self.kind

    def deciding(self, calibrated: bool, threshold: str | float | None) -> "About":
        """With the decision that --calibrated and --threshold ask for. Raises UserError if it can't be made."""
        decision = decision_of(self.name, calibrated, threshold, self.names, self.kind, self.sidecar)
        return replace(self, decision=decision)

    @property
    def max_length(self) -> int:
        """In tokens, as in training; else the model's limit."""
        return int(self.sidecar.get("max_length") or lengths.length_limit(self.tokenizer, self.config))

    @property
    def text_columns(self) -> tuple[str, ...]:
        """Those of training; () if they aren't known."""
        return tuple(self.sidecar.get("text_columns", ()))

    def blank_allowed(self, columns: Sequence[str]) -> int:
        """How many of a row's sentences may be empty."""
        return len(columns) - 1 if columns and TASKS[self.sidecar.get("task", "custom")].blank_allowed else 0


def about_model(name: str, task: str | None = None) -> About:
    """What a model's tokenizer, config.json and pairft.json say. `task`: for which it predicts, if that is not the task
    that it was trained on."""
    sidecar = for_task(name, sidecar_of(name), task)
    check_architecture(name)
    tokenizer, config = classifier.load_tokenizer(name)
    return About(name, tokenizer, config, sidecar)


def sidecar_of(model: str) -> dict[str, Any]:
    """The content of pairft.json, which a run saves beside its model; {} for other models."""
    file = classifier.own_file(model, SIDECAR)
    try:
        content = json.loads(file.read_text(encoding="utf-8")) if file else {}
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise UserError(f"{file} is not JSON: save the model again, or remove it and use --text-columns")
    return content


def for_task(name: str, sidecar: dict[str, Any], task: str | None) -> dict[str, Any]:
    """The sidecar with `task` in place of the task that the model was trained on. Raises UserError unless models of
    that task predict it. A model from elsewhere may predict any."""
    own = sidecar.get("task", "custom")
    if task in (None, own):
        return sidecar
    if "task" not in sidecar:
        if task not in TASKS:
            raise UserError(f"--task is {task!r}, but should be one of: {', '.join(TASKS)}{closest(task, list(TASKS))}")
        columns = TASKS[task].text_columns
        return {**sidecar, "task": task, **({"text_columns": columns} if columns else {})}
    choices = [own, *(name for name, row in TASKS.items() if row.model_of == own)]
    if task not in choices:
        raise UserError(
            f"--task is {task!r}, but {name} was trained on {own}: leave the flag out, or choose one of: "
            f"{', '.join(choices)}"
        )
    return {**sidecar, "task": task}


def check_architecture(name: str) -> None:
    """Raise UserError if a folder holds a model for another purpose."""
    try:
        held = json.loads((disk.expanded(name) / "config.json").read_text(encoding="utf-8")).get("architectures") or []
    except (OSError, ValueError, AttributeError):  # what is wrong with it is said when it is loaded
        return
    other = [kind for kind in held if isinstance(kind, str) and kind.endswith(OTHER_HEADS)]
    if other and len(other) == len(held):
        raise UserError(
            f"--model {name} is a {other[0]}, not a sequence classifier: name a run's best or last folder, or another "
            "model that AutoModelForSequenceClassification loads whole"
        )


def check_number(about: About, columns: Sequence[str]) -> None:
    """Raise UserError unless there are as many text columns as the model reads."""
    if len(columns) > 2 or not all(columns):
        raise UserError(f"--text-columns is {','.join(columns)!r}, but should name one or two columns")
    if about.text_columns and len(columns) != len(about.text_columns):
        raise UserError(
            f"--text-columns names {len(columns)} column(s), but {about.name} was trained on {len(about.text_columns)}"
        )
