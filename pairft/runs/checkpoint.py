"""Checkpoints: everything needed to resume, in a folder that is complete or absent.

checkpoints/step-00000459/
    state.json             layout, step, position, counters, best and last evaluation, gradient scaler
    model.safetensors      weights and buffers by name
    optimizer.safetensors  AdamW's state by parameter name: "exp_avg/<name>", "exp_avg_sq/<name>", "step/<name>"
    random-0.safetensors   torch's, numpy's and Python's random states; random-1… those of further processes
    shards/                with --shard full instead of model and optimizer: each process's shares of these tensors
    best/                  a copy of the run's best/, if there is one; checkpoints of the same best model share it
    files.json             size and sha256 of each of these

This file writes them; restore.py reads them back.
"""

import json
import math
import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from pairft import disk
from pairft.errors import Diverged
from pairft.training import distributed, sharding
from pairft.training.state import TrainState

LAYOUT = 3
KEPT = 2  # checkpoints of a run, the newest ones
COUNTERS = ("step", "examples", "seconds", "num_lines", "micro_batch_divisor", "best", "last", "lost_best")
BEST = "best/"  # prefix of the best model's files in the list of a checkpoint


def folder_of(checkpoints: Path, step: int) -> Path:
    return checkpoints / f"step-{step:08d}"


def whole_checkpoints(checkpoints: Path) -> list[Path]:
    """The folders of complete checkpoints, oldest first. (Incomplete ones have other names.)"""
    if not checkpoints.is_dir():
        return []
    return sorted(path for path in checkpoints.iterdir() if re.fullmatch(r"step-\d{8,}", path.name))


@dataclass
class Snapshot:
    """The training state at one moment. `complete` turns it into a checkpoint, in any thread."""

    folder: Path  # of the future checkpoint
    part: Path  # its temporary name until it is complete
    content: dict[str, Any]  # of state.json
    tensors: dict[str, dict[str, Tensor]]  # by file and name, in CPU memory; empty if they have been written already
    logs: Sequence[Path]  # log files whose lines the state counts
    best_files: dict[str, dict[str, Any]]  # sizes and checksums of best/, if it is shared with an earlier checkpoint

    def complete(self) -> None:
        """Flush logs and files to disk, rename the checkpoint to its final name, and delete all but the newest two."""
        with disk.removed_on_error(self.part):
            write_tensors(self.tensors, self.part)
            if not self.best_files and self.content["best"] is not None:
                disk.copy_links(self.part / "best")  # a user's edit in best/ must not reach the checkpoint
            (self.part / "state.json").write_text(json.dumps(self.content, indent=2) + "\n", encoding="utf-8")
            for log in self.logs:
                disk.flush(log)
            disk.follow_umask(self.part, like=self.part / "state.json")
            disk.write_checksums(self.part, self.best_files)
            disk.replace_atomically(self.part, self.folder)
        disk.flush(self.folder.parent)
        for old in whole_checkpoints(self.folder.parent)[:-KEPT]:
            shutil.rmtree(old)


def take_snapshot(
    run_dir: Path,
    logs: Sequence[Path],
    state: TrainState,
    random: Sequence[dict[str, Tensor]],
    shards: Path | None = None,
) -> Snapshot:
    """Take a snapshot of the state. Training may continue while it is completed. Earlier snapshots must be complete.
    `random`: the random states of each process. `shards`: the folder of a sharded model's weights and moments, which
    becomes part of the checkpoint. Raises Diverged if the weights or the optimizer's state aren't finite.

    On a CPU the tensors are written at once, to the page cache, since a copy in memory would take as long. From a GPU
    they are copied to the host.
    """
    checkpoints, best = run_dir / "checkpoints", run_dir / "best"
    checkpoints.mkdir(exist_ok=True)
    folder = folder_of(checkpoints, state.step)
    part = folder.with_name(f".{folder.name}.part")
    device = state.interval.loss_sum.device
    tensors = {f"random-{rank}": states for rank, states in enumerate(random)}
    if shards is None:
        tensors["model"] = tensors_of(state.model)
        tensors["optimizer"] = optimizer_tensors(state.model, state.optimizer)
        if not all_finite([*tensors["model"].values(), *tensors["optimizer"].values()], device):
            raise Diverged(state.step, "a weight or its moment")
    shared = shared_best(checkpoints, state)
    known, content = {} if shared is None else listed_best(shared), content_of(state)
    with disk.removed_on_error(part):
        part.mkdir()
        if shards is not None:
            shards.rename(part / "shards")
        if state.best is not None:
            disk.link_tree(best if shared is None else shared / "best", part / "best")
        if device.type == "cpu":
            write_tensors(tensors, part)
            tensors = {}
        else:
            tensors = {file: {name: tensor.cpu() for name, tensor in some.items()} for file, some in tensors.items()}
    return Snapshot(folder, part, content, tensors, logs, known)


def content_of(state: TrainState) -> dict[str, Any]:
    """The content of state.json: all of the state but the tensors that are stored by name."""
    interval = asdict(state.interval)
    return {
        "layout": LAYOUT,
        "position": state.position._asdict(),
        **{name: getattr(state, name) for name in COUNTERS},
        "bad_steps": float(state.bad_steps),
        "interval": {name: float(value) if isinstance(value, Tensor) else value for name, value in interval.items()},
        "scaler": state.scaler.state_dict(),
        "extra": {name: float(tensor) for name, tensor in state.extra.items()},
    }


def write_tensors(tensors: dict[str, dict[str, Tensor]], folder: Path) -> None:
    with disk.disk_errors(folder):
        for file, some in tensors.items():
            save_file(some, folder / f"{file}.safetensors")


def save_shards(run_dir: Path, state: TrainState) -> tuple[Path, OSError | None]:
    """Write the shards of each process to a temporary folder. Returns it, and the error if this process couldn't.
    Raises Diverged if a weight or its moment, of any process, is not finite."""
    local = sharding.local_tensors(state.model, state.optimizer)
    if not all(distributed.gathered(all_finite(local, state.bad_steps.device))):
        raise Diverged(state.step, "a weight or its moment")
    folder = run_dir / "checkpoints" / ".shards.part"
    with distributed.together():
        if distributed.is_main() and folder.exists():  # from a save that failed
            disk.remove(folder)
    try:
        sharding.save_shards(folder, state.model, state.optimizer)
    except OSError as error:
        return folder, error
    return folder, None


def all_finite(tensors: Sequence[Tensor], device: torch.device) -> bool:
    """Whether all floating point tensors on the device are finite. It tests their infinity norm, since isfinite would
    need a mask as large as the tensor."""
    numbers = [tensor for tensor in tensors if tensor.device == device and tensor.is_floating_point()]
    return bool(torch.stack([torch.linalg.vector_norm(tensor, math.inf) for tensor in numbers]).isfinite().all())


def shared_best(checkpoints: Path, state: TrainState) -> Path | None:
    """The newest checkpoint if it holds the same best model, whose files can then be linked instead of copied."""
    for folder in reversed(whole_checkpoints(checkpoints)[-1:]):
        try:
            held = json.loads((folder / "state.json").read_text(encoding="utf-8"))["best"]
            if state.best is not None and held["step"] == state.best["step"] and listed_best(folder):
                return folder
        except (OSError, ValueError, KeyError, TypeError):  # it has no best model, or is damaged
            pass
    return None


def listed_best(folder: Path) -> dict[str, dict[str, Any]]:
    """The entries for the best model in a checkpoint's list of files. A checkpoint that links to these files takes over
    the entries without reading the files again: otherwise later damage would get valid checksums."""
    return {name: listed for name, listed in disk.read_checksums(folder).items() if name.startswith(BEST)}


def bytes_needed(state: TrainState, runs: int = 1) -> int:
    """The disk space, in bytes, that `runs` consecutive runs may need: for each run the kept checkpoints with their
    best models, best/ and last/; and the checkpoint being written."""
    weights = sum(tensor.nbytes for tensor in state.model.state_dict().values())
    moments = 2 * sum(parameter.nbytes for parameter in state.model.parameters() if parameter.requires_grad)
    one = weights + moments + weights
    return int(runs * (KEPT * one + 2 * weights) + one)


def tensors_of(model: torch.nn.Module) -> dict[str, Tensor]:
    """Weights and buffers by name. Tensors that share memory with an earlier one are copied, as safetensors
    requires."""
    tensors: dict[str, Tensor] = {}
    seen = set()
    for name, tensor in model.state_dict().items():
        tensors[name] = tensor.clone() if tensor.data_ptr() in seen else tensor.contiguous()
        seen.add(tensor.data_ptr())
    return tensors


def optimizer_tensors(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state by parameter name: {"exp_avg/<name>": tensor, …}."""
    return {
        f"{key}/{name}": value.detach().contiguous()
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }
