"""Checkpoints: everything needed to go on, in a folder that is there whole or not at all.

checkpoints/step-00000459/
    state.json             layout, step, position, counters, best evaluation, gradient scaler
    model.safetensors      weights and buffers by name
    optimizer.safetensors  AdamW's state by parameter name: "exp_avg/<name>", "exp_avg_sq/<name>", "step/<name>"
    random-0.safetensors   the random states of process 0
"""

import json
import os
import random
import re
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from pairft.batches import Position
from pairft.errors import UserError
from pairft.state import TrainState

LAYOUT = 1
KEPT = 2  # the newest


def folder_of(checkpoints: Path, step: int) -> Path:
    return checkpoints / f"step-{step:08d}"


def whole_checkpoints(checkpoints: Path) -> list[Path]:
    """The checkpoints there, oldest first."""
    if not checkpoints.is_dir():
        return []
    return sorted(path for path in checkpoints.iterdir() if re.fullmatch(r"step-\d{8,}", path.name))


def save(checkpoints: Path, state: TrainState) -> Path:
    """Write a checkpoint under another name, rename it, and drop all but the newest two."""
    folder = folder_of(checkpoints, state.step)
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    save_file(tensors_of(state.model), part / "model.safetensors")
    save_file(optimizer_tensors(state.model, state.optimizer), part / "optimizer.safetensors")
    save_file(random_states(state.window.loss_sum.device.type), part / "random-0.safetensors")
    content = {
        "layout": LAYOUT,
        "step": state.step,
        "position": state.position._asdict(),
        "examples": state.examples,
        "seconds": state.seconds,
        "best": state.best,
        "window": {**asdict(state.window), "loss_sum": float(state.window.loss_sum)},
        "scaler": state.scaler.state_dict(),
        "remaining": state.rows.remaining if state.rows is not None else None,
    }
    (part / "state.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(part, folder)
    for old in whole_checkpoints(checkpoints)[:-KEPT]:
        shutil.rmtree(old)
    return folder


def load(folder: Path, state: TrainState) -> None:
    """Restore a state from a checkpoint, the random states of this process last. Raises UserError for one that can't
    be read or has another layout."""
    try:
        content = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        if content["layout"] != LAYOUT:
            raise UserError(
                f"{folder} has layout {content['layout']}, but this version reads {LAYOUT}: use its version"
            )
        state.model.load_state_dict(load_file(folder / "model.safetensors"))
        load_optimizer(state.model, state.optimizer, load_file(folder / "optimizer.safetensors"))
        random_tensors = load_file(folder / "random-0.safetensors")
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        if isinstance(error, UserError):
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"can't read the checkpoint {folder} ({reason}): move it away to go on from the one before"
        ) from error
    state.step = content["step"]
    state.position = Position(**content["position"])
    state.examples = content["examples"]
    state.seconds = content["seconds"]
    state.best = content["best"]
    if content["scaler"]:  # empty where there is none, as on a CPU
        state.scaler.load_state_dict(content["scaler"])
    if state.rows is not None:
        state.rows.remaining = content["remaining"]
    window = dict(content["window"])
    state.window.loss_sum.fill_(window.pop("loss_sum"))
    for name, value in window.items():
        setattr(state.window, name, value)
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


def random_states(device: str = "cpu") -> dict[str, Tensor]:
    """The states of torch's, numpy's and Python's generators as tensors; of the device's, too."""
    kind, keys, *rest = numpy.random.get_state(legacy=True)
    assert kind == "MT19937", kind
    version, words, gauss = random.getstate()
    states = {
        "torch": torch.get_rng_state(),
        "numpy_keys": torch.from_numpy(numpy.asarray(keys).astype(numpy.int64)),
        "numpy_rest": torch.tensor(rest, dtype=torch.float64),  # position, has_gauss, cached_gaussian
        "python_words": torch.tensor(words, dtype=torch.int64),
        "python_rest": torch.tensor([version, gauss is not None, gauss or 0.0], dtype=torch.float64),
    }
    if device == "cuda":
        states["cuda"] = torch.cuda.get_rng_state()
    elif device == "mps":
        states["mps"] = torch.mps.get_rng_state()
    return states


def restore_random_states(states: dict[str, Tensor]) -> None:
    torch.set_rng_state(states["torch"])
    position, has_gauss, gauss = states["numpy_rest"].tolist()
    numpy.random.set_state(
        ("MT19937", states["numpy_keys"].numpy().astype(numpy.uint32), int(position), int(has_gauss), gauss)
    )
    version, has_next, following = states["python_rest"].tolist()
    random.setstate((int(version), tuple(states["python_words"].tolist()), following if has_next else None))
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
    if "mps" in states and torch.backends.mps.is_available():
        torch.mps.set_rng_state(states["mps"])
