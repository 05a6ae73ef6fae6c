"""The encoder and its head: loaded, and saved as a folder that anyone can load."""

import contextlib
import functools
import hashlib
import pickle
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch

from pairft import disk
from pairft.data import builtin, hub
from pairft.data.retries import client_errors, with_retries
from pairft.errors import UserError
from pairft.model import head

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

# What transformers raises for files that are missing, broken or of an architecture that it doesn't know.
LOAD_ERRORS: tuple[type[Exception], ...] = (
    *(OSError, ValueError, RuntimeError, KeyError, ImportError, EOFError),
    TypeError,  # up to transformers 5.17 at least, for a config.json that is a list
    pickle.UnpicklingError,  # old weights may be a pickle, of which transformers takes nothing but tensors
)


def source_of(name: str) -> str:
    """What the client libraries take for a --model: a folder's path, or a Hub id."""
    if name == "builtin":
        return str(builtin.model_folder())
    if hub.is_hub_id(name):
        return name
    folder = disk.expanded(name)
    if not (folder / "config.json").is_file():
        what = "has no config.json" if folder.is_dir() else "doesn't exist"
        raise UserError(f"--model {name} {what}: name a folder saved by save_pretrained, a Hub id, or builtin")
    return str(folder)


def load_error(name: str, what: str, error: Exception) -> UserError:
    if "not a valid model identifier" in str(error):
        return UserError(f"{hub.shown_endpoint()} has no --model {name}: check its spelling, or name a local folder")
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return UserError(f"can't load the {what} of --model {name}: {lines[0]}")


def load_tokenizer(name: str) -> tuple["PreTrainedTokenizerFast", "PretrainedConfig"]:
    """The fast tokenizer, and the model's config as it stands at the source."""
    from transformers import AutoConfig, AutoTokenizer

    source = source_of(name)
    try:
        config = with_retries(lambda: AutoConfig.from_pretrained(source, trust_remote_code=False))
        tokenizer = with_retries(lambda: AutoTokenizer.from_pretrained(source, use_fast=True, trust_remote_code=False))
    except LOAD_ERRORS + client_errors() as error:
        raise load_error(name, "config or tokenizer", error) from error
    if not tokenizer.is_fast or tokenizer.pad_token_id is None:
        raise UserError(f"--model {name} has no fast tokenizer with a padding token: choose another encoder")
    if tokenizer.vocab_size <= len(tokenizer.all_special_tokens):  # made up from the config: there were no files
        raise UserError(f"--model {name} has no tokenizer files: save the tokenizer beside the model, too")
    return tokenizer, config


def load_model(
    name: str, label_names: Sequence[str] | None, use: str = "by name"
) -> tuple["PreTrainedModel", str, list[str]]:
    """The classifier in float32, whatever its file holds, a line on what of it is new, and its new weights' names.

    `label_names` by id; None for a regression with one output. New weights are drawn from the global random state.
    `use` says what becomes of a head that the source has:

    - "by name": its classes are put in the order of `label_names`; UserError where they are others.
    - "by position": its outputs are taken as they come, as HF Trainer takes them.
    - "new": it is left out, and a new one is drawn.
    - "trained": it is the model's own, and new weights are an error.
    """
    source, wanted = source_of(name), list(label_names) if label_names is not None else ["score"]
    with torch.random.fork_rng(devices=[], enabled=use == "new"):
        model, report, config = from_source(name, source, wanted, label_names is None)
    if use == "new":
        model, report = with_new_head(model, report)
    new = sorted(report["missing_keys"])
    if any("word_embeddings" in key or "embed_tokens" in key for key in new):
        raise UserError(f"--model {name}: its file lacks the encoder's weights ({new[0]} and others); save it again")
    if new and use == "trained":
        raise UserError(f"--model {name} is no trained classifier: it lacks {new[0]}; name a run's best or last folder")
    outputs = head.output_parameters(model)
    mismatched = {key: (list(held), list(shape)) for key, held, shape in sorted(report["mismatched_keys"])}
    for key, (held, shape) in mismatched.items():
        if key not in outputs or use == "trained":
            raise UserError(
                f"--model {name}: {key} has the shape {held}, but by its config.json {shape}; save it again"
            )
    shown = ", ".join(new[:4]) + (f" and {len(new) - 4} more" if len(new) > 4 else "")
    line = f"new weights, not from {name}: {shown}" if new else f"all weights from {name}"
    if all(key in new for key in outputs) or use == "trained":
        return model, line, new
    order = head.output_order(config, label_names)
    if mismatched or (order is None and use == "by name"):
        raise UserError(
            f"--model {name} has a head for {head.described(config)}, but the data {head.wanted(label_names)}: "
            "add --new-head for a new one on the same encoder, or take another model"
        )
    if use == "by name" and order is not None:
        head.put_in_order(model, outputs, order)
    return model, line + head.taken_as(config, label_names, order, use == "by position"), new


def from_source(
    name: str, source: str, labels: Sequence[str], regression: bool
) -> tuple["PreTrainedModel", dict[str, Any], "PretrainedConfig"]:
    """The classifier, transformers' report of keys that are missing or have another shape, and the config as it stands
    at the source."""
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModelForSequenceClassification

    load = functools.partial(
        AutoModelForSequenceClassification.from_pretrained,
        source,
        dtype=torch.float32,
        num_labels=len(labels),
        id2label=dict(enumerate(labels)),
        label2id={label: index for index, label in enumerate(labels)},
        problem_type="regression" if regression else "single_label_classification",
        ignore_mismatched_sizes=True,  # load_model tells of them, with a remedy
        output_loading_info=True,
        trust_remote_code=False,
    )
    try:
        config = with_retries(lambda: AutoConfig.from_pretrained(source, trust_remote_code=False))
        with quiet():
            model, report = with_retries(load)
    except LOAD_ERRORS + (SafetensorError,) + client_errors() as error:  # noqa: RUF005  (mypy follows no *)
        raise load_error(name, "weights", error) from error
    return model, report, config


def with_new_head(model: "PreTrainedModel", report: dict[str, Any]) -> tuple["PreTrainedModel", dict[str, Any]]:
    """The same encoder with a head as transformers draws it for a file that holds none, and the report for such a file.
    `report`: the model's own. Weights of the encoder that its file lacks, such as a pooler's, are drawn, too."""
    encoder = model.base_model_prefix + "."
    mismatched = [found for found in report["mismatched_keys"] if found[0].startswith(encoder)]
    drawn = {*report["missing_keys"], *(key for key, _, _ in mismatched)}
    kept = {key: tensor for key, tensor in model.state_dict().items() if key.startswith(encoder) and key not in drawn}
    with quiet():
        made, own = type(model).from_pretrained(
            None, config=model.config, state_dict=kept, dtype=torch.float32, output_loading_info=True
        )
    missing = set(own["missing_keys"]) - {key for key, _, _ in mismatched}
    return made, {"missing_keys": missing, "mismatched_keys": mismatched}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' bar, and its report of new weights, which takes a page; ours is one line."""
    from transformers import logging

    logging.disable_progress_bar()
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def fingerprint(model: "PreTrainedModel", new: Collection[str]) -> str:
    """A sha256 of the encoder's weights, by name; without the head, which is drawn or trained, and without the `new`
    ones, which the seed draws. The same weights have the same one, wherever and in whichever format they are kept."""
    digest = hashlib.sha256()
    prefix = "" if model.base_model is model else model.base_model_prefix + "."
    for name, tensor in model.base_model.state_dict().items():
        if prefix + name not in new:
            digest.update(f"{name} {tuple(tensor.shape)} ".encode())
            digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
