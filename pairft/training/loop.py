"""The training loop: step, log, evaluate, save."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from pairft.config import Config
from pairft.data.batches import StepData, lengths_of
from pairft.data.order import step_size, steps_in
from pairft.parsing import Interval
from pairft.training.state import TrainState
from pairft.training.step import Update, check_finite

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class Schedule:
    """When to log, evaluate and save, in steps counted from 1."""

    total_steps: int
    log_every: int
    eval_every: Interval
    save_every: Interval

    def due(self, every: Interval, state: TrainState) -> bool:
        """Whether something is due after the current step. After the last one, everything is."""
        if state.step == self.total_steps:
            return True
        if every == "epoch":
            return state.position.consumed == 0
        return every != "never" and state.step % int(every) == 0


def schedule_of(config: Config, dataset: "Dataset") -> Schedule:
    """The schedule for the tokenised training split. --max-steps takes precedence over --epochs."""
    total_steps = config.max_steps or steps_in(config.epochs, lengths_of(dataset), step_size(config), config.seed)
    return Schedule(total_steps, config.log_every, config.eval_every, config.save_every)


def fit(
    state: TrainState,
    steps: Iterable[StepData],
    update: Update,
    lr_at: Callable[[int], float],
    schedule: Schedule,
    log: Callable[[TrainState, float, Tensor], None],
    evaluate: Callable[[TrainState], None],
    save: Callable[[TrainState], object],
    stop_asked: Callable[[], bool],
) -> None:
    """Train until the last step, until an evaluation sets `state.stopped_early`, or until a signal asks to stop. What
    is due after a step is done before a stop, so that a run resumed from the saved state equals one that never stopped.

    state: the training state, which each step changes and a checkpoint saves.
    steps: the examples of each step, from the state's position on.
    update: one optimizer step. Takes micro-batches, their number of examples and the learning rate; returns the sum of
        the losses and the gradient norm, tensors [] on the device.
    lr_at: the learning rate of a step, counted from 0.
    schedule: the number of steps, and when to log, evaluate and save.
    log, evaluate, save: called when due, in this order; log also gets the step's learning rate and gradient norm.
    stop_asked: whether to stop after this step.

    Raises Diverged if a loss or gradient is not finite.
    """
    state.model.train()
    began = time.perf_counter()
    for data in state.timed(steps):
        # ---- one step: micro-batches to gradients to new weights (step.py) --------------------------------------
        lr = lr_at(state.step)
        loss_sum, grad_norm = update(data.micro_batches, data.num_examples, lr)
        state.step += 1
        state.position = data.after
        state.examples += data.num_examples
        state.interval.count(loss_sum, state.bad_steps, data)
        # ---- what is due after it -------------------------------------------------------------------------------
        stop = stop_asked()
        log_due = schedule.due(schedule.log_every, state)
        eval_due = schedule.due(schedule.eval_every, state)
        save_due = schedule.due(schedule.save_every, state) or stop
        if not (log_due or eval_due or save_due):
            continue
        bad_steps = int(state.bad_steps)  # the one wait for the device, so that the clock stops when the work is done
        elapsed = time.perf_counter() - began
        state.seconds += elapsed
        state.interval.seconds += elapsed
        check_finite(bad_steps, state.step, state.scaler.is_enabled())
        if log_due:
            log(state, lr, grad_norm)
        if eval_due:
            evaluate(state)
            state.model.train()
        if save_due or state.stopped_early:
            save(state)
        if stop or state.stopped_early or state.step == schedule.total_steps:
            return
        began = time.perf_counter()
