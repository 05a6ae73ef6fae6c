"""Fine-tune an encoder on pairs of sentences: python train.py --epochs 3

Read it from top to bottom: it wires the parts in the order in which things happen. The training itself is `fit` in
pairft/loop.py; one update of the weights is `update` in pairft/step.py.
"""

import functools
import gc
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from pairft import config as settings
from pairft import flags, hub, run, seeds
from pairft.config import Config
from pairft.errors import EXIT_STOPPED, EXIT_USER, USER_ERRNOS, UserError
from pairft.tasks import TASKS, metrics_of


def main(argv: Sequence[str] | None = None) -> int:
    """Train as the command line says; the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        config, folder = understand(argv)
        if config is None:
            return 0
        return train(config, folder, argv) if config.seeds is None else train_seeds(config, folder, argv)
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return EXIT_USER
    except OSError as error:
        if error.errno not in USER_ERRNOS:
            raise
        sys.stderr.write(f"error: {error.filename or 'writing'}: {error.strerror}; make room or choose another place\n")
        return EXIT_USER
    except KeyboardInterrupt:  # before the training: there is nothing to save
        return EXIT_STOPPED[signal.SIGINT]
    finally:
        gc.enable()


def understand(argv: Sequence[str]) -> tuple[Config | None, Path | None]:
    """The settings, and the folder of the run to go on with. No settings where that run is finished."""
    given = flags.read_flags(argv)
    if "config" in given:
        given = {**flags.read_file(given["config"]), **given}
    folder = None
    if given.get("resume"):
        folder = run.find(Path(given.get("runs_dir", "runs")).expanduser(), given.get("run_name"))
        if run.is_finished(folder):
            sys.stderr.write(f"{folder} is finished: nothing to do\n")
            return None, folder
        recorded = flags.read_file(folder / "config.yaml")
        run.check_resumed(recorded, given, folder)
        given = {**recorded, **given, "run_name": folder.name}
    config = settings.resolve(given)
    if folder is None:
        run.check_new(config)
    return hub.settle(config, given, TASKS[config.task].glue_config), folder


def train_seeds(config: Config, group: Path | None, argv: Sequence[str]) -> int:
    """One training per seed, one after the other, and their summary.json; what is finished in `group` stays."""
    assert config.seeds is not None
    begun = group is not None
    group = group or run.create(config, run.manifest(argv, {}))
    for seed in config.seeds:
        one = seeds.one_seed(config, group, seed)
        folder = group / f"seed-{seed}"
        if run.is_finished(folder):
            continue
        try:
            code = train(one, folder if folder.exists() else None, argv)
        except UserError:
            if not begun and not any(group.glob("seed-*")):  # a mistake found before anything was trained
                shutil.rmtree(group)
            raise
        if code:
            sys.stderr.write(f"go on with all seeds: {run.resume_command(group)}\n")
            return code
    summary = seeds.summarise(group, config.seeds)
    run.write_json(group / "summary.json", summary)
    print(seeds.table(summary))
    return 0


def train(config: Config, folder: Path | None, argv: Sequence[str]) -> int:
    """One training, from sentences to results.json; in a new folder, or on from the checkpoint in `folder`."""
    # The heavy imports begin here, so that --help and a mistyped flag answer at once. While modules load there is no
    # garbage to collect, and looking for it takes a quarter of the start-up.
    gc.disable()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    import torch

    from pairft import batches, checkpoint, data, device, dropout, model, optim, tokens, unpad, vocabulary
    from pairft.evaluation import predictions_of, run_model, score
    from pairft.loop import Schedule, fit
    from pairft.record import Record, scores_of, table
    from pairft.signals import StopRequest
    from pairft.state import TrainState, Window
    from pairft.step import update

    # ---- from sentences to tokens ------------------------------------------------------------------------------------
    where, amp_dtype = device.choose(config)
    pairs = data.load(config)
    tokenizer, model_config = model.load_tokenizer(config.model)
    max_length = tokens.checked_length(config.max_length, tokenizer, model_config)
    splits = tokens.tokenise(pairs, tokenizer, max_length)
    collate = batches.collate_for(tokenizer, where)
    as_trainer = config.preset == "trainer"  # the same random draws, and evaluation in the same batches

    # ---- the model, its optimizer, and the state of the training that they are part of -------------------------------
    device.seed_everything(config.seed)
    classifier, what_is_new = model.load_model(config.model, pairs.label_names)
    device.seed_everything(config.seed)  # again, as Trainer does: the draws for the new head must not shift dropout's
    if not gc.get_freeze_count():
        gc.freeze()  # modules stay; each collection that looked through them all took half a second
    gc.enable()
    classifier.to(where)
    how = "with padding"
    if config.unpad == "auto":
        first = tokens.first_position(model_config)
        collate, how = unpad.prepare(classifier, collate, splits["train"][:3], first)
    if not as_trainer:
        dropout.replace_dropout(classifier)
    rows = None if as_trainer else vocabulary.train_used_rows(classifier, splits["train"])
    state = TrainState(
        model=classifier,
        optimizer=optim.build_optimizer(classifier, config.weight_decay, rows),
        scaler=torch.amp.GradScaler(where.type, enabled=amp_dtype == torch.float16),
        window=Window(torch.zeros((), device=where)),
        rows=rows,
    )
    saved = checkpoint.whole_checkpoints(folder / "checkpoints") if folder is not None else []
    if saved:
        checkpoint.load(saved[-1], state)

    # ---- how long, and when what is due ------------------------------------------------------------------------------
    num_rows = len(splits["train"])
    total_steps = config.max_steps or config.epochs * batches.steps_per_epoch(
        num_rows, config.batch_size, config.accumulate
    )
    if state.step > total_steps:
        raise UserError(f"{folder} is at step {state.step} already: --max-steps or --epochs should not end before it")
    schedule = Schedule(total_steps, config.log_every, config.eval_every, config.save_every)
    warmup = optim.warmup_steps(total_steps, config.warmup_ratio)
    lr = config.lr or optim.default_lr(model_config.hidden_size)
    metrics, main_metric = metrics_of(TASKS[config.task], pairs.label_names)

    # ---- the run's folder --------------------------------------------------------------------------------------------
    resumed = folder is not None
    written = settings.to_yaml(config)
    if folder is None:
        columns = (*pairs.text_columns, pairs.label_column)
        prints = {name: data.fingerprint(rows, columns) for name, rows in pairs.splits.items()}
        folder = run.create(config, run.manifest(argv, prints))
    else:
        run.write_text(folder / "config.yaml", written)  # its length may have changed
    record = Record(folder, total_steps, num_rows, written, first_step=state.step, resumed=resumed)
    start = f"from step {state.step}" + (", there is no whole checkpoint" if resumed and not saved else "")
    record.say(f"{folder}: {num_rows} pairs, {total_steps} steps on {where} {how}, lr {lr:.2g}, {start}\n{what_is_new}")

    def evaluate(state: TrainState) -> None:
        """Score the validation part; keep the model if it is the best so far, and the last one."""
        began = time.perf_counter()
        outcome = run_model(classifier, splits["validation"], collate, where, amp_dtype, as_trainer)
        scores = score(outcome, metrics, as_trainer)
        here = {"step": state.step, "epoch": state.epoch(num_rows), "validation": scores}
        record.validation(here, time.perf_counter() - began)
        here["collapsed"] = len(set(predictions_of(outcome.logits).tolist())) == 1
        if here["collapsed"]:
            record.say("careful: the model predicts the same for every row of the validation part")
        best = state.best is None or scores[main_metric] > state.best["validation"][main_metric]
        state.best = here if best else state.best
        sidecar = {**model.sidecar(config, pairs, max_length), **here}
        for name in ["best"] * best + ["last"] * (state.step == total_steps):
            model.save_model(folder / name, classifier, tokenizer, sidecar, written)

    # ---- the training ------------------------------------------------------------------------------------------------
    with StopRequest() as stop:
        if state.step < total_steps:
            fit(
                state,
                batches.training_steps(
                    splits["train"],
                    collate,
                    config.seed,
                    config.batch_size,
                    config.accumulate,
                    state.position,
                    as_trainer,
                ),
                functools.partial(
                    update,
                    classifier,
                    state.optimizer,
                    state.scaler,
                    device=where,
                    amp_dtype=amp_dtype,
                    max_grad_norm=config.max_grad_norm,
                ),
                lambda step: optim.lr_at(step, total_steps, lr, warmup),
                schedule,
                log=record.training,
                evaluate=evaluate,
                save=functools.partial(checkpoint.save, folder / "checkpoints"),
                stop_asked=stop.asked,
            )
    if stop.signal is not None and state.step < total_steps:
        record.say(f"stopped after step {state.step}; go on with: {run.resume_command(folder)}")
        record.close()
        return EXIT_STOPPED[stop.signal]

    # ---- what came of it ---------------------------------------------------------------------------------------------
    assert state.best is not None, state.step  # after the last step it evaluates
    evaluations = [line for line in record.lines() if line["split"] == "validation"]
    results = {
        "best": state.best,
        "last": model.evaluation_of(folder / "last"),
        "train": {
            "steps": state.step,
            "seconds": state.seconds,  # without evaluating and saving
            "examples_per_second": state.examples / state.seconds,
        },
        "model": config.model,
        "data": config.data,
        "task": config.task,
        "fallback": config.fallback,
        "seed": config.seed,
    }
    record.hyperparameters(settings.values(config), scores_of(evaluations[-1]))
    run.write_json(folder / "results.json", results)
    record.close()
    print(table(evaluations, state.best["step"]))
    print(f"best: {folder / 'best'}  (tensorboard --logdir {config.runs_dir} shows the run)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
