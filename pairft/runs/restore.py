"""Restore the newest complete checkpoint and its best model, and deal with damaged ones."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from pairft import disk
from pairft.data.batches import Position
from pairft.errors import UserError
from pairft.output import say
from pairft.runs import evaluations
from pairft.runs.checkpoint import BEST, COUNTERS, LAYOUT, whole_checkpoints
from pairft.runs.random_states import restore_random_states
from pairft.training import distributed, sharding
from pairft.training.state import TrainState


def restore(run_dir: Path, state: TrainState) -> bool:
    """Restore the newest complete checkpoint and its best model. Returns False if there is none.

    Damaged checkpoints are renamed, not deleted, with a warning. Raises UserError if a checkpoint can't be read or has
    another layout.
    """
    checkpoints, best = run_dir / "checkpoints", run_dir / "best"
    found = damaged = False
    for folder in reversed(whole_checkpoints(checkpoints)):
        check_layout(folder)
        wrong = disk.verify(folder)
        problems = [problem for name, problem in wrong.items() if not name.startswith(BEST)]
        if not problems:
            load(folder, state)
            found = True
            break
        aside = disk.set_aside(folder)
        say(f"warning: the checkpoint {folder} is damaged ({problems[0]}): renamed to {aside}; trying the previous one")
        damaged = True
    for place in (checkpoints, run_dir, run_dir / evaluations.FOLDER):
        for leftover in place.glob(".*.part"):  # from a process that was killed
            disk.remove(leftover)
    disk.undo_replace(best)
    if found and state.best is not None:
        restore_best(folder, best, state)
    elif best.exists() and damaged:
        say(f"warning: {best} belongs to a damaged checkpoint: renamed to {disk.set_aside(best)}")
    # Otherwise `best` is from a later step: it stays until the same evaluation is repeated and replaces it.
    return found


def restore_best(folder: Path, best: Path, state: TrainState) -> None:
    """Restore `best` from a checkpoint. If the checkpoint's copy is damaged, it is repaired from `best`, since the next
    checkpoint will link to it. If both are damaged, the best model is lost, and the next evaluation sets a new one."""
    wrong = disk.verify(folder, BEST)
    if not wrong:
        part = best.with_name(f".{best.name}.part")
        shutil.copytree(folder / "best", part)
        disk.replace_atomically(part, best)
    elif not disk.verify(folder, BEST, at=best):
        for name in wrong:
            (folder / name).parent.mkdir(exist_ok=True)
            disk.copy_atomically(best / name.removeprefix(BEST), folder / name)
    else:
        kept = f"; {best} is renamed to {disk.set_aside(best)}" if best.exists() else ""
        assert state.best is not None, folder
        say(
            f"warning: the best model, of step {state.best['step']}, is damaged in {folder} "
            f"({next(iter(wrong.values()))}) and in {best}: it is lost, and the best of the later evaluations replaces "
            f"it{kept}"
        )
        state.lost_best, state.best = state.best, None


def check_layout(folder: Path) -> None:
    """Raise UserError if another version wrote the checkpoint. Nothing is raised here if it can't be read."""
    try:
        layout = json.loads((folder / "state.json").read_text(encoding="utf-8"))["layout"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return
    if layout not in (2, LAYOUT):
        raise UserError(
            f"{folder} has layout {layout}, but this version reads 2 and {LAYOUT}: use the version that wrote it"
        )


def load(folder: Path, state: TrainState) -> None:
    """Load a checkpoint into `state`, and the random states last. Raises UserError if it doesn't fit the model. Shards
    are left to `load_shards`, since all processes have to load them together."""
    try:
        content = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        if content["layout"] == 2:
            content = from_layout_2(content)
        if content["extra"].keys() != state.extra.keys():
            raise UserError(
                f"{folder} was saved with other fast paths ({', '.join(content['extra']) or 'none'}; now: "
                f"{', '.join(state.extra) or 'none'}): resume on the --device it was started on, with all of pairft"
            )
        if not state.sharded:
            state.model.load_state_dict(load_file(folder / "model.safetensors"))
            load_optimizer(state.model, state.optimizer, load_file(folder / "optimizer.safetensors"))
        random_file = folder / f"random-{distributed.rank()}.safetensors"
        random_tensors = load_file(random_file) if random_file.exists() or distributed.is_main() else None
    except (ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        if isinstance(error, UserError):
            raise
        raise unreadable(folder, error) from error
    for name in COUNTERS:
        setattr(state, name, content[name])
    state.position = Position(**content["position"])
    state.bad_steps.fill_(content["bad_steps"])
    if content["scaler"]:  # empty if the scaler is disabled, as on a CPU
        state.scaler.load_state_dict(content["scaler"])
    for name, tensor in state.extra.items():
        tensor.fill_(content["extra"][name])
    for name, value in content["interval"].items():
        now = getattr(state.interval, name)
        setattr(state.interval, name, now.fill_(value) if isinstance(now, Tensor) else value)
    if not distributed.is_main():  # the counts are those of all processes
        state.interval.tokens = state.interval.slots = 0
    if random_tensors is not None:  # otherwise the run had fewer processes, and this one starts with its own states
        restore_random_states(random_tensors)


def load_shards(folder: Path, state: TrainState) -> None:
    """Load the weights and moments of a checkpoint with shards, on all processes together."""
    try:
        sharding.load_shards(folder / "shards", state.model, state.optimizer)
    except (OSError, ValueError, SafetensorError) as error:
        raise unreadable(folder, error) from error


def unreadable(folder: Path, error: Exception) -> UserError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return UserError(f"can't read the checkpoint {folder} ({reason}): move it away to resume from the previous one")


def from_layout_2(content: dict[str, Any]) -> dict[str, Any]:
    """Convert the state.json of versions before 2026-11-26 to the current names."""
    return {
        **content,
        "num_lines": content["lines"],
        "micro_batch_divisor": content["split"],
        "interval": content["window"],
        "extra": {} if content["remaining"] is None else {"embedding_decay": content["remaining"]},
        "lost_best": content.get("lost_best"),
    }


def load_optimizer(model: torch.nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Load the optimizer's state from tensors stored by parameter name; `load_state_dict` moves them to their
    devices."""
    by_name: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        kind, name = key.split("/", 1)
        by_name.setdefault(name, {})[kind] = tensor
    names = {parameter: name for name, parameter in model.named_parameters()}
    plain = optimizer.state_dict()
    ordered = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    plain["state"] = {
        index: by_name[names[parameter]] for index, parameter in enumerate(ordered) if names[parameter] in by_name
    }
    optimizer.load_state_dict(plain)
