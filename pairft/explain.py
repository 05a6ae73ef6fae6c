"""python -m pairft.explain: one pair of sentences followed through one training step, with its own numbers."""

import argparse
import dataclasses
import functools
import math
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from pairft import checks
from pairft.command import Parser, collector_paused, exit_code
from pairft.config import FIELDS, Config, parse_value
from pairft.errors import UserError
from pairft.output import unbreakable
from pairft.parsing import closest, flag_of

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from pairft.explaining.explained import Explained

REMEDY = "check permissions or choose another place (HF_HOME: the cache)"
SETTINGS = ("max_length", "lr", "weight_decay", "max_grad_norm", "seed")  # those of training


def main(argv: Sequence[str] | None = None) -> int:
    """Explain as the command line says. Returns the exit code."""
    with unbreakable():
        return exit_code(functools.partial(start, sys.argv[1:] if argv is None else argv), REMEDY)


def parser() -> Parser:
    flags = Parser(
        prog="python -m pairft.explain",
        description="Follow one pair of sentences through one training step, from tokens to a new weight.",
        epilog="Write -- before sentences that begin with a dash.",
        allow_abbrev=False,
    )
    flags.add_argument("sentences", nargs=2, metavar="SENTENCE", help="the two sentences of the pair")
    flags.add_argument("--label", help="the pair's class, by name or id (default: the positive class)")
    flags.add_argument(
        "--model",
        default="builtin",
        help="a run's best/ or last/, another folder, a Hub id, or builtin (default: builtin, with a new head)",
    )
    flags.add_argument("--language", default="en", choices=("en", "fr"), help="(default: en)")
    for name in SETTINGS:
        default = "the model's own" if name == "max_length" else f"{FIELDS[name].default:g}"
        text = f"{FIELDS[name].metadata['help'].split(';')[0]} (default: {default})"
        flags.add_argument(flag_of(name), metavar="N", help=text)
    return flags


def start(argv: Sequence[str]) -> int:
    args = parser().parse_args(argv)
    given = {name: parse_value(name, getattr(args, name)) for name in SETTINGS if getattr(args, name) is not None}
    config = checks.resolve({"model": args.model, "device": "cpu", **given})
    check_sentences(args.sentences)
    if find_spec("pairft.speed") is None:
        raise UserError("the explanation shows a packed batch, but the folder pairft/speed is missing; restore it")
    with collector_paused():
        from pairft.explaining.sections import explanation
        from pairft.explaining.terminal import this_terminal

        explained = explain(args, config)
    sys.stdout.write("\n".join(explanation(explained, args.language, this_terminal())) + "\n")
    return 0


def check_sentences(sentences: Sequence[str]) -> None:
    for which, sentence in zip(("first", "second"), sentences, strict=True):
        if not sentence.strip():
            raise UserError(f"the {which} sentence is empty: write a sentence in quotes")
        try:
            sentence.encode()
        except UnicodeEncodeError as error:
            raise UserError(f"the {which} sentence is not valid UTF-8: {sentence[:40]!r}") from error


def explain(args: argparse.Namespace, config: Config) -> "Explained":
    """Load the model and do one step on the pair, with the functions that train.py calls."""
    from pairft.data import hub, lengths
    from pairft.data.batches import collate_for
    from pairft.explaining.explained import Explained
    from pairft.explaining.pair import COMPANION, batch_of, encode_pair, packed_of
    from pairft.explaining.watched import watch
    from pairft.model import classifier
    from pairft.training.device import choose_device, seed_everything
    from pairft.training.learner import build_learner
    from pairft.training.optim import lr_schedule

    if missing := hub.unavailable({"--model": config.model}):
        raise UserError(f"{missing}. Restore the connection, or name a local folder or builtin")
    tokenizer, model_config = classifier.load_tokenizer(config.model)
    names, own_length = about(config.model, model_config)
    label = label_id(args.label, names)
    max_length = own_length if config.max_length is None else config.max_length
    max_length = lengths.checked_length(max_length, tokenizer, model_config, len(args.sentences))
    device, amp_dtype = choose_device(dataclasses.replace(config, precision="fp32"))
    seed_everything(config.seed)
    model, _, new = classifier.load_model(config.model, names)
    learner = build_learner(model, collate_for(tokenizer, device), config, device, amp_dtype)
    lr = lr_schedule(config, total_steps=1)(0)
    pair = tuple(args.sentences)
    batch = batch_of([pair, COMPANION], [label, label], tokenizer, max_length)
    step = watch(learner, batch_of([pair], [label], tokenizer, max_length), lr)
    if not math.isfinite(step.loss):
        raise UserError(f"--model {config.model}: the loss of this pair is {step.loss}: its weights are damaged")
    return Explained(
        sentences=pair,
        names=names,
        label=label,
        by_default=args.label is None,
        new_head=step.name.partition("[")[0] in new,
        config=config,
        lr=lr,
        tokenizer=tokenizer,
        vocabulary=len(model.get_input_embeddings().weight),
        pair=encode_pair(pair, tokenizer, max_length),
        batch=batch,
        packed=packed_of(batch, model_config),
        step=step,
        adamw=learner.state.optimizer.param_groups[0],
    )


def about(name: str, config: "PretrainedConfig") -> tuple[tuple[str, ...], int | None]:
    """The names of a model's classes, or MRPC's if it has no head yet, and the maximum length that it was trained with,
    if it says so. Raises UserError unless its head predicts one of several classes."""
    from pairft.model import head
    from pairft.prediction.about import sidecar_of
    from pairft.tasks import SINGLE_LABEL, TASKS

    trained = [kind for kind in config.architectures or [] if kind.endswith("ForSequenceClassification")]
    mrpc = TASKS["mrpc"].label_names
    assert mrpc is not None
    if not trained:
        return mrpc, None
    sidecar = sidecar_of(name)
    kind, names, one_logit = head.meaning_of(config, sidecar)
    if kind != SINGLE_LABEL or names is None or len(names) < 2 or one_logit is not None:
        raise UserError(
            f"--model {name} has a head for {head.described(config)}, but what is explained here is a classifier with "
            "one logit for each of its classes: name another, or leave --model out"
        )
    return names, sidecar.get("max_length")


def label_id(given: str | None, names: Sequence[str]) -> int:
    """The id of the class that --label names; by default the positive one, or the first."""
    from pairft.tasks import positive_class

    if given is None:
        return positive_class(names) or 0
    for spellings in (names, [name.casefold() for name in names], list(map(str, range(len(names))))):
        for wanted in (given, given.casefold()):
            if wanted in spellings:
                return list(spellings).index(wanted)
    raise UserError(f"--label is {given!r}, but should be one of: {', '.join(names)}{closest(given, names)}")


if __name__ == "__main__":
    sys.exit(main())
