"""End a run after an evaluation, before its last step: with --patience, or because the search that it belongs to asks
for it. The run then has finished, as after its last step."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pairft.output import say
from pairft.training import distributed

if TYPE_CHECKING:
    from pairft.training.state import TrainState

# Of a search over settings: takes an evaluation's step and its main metric; returns why to end the run, or None. When
# a run is resumed at an evaluation, its judge is asked again.
Judge = Callable[[int, float], str | None]


def since_best(state: "TrainState", score: float, main_metric: str) -> int:
    """How many evaluations in a row, up to the latest one, have not beaten the best of those before them. `score`: the
    main metric of the latest. `state`: from before it. It counts as well if the best model is damaged on disk."""
    if state.last is None or all(score > best["validation"][main_metric] for best in bests(state)):
        return 0
    return since_best_of(state.last) + 1


def since_best_of(evaluation: dict[str, Any]) -> int:
    return int(evaluation.get("since_best", 0))  # checkpoints of older versions have no count


def bests(state: "TrainState") -> list[dict[str, Any]]:
    """The best evaluation; and a better one, if its model has been damaged on disk."""
    return [best for best in (state.best, state.lost_best) if best is not None]


def stop_early(
    state: "TrainState", total_steps: int, patience: int | None, main_metric: str, judge: Judge | None
) -> None:
    """Set `state.stopped_early`, on every rank, if the latest evaluation ends the run before its last step."""
    latest = state.last
    if latest is None or not latest["step"] == state.step < total_steps:
        return
    reason = None
    if patience is not None and since_best_of(latest) >= patience:
        best = max(bests(state), key=lambda one: float(one["validation"][main_metric]))
        score = f"{main_metric} {best['validation'][main_metric]:.4f}"
        reason = f"no evaluation since step {best['step']} was better than {score} (--patience {patience})"
    elif judge is not None and distributed.is_main():
        reason = judge(latest["step"], latest["validation"][main_metric])
    state.stopped_early = distributed.from_main(reason)
    if state.stopped_early:
        say(f"stopped after step {state.step}: {state.stopped_early}")


def about(state: "TrainState") -> dict[str, Any] | None:
    """What results.json says of an early end; None if the run went to its last step."""
    return None if state.stopped_early is None else {"step": state.step, "reason": state.stopped_early}
