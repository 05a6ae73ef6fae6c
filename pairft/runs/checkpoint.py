"""Checkpoints: everything needed to resume, in a folder that is there whole or not at all.

checkpoints/step-00000459/
    state.json             layout, step, position, counters, best and latest evaluation, gradient scaler
    model.safetensors      weights and buffers by name
    optimizer.safetensors  AdamW's state by parameter name: "exp_avg/<name>", "exp_avg_sq/<name>", "step/<name>"
    random-0.safetensors   torch's, numpy's and Python's random states
    best/                  a copy of the run's best/ as it was then, if there was one; shared by checkpoints
    files.json             size and sha256 of each of these
"""

import json
import math
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from pairft import disk
from pairft.data.batches import Position
from pairft.errors import Diverged, UserError
from pairft.output import say
from pairft.runs.random_states import random_states, restore_random_states
from pairft.training.state import TrainState

LAYOUT = 2
KEPT = 2  # the newest
COUNTERS = ("step", "examples", "seconds", "lines", "split", "best", "last", "lost_best")
BEST = "best/"  # what the names of its files begin with


def folder_of(checkpoints: Path, step: int) -> Path:
    return checkpoints / f"step-{step:08d}"


def whole_checkpoints(checkpoints: Path) -> list[Path]:
    """The checkpoints there, oldest first."""
    if not checkpoints.is_dir():
        return []
    return sorted(path for path in checkpoints.iterdir() if re.fullmatch(r"step-\d{8,}", path.name))


def begin(checkpoints: Path, best: Path, logs: Sequence[Path], state: TrainState) -> Callable[[], None]:
    """Take hold of the state as it is now; what is returned makes a whole checkpoint of it, and may run while the
    training goes on: it flushes the `logs`, whose lines the state counts, and the checkpoint, gives it its name, and
    drops all but the newest two. Raises Diverged where the weights or the optimizer's state aren't finite."""
    checkpoints.mkdir(exist_ok=True)
    folder = folder_of(checkpoints, state.step)
    part = folder.with_name(f".{folder.name}.part")
    device = state.window.loss_sum.device
    tensors = {
        "model": tensors_of(state.model),
        "optimizer": optimizer_tensors(state.model, state.optimizer),
        "random-0": random_states(device.type),
    }
    if not all_finite([*tensors["model"].values(), *tensors["optimizer"].values()], device):
        raise Diverged(state.step, "a weight or its moment")
    window = asdict(state.window)
    content = {
        "layout": LAYOUT,
        "position": state.position._asdict(),
        **{name: getattr(state, name) for name in COUNTERS},
        "bad_steps": float(state.bad_steps),
        "window": {name: float(value) if isinstance(value, Tensor) else value for name, value in window.items()},
        "scaler": state.scaler.state_dict(),
        "extra": {name: float(tensor) for name, tensor in state.extra.items()},
    }

    def write() -> None:
        with disk.disk_errors(part):
            for name, some in tensors.items():
                save_file(some, part / f"{name}.safetensors")

    shared = shared_best(checkpoints, state)

    def finish() -> None:
        with disk.gone_on_error(part):
            if device.type != "cpu":
                write()
            if shared is None and state.best is not None:
                disk.unlink(part / "best")  # a user's edit in best/ must not reach the checkpoint
            (part / "state.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
            for log in logs:
                disk.flush(log)
            disk.follow_umask(part, like=part / "state.json")
            disk.seal(part, known)
            disk.put(part, folder)
        disk.flush(checkpoints)
        for old in whole_checkpoints(checkpoints)[:-KEPT]:
            shutil.rmtree(old)

    known = {} if shared is None else listed_best(shared)
    with disk.gone_on_error(part):
        part.mkdir()
        if state.best is not None:
            disk.link(best if shared is None else shared / "best", part / "best")
        if device.type == "cpu":
            write()  # the tensors are the live ones; a copy of them in memory would take as long
            tensors.clear()
        else:
            tensors = {key: {name: tensor.cpu() for name, tensor in some.items()} for key, some in tensors.items()}
    return finish


def all_finite(tensors: Sequence[Tensor], device: torch.device) -> bool:
    """Whether those on the device are, by their largest element, which is nan where one is: isfinite would take as much
    memory as the tensor itself."""
    numbers = [tensor for tensor in tensors if tensor.device == device and tensor.is_floating_point()]
    return bool(torch.stack([torch.linalg.vector_norm(tensor, math.inf) for tensor in numbers]).isfinite().all())


def shared_best(checkpoints: Path, state: TrainState) -> Path | None:
    """The newest checkpoint, if it holds the same best model: its files are linked, and need no copy."""
    for folder in reversed(whole_checkpoints(checkpoints)[-1:]):
        try:
            held = json.loads((folder / "state.json").read_text(encoding="utf-8"))["best"]
            if state.best is not None and held["step"] == state.best["step"] and listed_best(folder):
                return folder
        except (OSError, ValueError, KeyError, TypeError):  # it has no best model, or is damaged
            pass
    return None


def listed_best(folder: Path) -> dict[str, dict[str, Any]]:
    """What a checkpoint's list says of its best model's files. They are not read again for a checkpoint that links
    them, so that damage done to them since is not taken for their content."""
    return {name: listed for name, listed in disk.read_list(folder).items() if name.startswith(BEST)}


def bytes_needed(state: TrainState, runs: int = 1) -> int:
    """What so many runs, one after the other, may need on the disk: of each the kept checkpoints, the model folders
    that these and best/ may hold, and last/; and the checkpoint being written."""
    weights = sum(tensor.nbytes for tensor in state.model.state_dict().values())
    moments = 2 * sum(parameter.nbytes for parameter in state.model.parameters() if parameter.requires_grad)
    one = weights + moments + weights
    return int(runs * (KEPT * one + 2 * weights) + one)


def restore(checkpoints: Path, best: Path, state: TrainState) -> bool:
    """Restore the newest whole checkpoint and its best model; False where there is none. Damaged checkpoints after it
    are renamed, not deleted, and said to be. Raises UserError for one that can't be read or has another layout."""
    found = damaged = False
    for folder in reversed(whole_checkpoints(checkpoints)):
        check_layout(folder)
        wrong = disk.damage(folder)
        needed = [what for name, what in wrong.items() if not name.startswith(BEST)]
        if not needed:
            load(folder, state)
            found = True
            break
        aside = disk.set_aside(folder)
        say(f"warning: the checkpoint {folder} is damaged ({needed[0]}): kept as {aside}; trying the one before")
        damaged = True
    for leftover in [*checkpoints.glob(".*.part"), *best.parent.glob(".*.part")]:  # of a process that was killed
        disk.remove(leftover)
    disk.mend(best)
    if found and state.best is not None:
        restore_best(folder, best, state)
    elif best.exists() and damaged:
        say(f"warning: {best} is of a checkpoint that is damaged: kept as {disk.set_aside(best)}")
    # Otherwise `best` is of a later step: it stays until the same evaluation, done again, replaces it.
    return found


def restore_best(folder: Path, best: Path, state: TrainState) -> None:
    """Make `best` the best model that a checkpoint knows. Where the checkpoint's copy is damaged, it is mended from
    `best`, since the next checkpoint links it; where both are, the best model is lost, and a later evaluation chooses a
    new one."""
    wrong = disk.damage(folder, BEST)
    if not wrong:
        part = best.with_name(f".{best.name}.part")
        shutil.copytree(folder / "best", part)
        disk.put(part, best)
    elif not disk.damage(folder, BEST, at=best):
        for name in wrong:
            (folder / name).parent.mkdir(exist_ok=True)
            disk.put_copy(best / name.removeprefix(BEST), folder / name)
    else:
        kept = f"; {best} is kept as {disk.set_aside(best)}" if best.exists() else ""
        assert state.best is not None, folder
        say(
            f"warning: the best model, of step {state.best['step']}, is damaged in {folder} "
            f"({next(iter(wrong.values()))}) and in {best}: it is lost, and the best of the later evaluations takes "
            f"its place{kept}"
        )
        state.lost_best, state.best = state.best, None


def check_layout(folder: Path) -> None:
    """Raise UserError for a checkpoint that another version has written; one that can't be read has no layout."""
    try:
        layout = json.loads((folder / "state.json").read_text(encoding="utf-8"))["layout"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return
    if layout != LAYOUT:
        raise UserError(f"{folder} has layout {layout}, but this version reads {LAYOUT}: use the version that wrote it")


def load(folder: Path, state: TrainState) -> None:
    """Restore a state from a checkpoint, the random states last. Raises UserError for one that doesn't
    fit the model."""
    try:
        content = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        state.model.load_state_dict(load_file(folder / "model.safetensors"))
        load_optimizer(state.model, state.optimizer, load_file(folder / "optimizer.safetensors"))
        random_tensors = load_file(folder / "random-0.safetensors")
    except (ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        if isinstance(error, UserError):
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"can't read the checkpoint {folder} ({reason}): move it away to go on from the one before"
        ) from error
    for name in COUNTERS:
        setattr(state, name, content[name] if name != "lost_best" else content.get(name))  # older checkpoints lack it
    state.position = Position(**content["position"])
    state.bad_steps.fill_(content["bad_steps"])
    if content["scaler"]:  # empty where there is none, as on a CPU
        state.scaler.load_state_dict(content["scaler"])
    for name, tensor in state.extra.items():
        tensor.fill_(content["extra"][name])
    for name, value in content["window"].items():
        now = getattr(state.window, name)
        setattr(state.window, name, now.fill_(value) if isinstance(now, Tensor) else value)
    restore_random_states(random_tensors)


def tensors_of(model: torch.nn.Module) -> dict[str, Tensor]:
    """Weights and buffers by name. Of those that share memory, which safetensors refuses, all but the first copied."""
    tensors: dict[str, Tensor] = {}
    seen = set()
    for name, tensor in model.state_dict().items():
        tensors[name] = tensor.clone() if tensor.data_ptr() in seen else tensor.contiguous()
        seen.add(tensor.data_ptr())
    return tensors


def optimizer_tensors(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state as {"exp_avg/<parameter name>": tensor, …}."""
    return {
        f"{key}/{name}": value.detach().contiguous()
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def load_optimizer(model: torch.nn.Module, optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put saved tensors back by parameter name; `load_state_dict` sees to their devices."""
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
