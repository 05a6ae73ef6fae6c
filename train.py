"""Fine-tune an encoder on pairs of sentences: python train.py --epochs 3

Read `train` from top to bottom: it follows the pairs from text to a checkpoint. The training loop is `fit` in
pairft/training/loop.py; one update of the weights is `update` in pairft/training/step.py.
"""

import functools
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairft.command import collector_paused, exit_code
from pairft.config import Config
from pairft.errors import UserError
from pairft.output import unbreakable
from pairft.reporting.ending import reported
from pairft.runs import directory, dry_run, ranks, seeds
from pairft.runs.ranks import share
from pairft.training import distributed

if TYPE_CHECKING:
    from pairft.training.learner import Learner

REMEDY = "make room, fix the place or choose another; --resume continues a run"


def main(argv: Sequence[str] | None = None) -> int:
    """Train as the command line says. Returns the exit code."""
    with unbreakable():
        return exit_code(functools.partial(start, sys.argv[1:] if argv is None else argv), REMEDY)


def start(argv: Sequence[str]) -> int:
    with ranks.joined(argv):  # several processes, if torchrun has started them
        config, run_dir = ranks.agreed_settings(argv)
        if config is None:
            return 0
        with directory.locked(run_dir if distributed.is_main() else None):
            if config.dry_run:
                return dry_run.dry_run(config, argv, train)
            work = functools.partial(seeds.train_all, train=train, report=reported) if config.is_group else train
            return work(config, run_dir, argv)


def train(config: Config, run_dir: Path | None, argv: Sequence[str], group: seeds.Group | None = None) -> int:
    """Train one model, from sentences to results.json. Returns the exit code.

    `run_dir`: the run to resume, or None. `group`: with --seeds or --folds, the runs that this one belongs to.
    """
    with collector_paused():
        # The heavy imports begin here, so that --help answers at once.
        from pairft.data import lengths, order, streaming, tokens
        from pairft.data.batches import training_steps
        from pairft.data.pairs import load_pairs
        from pairft.data.summary import summary
        from pairft.model import classifier, padding
        from pairft.runs.opening import Sources
        from pairft.runs.run import open_run
        from pairft.training.device import choose_device, seed_everything, tune_malloc
        from pairft.training.learner import build_learner, in_step
        from pairft.training.loop import fit
        from pairft.training.optim import lr_schedule

        # ---- from sentences to tokens ------------------------------------------------------------------------------
        tune_malloc()
        device, amp_dtype = choose_device(config)
        ranks.wait_for_first()
        pairs = load_pairs(config)
        tokenizer, model_config = classifier.load_tokenizer(config.model)
        max_length = lengths.checked_length(config.max_length, tokenizer, model_config, len(pairs.text_columns))
        splits = tokens.tokenise(pairs, tokenizer, max_length, config.truncation)
        ranks.first_is_done()

        # ---- the model, and the collate function for its batches ---------------------------------------------------
        as_trainer = config.preset == "trainer"  # the same random draws and evaluation batches as Trainer
        seed_everything(config.seed)
        head_mode = "new" if config.new_head else "by position" if as_trainer else "by name"
        outputs = pairs.label_names, head_mode, pairs.problem_type, pairs.one_logit
        model, note, drawn = classifier.load_model(config.model, *outputs)
        num_embeddings = len(model.get_input_embeddings().weight)
        tokens.check_ids(splits, num_embeddings, config.model)
        fingerprints = {"weights": classifier.fingerprint(model, drawn), "tokens": tokens.fingerprint(splits)}
        collate, warning = padding.checked_collate(model, tokenizer, splits["train"], device, may_change=not as_trainer)
        seed_everything(config.seed, distributed.rank())  # again, as Trainer: the head's draws must not shift dropout's
    stream = streaming.open_stream(config, pairs, tokenizer, max_length, num_embeddings)  # or None
    notes = ["" if run_dir else note, summary(pairs, config.task), warning]  # a resume has weights of its own
    sources = Sources(pairs, tokenizer, splits, max_length, fingerprints, stream, notes)

    # ---- the optimizer, the training state and the update; then the optional fast paths ----------------------------
    learner = build_learner(model, collate, config, device, amp_dtype, pairs.class_weights)
    learner = in_step(accelerated(learner, config, splits["train"], tokenizer), splits["train"])

    # ---- training: `fit` decides when to log, evaluate and save; `run` does it --------------------------------------
    with open_run(config, run_dir, argv, learner, sources, group) as run:  # a resume restores learner.state here
        how = learner.collate, config.seed, order.step_size(config), learner.state.position
        steps = training_steps(splits["train"], *how, as_trainer, share())
        if stream:
            steps = streaming.steps(stream, *how, share())
        if run.steps_left:
            fit(
                learner.state, steps, run.learner.update, lr_schedule(config, run.schedule.total_steps), run.schedule,
                log=run.log.log_training, evaluate=run.evaluate, save=run.save, stop_asked=run.stop.asked,
            )  # fmt: skip
    return reported(run.exit_code, config, run.directory)


def accelerated(learner: "Learner", config: Config, dataset: Any, tokenizer: Any) -> "Learner":
    """The learner with the fast paths of pairft/speed. Without that folder, training is slower but works."""
    if find_spec("pairft.speed"):
        from pairft.speed.fast_paths import add_fast_paths

        return add_fast_paths(learner, config, dataset, tokenizer)
    for flag, choice in (("--unpad", config.unpad), ("--capture", config.capture)):
        if choice == "always":
            raise UserError(f"{flag} always: the folder pairft/speed is missing; restore it, or leave the flag out")
    return learner


if __name__ == "__main__":
    sys.exit(main())
