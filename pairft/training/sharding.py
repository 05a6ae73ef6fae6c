"""--shard full: each process keeps a share of every weight, of its gradient and of its moments (torch's FSDP2).

For encoders that one device can't hold. A layer's weights are gathered from all processes just before they are needed,
and freed afterwards; its gradient is summed over the processes in the backward pass, and each keeps its share. All
functions here are collective: every process must call them, and do the same number of forward and backward passes.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pairft.data.batches import MicroBatch
from pairft.errors import UserError
from pairft.training import distributed
from pairft.training.memory import is_out_of_memory
from pairft.training.step import Update

ALONE = "torch.distributed is disabled, unavailable or uninitialized"  # torch's warning in a single process


def shard_model(model: nn.Module, device: torch.device, amp_dtype: torch.dtype | None) -> None:
    """Shard the model over all processes, in place: each layer, the token embedding, and what is left. Its parameters
    become DTensors, still float32, on the device. Build the optimizer afterwards.

    model: a model of transformers, the same on every process. It may be on the CPU: then its layers move to the device
        one by one, and a model that is larger than the device's memory fits.
    amp_dtype: of autocast, which stays in use. On CUDA a layer's weights are gathered in this dtype, half the bytes:
        the one to which autocast would round most of them anyway. Its norms' weights are then rounded, too, the
        embedding's and the head's are not. On the CPU autocast leaves norms to torch, which wants float32 there, so
        weights are gathered in float32.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    # The inputs of a layer keep their dtype, since autocast decides what is computed in which.
    whole = MixedPrecisionPolicy(reduce_dtype=torch.float32, cast_forward_inputs=False)
    gathered = amp_dtype if device.type == "cuda" else None
    half = MixedPrecisionPolicy(param_dtype=gathered, reduce_dtype=torch.float32, cast_forward_inputs=False)
    for layer in layers_of(model):
        fully_shard(layer, mesh=mesh, mp_policy=half)
    embedding = model.get_input_embeddings()  # type: ignore[operator]
    if sum(parameter is embedding.weight for _, parameter in model.named_parameters(remove_duplicate=False)) == 1:
        fully_shard(embedding, mesh=mesh, mp_policy=whole).set_unshard_in_backward(False)  # a lookup's needs no weights
    # By default what is left would stay gathered after a forward pass, and the model would show those whole weights.
    fully_shard(model, mesh=mesh, mp_policy=whole, reshard_after_forward=True)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)  # sums, not means: the loss is divided by the global count
            module.set_force_sum_reduction_for_comms(True)  # a sum with a factor of 1 is another one, which gloo lacks
            # Allocates what weights are gathered into. An evaluation would do it in inference mode, and the backward
            # pass can't use such tensors.
            module.unshard()
            module.reshard()


def is_sharded(model: nn.Module) -> bool:
    return hasattr(next(model.parameters(), None), "full_tensor")


def layers_of(model: nn.Module) -> list[nn.Module]:
    """The model's layers: what is in its outermost ModuleLists, or in those directly within them (Funnel's blocks)."""
    if isinstance(model, nn.ModuleList):
        return [layer for part in model for layer in (part if isinstance(part, nn.ModuleList) else [part])]
    return [layer for part in model.children() for layer in layers_of(part)]


def total_loss(loss_sum: Tensor) -> Tensor:
    """`sum_over_ranks` of step.update for a sharded model: the sum of `loss_sum`, a tensor [], over all processes. The
    gradients are summed in the backward pass already."""
    total = loss_sum.detach().clone()
    torch.distributed.all_reduce(total)
    return total


def with_idle_passes(
    update: Update, model: nn.Module, example: MicroBatch, device: torch.device, amp_dtype: torch.dtype | None
) -> Update:
    """Wrap `update`: a process with fewer micro-batches in a step than another one, or none, first makes passes over
    `example` that add 0 to the gradients. Without them, the others would wait for its share of the weights."""

    def even(micro_batches: Sequence[MicroBatch], num_examples: int, lr: float | Tensor) -> tuple[Tensor, Tensor]:
        most = torch.tensor(len(micro_batches))  # on the CPU: this doesn't wait for the device
        torch.distributed.all_reduce(most, torch.distributed.ReduceOp.MAX)
        for _ in range(int(most) - len(micro_batches)):
            with torch.autocast(device.type, dtype=amp_dtype, enabled=amp_dtype is not None):
                logits = model(**example.to(device).inputs()).logits
            (logits.float().sum() * 0.0).backward()
        try:
            return update(micro_batches, num_examples, lr)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise UserError(
                "memory ran out, and with --shard full a step is not repeated: use a smaller --batch-size, with a "
                "larger --accumulate, or a smaller --max-length"
            ) from error

    return even


def full_state_dict(model: nn.Module) -> dict[str, Tensor]:
    """The weights and buffers by name, whole and in CPU memory on rank 0; elsewhere an empty dict. One tensor at a
    time is gathered on the devices."""
    state: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        whole = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
        if distributed.is_main():
            state[name] = whole.cpu()
    return state


def save_shards(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Write the weights and the optimizer's state to `folder`, each process its share, in a safetensors file of its
    own. Raises OSError, on every process, if one can't write."""
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
    from torch.distributed.checkpoint.state_dict_saver import save

    writer = HuggingFaceStorageWriter(str(folder), save_distributed=True)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=ALONE)
            save(sharded_state(model, optimizer), storage_writer=writer)
    except CheckpointException as error:  # a BaseException; it is raised on every process
        failed, (cause, _) = next(iter(error.failures.items()))
        number, reason = (cause.errno, cause.strerror) if isinstance(cause, OSError) else (None, str(cause))
        raise OSError(number, f"{reason} (rank {failed})", str(folder)) from error


def load_shards(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Load what `save_shards` wrote, with any number of processes then and now. In one process without
    torch.distributed, model and optimizer may be unsharded. Raises ValueError if `folder` holds another model."""
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.state_dict_loader import load

    reader = HuggingFaceStorageReader(str(folder))
    held: dict[str, Any] = reader.read_metadata().state_dict_metadata
    for name, parameter in model.named_parameters():
        if f"exp_avg/{name}" in held and not optimizer.state.get(parameter):
            moments = {key: torch.zeros_like(parameter) for key in ("exp_avg", "exp_avg_sq")}
            optimizer.state[parameter] = {"step": torch.zeros((), device=parameter.device), **moments}
    state = sharded_state(model, optimizer)
    for name in sorted(state.keys() | held.keys()):
        wanted = (list(state[name].shape), state[name].numel()) if name in state else None
        found = (list(held[name].size), elements_in(held[name])) if name in held else None
        if found != wanted:
            raise ValueError(f"{name}: shape and elements are {found} there, {wanted} here")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=ALONE)
        try:
            load(state, storage_reader=reader)  # into the tensors themselves
        except CheckpointException as error:
            raise ValueError(str(error)) from error


def elements_in(about: Any) -> int:
    """How many elements of a tensor the files hold. `about`: torch's TensorStorageMetadata."""
    return sum(chunk.sizes.numel() for chunk in about.chunks)


def sharded_state(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The tensors that a checkpoint holds, not copied: "model/<name>", and the optimizer's state by parameter name,
    "exp_avg/<name>" and so on."""
    state = {f"model/{name}": tensor for name, tensor in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        state |= {f"{key}/{name}": value for key, value in optimizer.state.get(parameter, {}).items()}
    return state


def local_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """This process's shares of the weights and of the optimizer's state."""
    whole = sharded_state(model, optimizer).values()
    local = [tensor.to_local() if hasattr(tensor, "to_local") else tensor for tensor in whole]
    return [tensor for tensor in local if tensor.numel()]
