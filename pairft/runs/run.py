"""A run in progress: evaluate, save, keep the best model, and finish."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
from torch import Tensor

from pairft import disk
from pairft.config import Config, to_yaml, values
from pairft.data import findings
from pairft.data.audit import check_data
from pairft.errors import EXIT_DIVERGED, EXIT_SIGNAL, DiskError, Diverged
from pairft.model import card
from pairft.output import say
from pairft.runs import checkpoint, directory, dry_run, early_stopping, evaluations, push, results
from pairft.runs.divergence import divergence
from pairft.runs.log import RunLog
from pairft.runs.opening import Sources, announce, open_directory, open_log
from pairft.runs.profile import profiled
from pairft.runs.random_states import random_states
from pairft.runs.resume import resume_command
from pairft.runs.scoring import scored
from pairft.runs.seeds import Group
from pairft.runs.signals import StopRequest
from pairft.runs.writer import Writer
from pairft.tasks import TASKS, metrics_of, scored_splits
from pairft.training import device, distributed, evaluation, lora, sharding
from pairft.training.learner import Learner
from pairft.training.loop import Schedule, schedule_of
from pairft.training.state import TrainState


@dataclass
class Run:
    """A run in progress. `fit` calls `evaluate` and `save` when they are due."""

    directory: Path
    config: Config
    sources: Sources
    learner: Learner
    schedule: Schedule
    log: RunLog
    writer: Writer
    stop: StopRequest
    findings: Sequence[findings.Finding]  # what is wrong with the data
    fallbacks: evaluation.Fallbacks
    judge: early_stopping.Judge | None  # of a search: may end the run after an evaluation
    exit_code: int = 0

    @property
    def steps_left(self) -> int:
        state = self.learner.state
        return 0 if state.stopped_early or self.config.dry_run else self.schedule.total_steps - state.step

    @property
    def main_metric(self) -> str:
        return metrics_of(TASKS[self.config.task], self.sources.pairs.problem_type)[1]

    def evaluate(self, state: TrainState) -> None:
        """Evaluate on each split that the task scores, log the scores, and save the model to best/ if it is the best so
        far on the validation split. Raises Diverged if a logit is not finite."""
        began = time.perf_counter()
        outputs = {split: self.predict(state, split) for split in scored_splits(self.sources.tokens)}
        found, main_metric = scored(self.config, self.sources.pairs, outputs)
        found = {"step": state.step, "epoch": state.epoch(self.log.num_examples), **found}
        splits = {name: found[name] for name in ("step", "epoch", *outputs)}
        self.log.log_validation(splits, time.perf_counter() - began)
        with distributed.together():  # the disk may be full
            if state.last is None:
                self.log.hyperparameters(values(self.config), found["validation"], main_metric, finished=False)
        if found["collapsed"]:
            say("warning: the model predicts the same for every example of the validation split")
        scores = found["validation"]
        found["since_best"] = early_stopping.since_best(state, scores[main_metric], main_metric)
        state.last = found
        is_best = state.best is None or scores[main_metric] > state.best["validation"][main_metric]
        weights = self.weights() if is_best else None
        with distributed.together(), self.writer.attempt():
            if is_best:
                self.keep_model("best", found, weights)
                state.best = found  # not reached if writing fails: the model in best/ stays the best
                if state.lost_best and scores[main_metric] > state.lost_best["validation"][main_metric]:
                    state.lost_best = None
            self.keep_answers(outputs, state.step)
            assert state.best is not None
            self.log.log_answers(state.step, {main_metric: state.best["validation"][main_metric]})
        state.best, state.lost_best = distributed.from_main((state.best, state.lost_best))
        self.stop_early(state)

    def stop_early(self, state: TrainState) -> None:
        """Set `state.stopped_early` if the latest evaluation ends the run before its last step."""
        about = self.schedule.total_steps, self.config.patience, self.main_metric, self.judge
        early_stopping.stop_early(state, *about)

    def predict(self, state: TrainState, split: str) -> evaluation.EvalOutput:
        """The model's answers to every example of a split. Raises Diverged if a logit is not finite."""
        output = evaluation.predict(
            state.model,
            self.sources.tokens[split],
            self.learner.collate,
            self.learner.device,
            self.learner.amp_dtype,
            self.config.preset == "trainer",
            self.fallbacks,
        )
        if not numpy.isfinite(output.logits).all():
            raise Diverged(state.step, f"a logit of the {split} split")
        return output

    def save(self, state: TrainState) -> None:
        """Save a checkpoint. Flushing it to disk continues in the background."""
        began = time.perf_counter()
        counts = state.interval
        everywhere = distributed.gathered((random_states(self.learner.device.type), counts.tokens, counts.slots))
        random, tokens, slots = zip(*everywhere, strict=True)
        # The checkpoint has one count for all, so rank 0 takes over those of the others.
        counts.tokens, counts.slots = (sum(tokens), sum(slots)) if distributed.is_main() else (0, 0)
        shards, failure = checkpoint.save_shards(self.directory, state) if state.sharded else (None, None)
        with distributed.together():
            if not distributed.is_main():
                return
            state.num_lines = self.log.num_lines
            self.writer.wait()
            with self.writer.attempt():
                if failure is not None:
                    raise failure
                self.writer.submit(checkpoint.take_snapshot(self.directory, self.log.files(), state, random, shards))
                self.log.log_saving(state.step, time.perf_counter() - began)

    def weights(self) -> dict[str, Tensor] | None:
        """All weights of a sharded model, on rank 0 (every process takes part), or those of a model with adapters,
        merged. None if the model holds them itself."""
        model = self.learner.state.model
        return sharding.full_state_dict(model) if self.learner.state.sharded else lora.merged_weights(model)

    def keep_model(self, name: str, found: dict[str, Any], weights: dict[str, Tensor] | None) -> None:
        """Write the model folder `name`. `found`: the evaluation of the model. `weights`: from `weights`."""
        if not distributed.is_main():
            return
        about = card.sidecar(self.config, self.sources.pairs, self.sources.max_length)
        about["audit"] = findings.counts(self.findings)
        model, tokenizer = self.learner.state.model, self.sources.tokenizer
        card.save_model(self.directory / name, model, tokenizer, {**about, **found}, to_yaml(self.config), weights)

    def keep_answers(self, outputs: dict[str, evaluation.EvalOutput], step: int) -> None:
        """Write the model's answers to each split, from `predict`, to evaluations/."""
        if distributed.is_main():
            for split, output in outputs.items():
                about = self.sources.pairs, self.sources.tokens[split]
                evaluations.keep(self.directory, split, step, *about, output)

    def end(self) -> int:
        """Finish, unless a signal stopped the run before its last step. Returns the exit code."""
        if self.config.dry_run:
            return 0
        state, stopped_by = self.learner.state, self.stop.signal
        if stopped_by is not None and self.steps_left:
            with distributed.together():
                if self.writer.failures:
                    raise DiskError(
                        f"stopped after step {state.step}, which could not be saved; --resume starts before it"
                    )
            self.log.close()
            say(f"stopped after step {state.step}; resume with: {resume_command(self.directory)}")
            return EXIT_SIGNAL + stopped_by
        weights = self.weights()
        complete = evaluations.are_kept(self.directory, scored_splits(self.sources.tokens), state.step)
        if not distributed.from_main(complete):  # removed, or not written because the disk was full
            outputs = {split: self.predict(state, split) for split in scored_splits(self.sources.tokens)}
            with distributed.together():
                self.keep_answers(outputs, state.step)
        with distributed.together():
            if distributed.is_main():
                self.finish(weights)
        if self.config.push_to_hub and distributed.is_main():
            push.upload_trained(self.directory / "best", self.config.push_to_hub)
        return 0

    def finish(self, weights: dict[str, Tensor] | None) -> None:
        """Write last/ and results.json, and print the evaluations."""
        state = self.learner.state
        assert state.last is not None and state.last["step"] == state.step, (state.step, state.last)
        self.keep_model("last", state.last, weights)
        if state.best is None:  # the best model could not be written
            self.keep_model("best", state.last, weights)
            state.best = state.last
        for name in ("best", "last"):
            disk.flush_all(self.directory / name)
        lines = self.log.evaluations(state.last)
        content = results.results_of(self.config, state, self.writer, self.sources.pairs.positive_name)
        self.log.hyperparameters(values(self.config), state.last["validation"], self.main_metric, finished=True)
        directory.write_json(self.directory / "results.json", content)
        self.log.close(finished=True)
        results.show(content, lines, self.directory)


@contextlib.contextmanager
def open_run(
    config: Config,
    run_dir: Path | None,
    argv: Sequence[str],
    learner: Learner,
    sources: Sources,
    group: Group | None = None,
) -> Iterator[Run]:
    """Open a new run, or resume the one in `run_dir`: its newest checkpoint is restored into `learner.state`. `group`:
    the group of runs that it belongs to, with --seeds or --folds.

    Within the context the run holds its directory, its log, the thread that saves, and the signal handlers.
    On leaving, the run has finished, was stopped or has diverged: the user is told, and `exit_code` is set. Raises
    UserError if the run can't be resumed or written.
    """
    state = learner.state
    schedule = schedule_of(config, sources.tokens["train"])
    with contextlib.ExitStack() as stack:
        resumed = run_dir is not None
        run_dir, start, changed = open_directory(stack, config, run_dir, argv, state, schedule, sources, group)
        log = open_log(config, run_dir, resumed, learner, sources, schedule, group)
        stack.callback(log.close)
        announce(config, run_dir, argv, learner, sources, schedule, start, changed)
        found = []
        with distributed.together():
            if distributed.is_main() and not sources.stream:
                found = check_data(config, sources.pairs, sources.tokens, sources.max_length, run_dir)
        if len(sources.tokens["train"]) >= device.LARGE:
            device.release_memory()
        try:
            # Signals are handled until all processes have ended: another one may still be saving.
            with contextlib.nullcontext(group.stop) if group else StopRequest() as stop:
                with Writer(run_dir / "checkpoints") as writer:
                    fallbacks = evaluation.Fallbacks()
                    judge = group.judge if group else None
                    run = Run(run_dir, config, sources, learner, schedule, log, writer, stop, found, fallbacks, judge)
                    run.stop_early(state)  # killed after its last evaluation
                    run.learner = stack.enter_context(profiled(learner, config.profile, run.steps_left, run_dir))
                    yield run
                    if config.dry_run and group:
                        dry_run.measure(run, group.left)
                    elif not run.steps_left and (state.last is None or state.last["step"] < state.step):
                        run.evaluate(state)  # resumed with a length that ends where it was stopped
                run.exit_code = run.end()
        except Diverged as error:
            log.close()
            say(divergence(error, config, sources, checkpoint.whole_checkpoints(run_dir / "checkpoints")))
            run.exit_code = EXIT_DIVERGED
