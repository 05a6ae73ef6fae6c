"""End a run after an evaluation, before its last step: with --patience, or because the search that it belongs to asks
for it. The run then has finished, as after its last step."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pairft.config import Config

if TYPE_CHECKING:
    from pairft.training.state import TrainState

# Of a search over settings: takes the step of an evaluation and its main metric; returns why to end the run, or None.
# A resumed run may ask again about its latest evaluation.
Judge = Callable[[int, float], str | None]


def since_best(state: "TrainState", score: float, main_metric: str) -> int:
    """How many evaluations in a row, up to one with this score, have not beaten the best main metric before them.
    `state`: from before that evaluation. A best model that is damaged on disk doesn't change the count."""
    bests = [best["validation"][main_metric] for best in (state.best, state.lost_best) if best is not None]
    if state.last is None or all(score > best for best in bests):
        return 0
    return since_best_of(state.last) + 1


def since_best_of(evaluation: dict[str, Any]) -> int:
    return int(evaluation.get("since_best", 0))  # checkpoints of older versions have no count


def reason_to_stop(config: Config, state: "TrainState", main_metric: str, judge: Judge | None) -> str | None:
    """Why to end the run after the latest evaluation, or None."""
    assert state.last is not None, state.step
    if config.patience is not None and since_best_of(state.last) >= config.patience:
        step, score = best_before(state, main_metric)
        return (
            f"no evaluation since step {step} was better than {main_metric} {score:.4f} (--patience {config.patience})"
        )
    return judge(state.last["step"], state.last["validation"][main_metric]) if judge else None


def best_before(state: "TrainState", main_metric: str) -> tuple[int, float]:
    """Step and score of the best evaluation, whether its model is there or has been damaged on disk."""
    bests = [best for best in (state.best, state.lost_best) if best is not None]
    best = max(bests, key=lambda one: float(one["validation"][main_metric]))
    return best["step"], best["validation"][main_metric]


def about(state: "TrainState") -> dict[str, Any] | None:
    """What results.json says of an early end; None if the run went to its last step."""
    return None if state.stopped_early is None else {"step": state.step, "reason": state.stopped_early}
