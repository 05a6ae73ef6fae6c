"""Fine-tune an encoder on pairs of sentences: python train.py --epochs 3

Read it from top to bottom: it wires the parts in the order in which things happen. The training itself is `fit` in
pairft/training/loop.py; one update of the weights is `update` in pairft/training/step.py.
"""

import functools
import gc
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from pairft import checks, disk, flags
from pairft import config as settings
from pairft.config import Config
from pairft.data import hub
from pairft.errors import EXIT_DIVERGED, EXIT_SIGNAL, EXIT_USER, USER_ERRNOS, Diverged, UserError
from pairft.output import say, unbreakable
from pairft.runs import run, seeds
from pairft.runs.signals import StopRequest
from pairft.tasks import TASKS, f1_of, metrics_of, positive_class


def main(argv: Sequence[str] | None = None) -> int:
    """Train as the command line says; the exit code."""
    with unbreakable():
        return run_as(sys.argv[1:] if argv is None else argv)


def run_as(argv: Sequence[str]) -> int:
    """The same; what is printed can't end it."""
    try:
        config, folder = understand(argv)
        if config is None:
            return 0
        return train(config, folder, argv) if config.seeds is None else seeds.train_all(config, folder, argv, train)
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return EXIT_USER
    except OSError as error:
        if error.errno not in USER_ERRNOS:
            raise
        what = f"{error.filename or 'writing'}: {error.strerror}"
        sys.stderr.write(f"error: {what}; make room, mend the place or choose another; --resume goes on with a run\n")
        return EXIT_USER
    except KeyboardInterrupt:  # before the training: there is nothing to save
        return EXIT_SIGNAL + signal.SIGINT
    finally:
        gc.enable()


def understand(argv: Sequence[str]) -> tuple[Config | None, Path | None]:
    """The settings, and the folder of the run to go on with. No settings where that run is finished."""
    given = on_command_line = flags.read_flags(argv)
    if "config" in given:
        given = {**flags.read_file(given["config"]), **given}
    folder = None
    if given.get("resume"):
        folder = run.find(disk.expanded(given.get("runs_dir", "runs")), given.get("run_name"))
        recorded = flags.read_file(folder / "config.yaml")
        run.check_resumed(recorded, given, folder)
        if run.is_finished(folder):
            run.check_finished(folder, recorded, given)
            return None, folder
        given = {**run.with_new_length(recorded, given), **given, "run_name": folder.name}
    config = checks.resolve(given)
    for line in checks.without_effect(on_command_line, config):
        say(line)
    if folder is None:
        run.check_new(config)
    return hub.resolve_sources(config, given, TASKS[config.task].glue_config), folder


def train(config: Config, folder: Path | None, argv: Sequence[str], group: seeds.Group | None = None) -> int:
    """One training, from sentences to results.json; in a new folder, or on from the checkpoint in `folder`. The exit
    code. `group`: what it is one of, with --seeds."""
    # The heavy imports begin here, so that --help and a mistyped flag answer at once. While modules load there is no
    # garbage to collect, and looking for it takes a quarter of the start-up.
    gc.disable()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    import numpy
    import torch

    from pairft.data import batches, lengths, tokens
    from pairft.data.pairs import fingerprint, load_pairs, summary
    from pairft.model import classifier as model
    from pairft.model.padding import checked_collate
    from pairft.runs import checkpoint
    from pairft.runs.log import Record, table
    from pairft.runs.writer import Saver
    from pairft.speed import dropout, embedding, unpad
    from pairft.speed.capture import replay_steps
    from pairft.training import device, memory, optim
    from pairft.training.evaluation import Fallbacks, predictions_of, run_model, score
    from pairft.training.loop import Schedule, fit
    from pairft.training.state import TrainState, new_window
    from pairft.training.step import update

    resumed = folder is not None
    if folder is not None:
        _lock = disk.lock(folder)  # until this function ends

    # ---- from sentences to tokens ------------------------------------------------------------------------------------
    device.keep_memory()
    where, amp_dtype = device.choose(config)
    for line in checks.without_effect(flags.read_flags(argv), config, where.type):
        say(line)
    pairs = load_pairs(config)
    tokenizer, model_config = model.load_tokenizer(config.model)
    max_length = lengths.checked_length(config.max_length, tokenizer, model_config, len(pairs.text_columns))
    splits = tokens.tokenise(pairs, tokenizer, max_length)
    as_trainer = config.preset == "trainer"  # the same random draws, and evaluation in the same batches

    # ---- the model, its optimizer, and the state of the training that they are part of -------------------------------
    device.seed_everything(config.seed)
    use = "new" if config.new_head else "by position" if as_trainer else "by name"
    classifier, what_is_new, new = model.load_model(config.model, pairs.label_names, use)
    tokens.check_ids(splits, len(classifier.get_input_embeddings().weight), config.model)
    model_prints = {"weights": model.fingerprint(classifier, new), "tokens": tokens.fingerprint(splits)}
    collate, warning = checked_collate(classifier, tokenizer, splits["train"], where, may_change=not as_trainer)
    device.seed_everything(config.seed)  # again, as Trainer does: the draws for the new head must not shift dropout's
    if not gc.get_freeze_count():
        gc.freeze()  # modules stay; each collection that looked through them all took half a second
    gc.enable()
    classifier.to(where)
    how = "with padding"
    if device.is_on(config.unpad, where):
        first = lengths.first_position(model_config)
        trial = unpad.trial_rows(splits["train"], model_config, lengths.length_limit(tokenizer, model_config))
        padded = collate
        collate, how = unpad.prepare(classifier, collate, trial, first, amp_dtype)
        if collate is padded and config.unpad == "always":
            raise UserError(f"--unpad always: {how}; leave it out")
    if not as_trainer:
        dropout.replace_dropout(classifier)
    rows = None
    if not as_trainer and device.is_on("auto", where):
        rows = embedding.train_used_rows(classifier, splits["train"], tokenizer.pad_token_id)
    captured = where.type == "cuda" and device.is_on(config.capture, where) and not config.deterministic
    state = TrainState(
        model=classifier,
        optimizer=optim.build_optimizer(classifier, config.weight_decay, rows, capturable=captured),
        scaler=torch.amp.GradScaler(where.type, enabled=amp_dtype == torch.float16),
        window=new_window(where),
        bad_steps=torch.zeros((), device=where),
        rows=rows,
    )
    columns = (*pairs.text_columns, pairs.label_column)
    prints = {name: fingerprint(part, columns) for name, part in pairs.splits.items()}
    changed, start = "", "from step 0"
    begun = folder or (group and group.earlier)
    if begun:
        changed = run.check_same(begun, prints, model_prints, torch.get_num_threads())
    if folder is not None:
        found = checkpoint.restore(folder / "checkpoints", folder / "best", state)
        start = f"from step {state.step}" + ("" if found else ", there is no whole checkpoint")

    # ---- how long, and when what is due ------------------------------------------------------------------------------
    num_rows = len(splits["train"])
    total_steps = config.max_steps or config.epochs * batches.steps_per_epoch(
        num_rows, config.batch_size, config.accumulate
    )
    if state.step > total_steps:
        raise UserError(f"{folder} is at step {state.step} already: --max-steps or --epochs should not end before it")
    schedule = Schedule(total_steps, config.log_every, config.eval_every, config.save_every)
    warmup = optim.warmup_steps(total_steps, config.warmup_ratio)
    metrics, main_metric = metrics_of(TASKS[config.task], pairs.label_names)
    positive = positive_class(pairs.label_names)
    sidecar = model.sidecar(config, pairs, max_length, positive)

    # ---- the run's folder --------------------------------------------------------------------------------------------
    written = settings.to_yaml(config)
    needed = checkpoint.bytes_needed(state, group.left if group else 1)
    runs = group.folder if group else disk.expanded(config.runs_dir)
    if folder is None:
        disk.check_space(runs, needed)
        folder = run.create(config, run.manifest(argv, prints, model_prints, torch.get_num_threads()), runs)
        _lock = disk.lock(folder)
    else:
        disk.check_space(folder, needed, held=disk.bytes_in(folder))
        disk.write_text(folder / "config.yaml", written)  # its length may have changed
    record = Record(folder, total_steps, num_rows, written, state.step, state.lines, resumed)
    say(f"{folder}: {num_rows} pairs, {total_steps} steps on {where} {how}, lr {config.lr:.2g}, {start}\n{what_is_new}")
    for line in filter(None, (summary(pairs, config.task), changed, warning, *device.caveats(config, where))):
        say(line)
    saver = Saver(folder / "checkpoints")
    fallbacks = Fallbacks()

    def keep_model(name: str, found: dict[str, Any]) -> None:
        """Write the model folder `name`, with what an evaluation has found of the model."""
        model.save_model(folder / name, classifier, tokenizer, {**sidecar, **found}, written)

    def evaluate(state: TrainState) -> None:
        """Score the validation part, and keep the model if it is the best so far."""
        began = time.perf_counter()
        outcome = run_model(classifier, splits["validation"], collate, where, amp_dtype, as_trainer, fallbacks)
        if not numpy.isfinite(outcome.logits).all():
            raise Diverged(state.step, "the model's answer to the validation part")
        scores = score(outcome, metrics, positive, as_trainer)
        here = {"step": state.step, "epoch": state.epoch(num_rows), "validation": scores}
        record.validation(here, time.perf_counter() - began)
        here["collapsed"] = len(outcome.labels) > 1 and len(set(predictions_of(outcome.logits).tolist())) == 1
        if here["collapsed"]:
            say("careful: the model predicts the same for every row of the validation part")
        state.last = here
        better = state.best is None or scores[main_metric] > state.best["validation"][main_metric]
        if better and saver.save_now(functools.partial(keep_model, "best", here)):
            state.best = here  # where that failed, what best/ holds stays the best
            if state.lost_best and scores[main_metric] > state.lost_best["validation"][main_metric]:
                state.lost_best = None  # it would not be the best any more

    def save(state: TrainState) -> None:
        state.lines = record.written
        saver.save(lambda: checkpoint.begin(folder / "checkpoints", folder / "best", record.files(), state))

    # ---- the training ------------------------------------------------------------------------------------------------
    steps = batches.training_steps(
        splits["train"], collate, config.seed, config.batch_size, config.accumulate, state.position, as_trainer
    )
    one_update: memory.Update = functools.partial(
        update,
        classifier,
        state.optimizer,
        state.scaler,
        state.bad_steps,
        device=where,
        amp_dtype=amp_dtype,
        max_grad_norm=config.max_grad_norm,
    )
    release = None
    if captured:
        one_update, release = replay_steps(one_update, where)
    try:
        with nullcontext(group.stop) if group else StopRequest() as stop, saver:
            if state.step < total_steps:
                fit(
                    state,
                    steps,
                    memory.retry_smaller(one_update, state, release),
                    lambda step: optim.lr_at(step, total_steps, config.lr, warmup),
                    schedule,
                    log=record.training,
                    evaluate=evaluate,
                    save=save,
                    stop_asked=stop.asked,
                )
            elif state.last is None or state.last["step"] < state.step:  # shortened to where it was stopped
                evaluate(state)
    except Diverged as error:
        record.close()
        rows_of_it = batches.rows_of_step(num_rows, config.seed, config.batch_size * config.accumulate, error.step)
        say(run.divergence(error, rows_of_it, checkpoint.whole_checkpoints(folder / "checkpoints")))
        return EXIT_DIVERGED
    if stop.signal is not None and state.step < total_steps:
        record.close()
        if saver.failures:
            raise UserError(f"stopped after step {state.step}, which could not be saved; --resume goes on before it")
        say(f"stopped after step {state.step}; go on with: {run.resume_command(folder)}")
        return EXIT_SIGNAL + stop.signal

    # ---- what came of it ---------------------------------------------------------------------------------------------
    assert state.last is not None, state.step  # after the last step it evaluates
    keep_model("last", state.last)
    if state.best is None:  # it could not be written then
        keep_model("best", state.last)
        state.best = state.last
    for name in ("best", "last"):
        disk.flush_all(folder / name)
    evaluations = record.evaluations(state.last)
    results = {
        "best": state.best,
        "last": state.last,
        "lost_best": state.lost_best,
        "train": {
            "steps": state.step,
            "seconds": state.seconds,  # without evaluating and saving
            "examples_per_second": state.examples / state.seconds,
        },
        "saving": {"waited_seconds": saver.waited, "beside_seconds": saver.beside},  # of this process
        "model": config.model,
        "data": config.data,
        "task": config.task,
        "positive_class": sidecar["positive_class"],
        "fallback": config.fallback,
        "seed": config.seed,
    }
    record.hyperparameters(settings.values(config), state.last["validation"])
    run.write_json(folder / "results.json", results)
    record.close()
    print(table(evaluations, state.best["step"]))
    if "f1" in metrics:
        print(f1_of(sidecar["positive_class"]))
    if state.lost_best is not None:
        print(f"warning: the evaluation after step {state.lost_best['step']} was the best, but its model was damaged")
    print(f"best: {folder / 'best'}  (tensorboard --logdir {runs} shows the run)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
