"""Load the tokenizer and the classifier: the encoder with its head."""

import contextlib
import functools
import hashlib
import pickle
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from pairft import disk
from pairft.data import builtin, hub
from pairft.data.retries import client_errors, hub_file, with_retries
from pairft.errors import UserError
from pairft.model import head
from pairft.tasks import MULTI_LABEL, REGRESSION, SINGLE_LABEL

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

# The errors that transformers raises for missing or broken files and unknown architectures.
LOAD_ERRORS: tuple[type[Exception], ...] = (
    *(OSError, ValueError, RuntimeError, KeyError, ImportError, EOFError),
    TypeError,  # up to transformers 5.17 at least, for a config.json that is a list
    pickle.UnpicklingError,  # old weights may be a pickle, which transformers loads with weights_only=True
)


def source_of(name: str) -> str:
    """The path of a folder or the Hub id to load --model from. Raises UserError if a local folder has no model."""
    if name == "builtin":
        return str(builtin.model_folder())
    if hub.is_hub_id(name):
        return name
    folder = disk.expanded(name)
    if not (folder / "config.json").is_file():
        what = "has no config.json" if folder.is_dir() else "doesn't exist"
        raise UserError(f"--model {name} {what}: name a folder saved by save_pretrained, a Hub id, or builtin")
    return str(folder)


def own_file(name: str, file: str) -> Path | None:
    """The path of one of pairft's own files beside a model, such as pairft.json, in a folder or downloaded from the
    Hub; None if there is none. Raises UserError if the Hub fails."""
    if not hub.is_hub_id(name):
        path = disk.expanded(name) / file
        return path if path.is_file() else None
    try:
        return hub_file(name, file)
    except LOAD_ERRORS + client_errors() as error:
        raise load_error(name, file, error) from error


def load_error(name: str, what: str, error: Exception) -> UserError:
    """A UserError for one of LOAD_ERRORS. `what`: what was being loaded."""
    if "not a valid model identifier" in str(error):
        return UserError(f"{hub.shown_endpoint()} has no --model {name}: check its spelling, or name a local folder")
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return UserError(f"can't load the {what} of --model {name}: {lines[0]}")


def load_tokenizer(name: str) -> tuple["PreTrainedTokenizerFast", "PretrainedConfig"]:
    """The fast tokenizer and the model's own config. Raises UserError if they can't be loaded or used."""
    from transformers import AutoConfig, AutoTokenizer

    source = source_of(name)
    try:
        config = with_retries(lambda: AutoConfig.from_pretrained(source, trust_remote_code=False))
        tokenizer = with_retries(lambda: AutoTokenizer.from_pretrained(source, use_fast=True, trust_remote_code=False))
    except LOAD_ERRORS + client_errors() as error:
        raise load_error(name, "config or tokenizer", error) from error
    if not tokenizer.is_fast or tokenizer.pad_token_id is None:
        raise UserError(f"--model {name} has no fast tokenizer with a padding token: choose another encoder")
    if tokenizer.vocab_size <= len(tokenizer.all_special_tokens):  # transformers' stand-in for missing files
        raise UserError(f"--model {name} has no tokenizer files: save the tokenizer beside the model, too")
    return tokenizer, config


def load_model(
    name: str,
    label_names: Sequence[str] | None,
    use: str = "by name",
    problem_type: str | None = None,
    one_logit: int | None = None,
) -> tuple["PreTrainedModel", str, list[str]]:
    """Load the classifier in float32, whatever the dtype of its file. Returns the model, a line that says which weights
    are new, and their names.

    `label_names`: by id; None for a regression with one output. New weights are drawn from the global random state.
    `use`: what to do with the head if the source has one:

    - "by name": keep it, with its outputs in the order of `label_names`. Raises UserError if its classes are different.
    - "by position": keep it with its outputs in their own order, as HF Trainer does.
    - "new": draw a new one.
    - "trained": keep it as it is, for prediction. Raises UserError if any weight is missing.

    `problem_type`: saved in the model's config; default: regression without `label_names`, else classification.
    `one_logit`: of two classes, the id of the one that the model has its only logit of.
    """
    if one_logit is not None and label_names is not None:
        model, line, new = load_model(name, [label_names[one_logit]], use, MULTI_LABEL)
        head.as_two_classes(model, one_logit)
        return model, line, new
    source, wanted = source_of(name), list(label_names) if label_names is not None else ["score"]
    problem_type = problem_type or (REGRESSION if label_names is None else SINGLE_LABEL)
    with torch.random.fork_rng(devices=[], enabled=use == "new"):
        model, report, config = from_source(name, source, wanted, problem_type)
    if use == "new":
        model, report = with_new_head(model, report)
    new = sorted(report["missing_keys"])
    if any("word_embeddings" in key or "embed_tokens" in key for key in new):
        raise UserError(f"--model {name}: its file lacks the encoder's weights ({new[0]} and others); save it again")
    if new and use == "trained":
        raise UserError(f"--model {name} is no trained classifier: it lacks {new[0]}; name a run's best or last folder")
    check_embedding(name, model)
    outputs = head.output_parameters(model)
    mismatched = {key: (list(held), list(shape)) for key, held, shape in sorted(report["mismatched_keys"])}
    for key, (held, shape) in mismatched.items():
        if key not in outputs or use == "trained":
            raise UserError(
                f"--model {name}: {key} has the shape {held}, but its config.json asks for {shape}; save it again"
            )
    shown = ", ".join(new[:4]) + (f" and {len(new) - 4} more" if len(new) > 4 else "")
    line = f"new weights, not from {name}: {shown}" if new else f"all weights from {name}"
    if all(key in new for key in outputs) or use == "trained":
        return model, line, new
    order = head.output_order(config, label_names)
    if mismatched or (order is None and use == "by name"):
        raise UserError(
            f"--model {name} has a head for {head.described(config)}, but the data "
            f"{head.wanted(label_names, problem_type)}: add --new-head for a new one on the same encoder, or take "
            "another model"
        )
    if use == "by name" and order is not None:
        head.put_in_order(model, outputs, order)
    return model, line + head.taken_as(config, label_names, order, use == "by position"), new


def from_source(
    name: str, source: str, labels: Sequence[str], problem_type: str
) -> tuple["PreTrainedModel", dict[str, Any], "PretrainedConfig"]:
    """The classifier, transformers' report of missing and mismatched keys, and the model's own config."""
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModelForSequenceClassification

    load = functools.partial(
        AutoModelForSequenceClassification.from_pretrained,
        source,
        dtype=torch.float32,
        num_labels=len(labels),
        id2label=dict(enumerate(labels)),
        label2id={label: index for index, label in enumerate(labels)},
        problem_type=problem_type,
        ignore_mismatched_sizes=True,  # load_model reports them, with a remedy
        output_loading_info=True,
        trust_remote_code=False,
    )
    try:
        config = with_retries(lambda: AutoConfig.from_pretrained(source, trust_remote_code=False))
        with quiet():
            model, report = with_retries(load)
    except LOAD_ERRORS + (SafetensorError,) + client_errors() as error:  # noqa: RUF005  (mypy doesn't understand * here)
        raise load_error(name, "weights", error) from error
    return model, report, config


def with_new_head(model: "PreTrainedModel", report: dict[str, Any]) -> tuple["PreTrainedModel", dict[str, Any]]:
    """The same encoder with a head that transformers draws as for a file without one, and the report for such a file.
    `report`: that of `model`. Encoder weights that its file lacks, such as a pooler's, are drawn, too."""
    encoder = model.base_model_prefix + "."
    mismatched = [found for found in report["mismatched_keys"] if found[0].startswith(encoder)]
    drawn = {*report["missing_keys"], *(key for key, _, _ in mismatched)}
    kept = {key: tensor for key, tensor in model.state_dict().items() if key.startswith(encoder) and key not in drawn}
    with quiet():
        renewed, new_report = type(model).from_pretrained(
            None, config=model.config, state_dict=kept, dtype=torch.float32, output_loading_info=True
        )
    missing = set(new_report["missing_keys"]) - {key for key, _, _ in mismatched}
    return renewed, {"missing_keys": missing, "mismatched_keys": mismatched}


def check_embedding(name: str, model: "PreTrainedModel") -> None:
    """Raise UserError if the model has no embedding of tokens (CANINE hashes characters)."""
    try:
        found = getattr(model.get_input_embeddings(), "weight", None)
    except (NotImplementedError, AttributeError):
        found = None
    if found is None:
        raise UserError(
            f"--model {name} is a {model.config.model_type}, which has no token embedding, and can't be trained here: "
            "choose another encoder, such as a BERT, RoBERTa, DeBERTa or ModernBERT"
        )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers' progress bar and its page-long report of new weights; ours is one line."""
    from transformers import logging

    logging.disable_progress_bar()
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def fingerprint(model: "PreTrainedModel", new: Collection[str]) -> str:
    """A sha256 of the encoder's weights by name, without the head and without the `new` weights, which depend on the
    seed. It doesn't depend on where or in which format the weights are stored."""
    digest = hashlib.sha256()
    prefix = "" if model.base_model is model else model.base_model_prefix + "."
    for name, tensor in model.base_model.state_dict().items():
        if prefix + name not in new:
            digest.update(f"{name} {tuple(tensor.shape)} ".encode())
            digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
