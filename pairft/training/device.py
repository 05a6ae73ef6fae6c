"""Choose device and precision, set the seeds and tune the memory allocator."""

import ctypes
import gc
import os
import random
import sys

import numpy
import torch

from pairft.config import Config
from pairft.errors import UserError
from pairft.training import distributed

# Whether the padding-free forward pass and captured steps have passed tests/speed/test_gpu.py on a GPU and have results
# in benchmarks/results. Until then `auto` means `never` on CUDA: code that has not run there must not be a default.
RUN_ON_CUDA = False
RANK_STRIDE = 0x9E3779B1  # a prime, so that neighbouring seeds have no rank's random states in common
LARGE = 500_000  # examples from which on `release_memory` is worth its time


def choose_device(config: Config) -> tuple[torch.device, torch.dtype | None]:
    """The device, and the dtype of autocast (None: float32 throughout). Sets TF32, deterministic algorithms and, on
    CUDA, the current stream. Raises UserError if the machine lacks the device or it doesn't support the precision."""
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    kind = config.device
    if kind == "auto":
        kind = "cuda" if available["cuda"] else "cpu"  # not mps: see `caveats`
    if not available[kind]:
        raise UserError(
            f"--device {kind} is not available on this machine or in this build of torch; leave it out or use cpu"
        )
    precision = config.precision
    if precision == "auto":
        precision = (
            "fp32" if kind != "cuda" else "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
        )
    if precision == "fp16" and kind == "cpu":
        raise UserError("--precision fp16 needs a GPU: on the CPU use fp32 or bf16")
    torch.backends.cuda.matmul.allow_tf32 = config.tf32
    torch.backends.cudnn.allow_tf32 = config.tf32
    if kind == "cuda" and torch.cuda.device_count() <= distributed.local_rank():
        raise UserError(
            f"--nproc-per-node asks for process {distributed.local_rank()} (counted from 0), but this machine has "
            f"{torch.cuda.device_count()} CUDA devices: start one process per device"
        )
    if kind == "cuda":
        torch.cuda.set_device(distributed.local_rank())
        torch.cuda.set_stream(torch.cuda.Stream())  # the default stream can't be captured
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
        torch.use_deterministic_algorithms(True)
    return torch.device(kind), {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def is_on(choice: str, device: torch.device) -> bool:
    """Whether `choice`, the value of --unpad or --capture, turns its fast path on for this device."""
    return choice == "always" or (choice == "auto" and (device.type != "cuda" or RUN_ON_CUDA))


def caveats(config: Config, device: torch.device) -> list[str]:
    """A warning for each guarantee that doesn't hold on this device."""
    if device.type == "mps":
        return [
            "warning: on mps, torch's fused AdamW may apply gradients that are not finite (pytorch#186360); exact "
            "resume and the retry after running out of memory have not been tested on mps"
        ]
    asked = [f"--{name} always" for name in ("unpad", "capture") if getattr(config, name) == "always"]
    if device.type == "cuda" and asked and not RUN_ON_CUDA:
        return [f"warning: {' and '.join(asked)}: not yet run on a GPU"]
    return []


def tune_malloc() -> None:
    """Make glibc keep the memory of freed tensors for new ones. By default it returns it to the system, which hands it
    out again page by page, cleared: 20,000 page faults per step of bert-base (docs/log.md)."""
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(-3, 1 << 25)  # M_MMAP_THRESHOLD, in bytes, the largest allowed: smaller blocks are in the heap,
        libc.mallopt(-1, -1)  # M_TRIM_THRESHOLD: which never shrinks


def release_memory() -> None:
    """Give back what reading and checking the data has left: objects in reference cycles, which hold the metadata of
    Arrow files (15 bytes per row), and memory that Arrow and malloc keep for later. It takes 0.4 s."""
    import pyarrow

    gc.unfreeze()
    gc.collect()
    gc.freeze()
    pyarrow.default_memory_pool().release_unused()
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)


def seed_everything(seed: int, rank: int = 0) -> None:
    """Seed the global random states of Python, numpy and torch, on every device. `rank`: of the process, whose states
    then differ from those of the others."""
    seed = (seed + rank * RANK_STRIDE) % 2**32
    random.seed(seed)
    numpy.random.seed(seed)
    torch.manual_seed(seed)
