"""Started by torchrun in test_sharding.py: train a sharded model on the steps of `step_batches`, from a checkpoint or
from the start, and write down what each process saw. Arguments: model folder, output folder, first and last step, the
checkpoint to load or "-"."""

import functools
import json
import os
import resource
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from transformers import AutoModelForSequenceClassification

from pairft.data.batches import Batch
from pairft.training import sharding, step
from pairft.training.optim import build_optimizer

CPU = torch.device("cpu")
SIZES = (8, 8, 7, 6, 8, 1)  # examples of each step; the last leaves one of two processes without any


def classifier(folder: Path, num_labels: int = 3) -> Any:
    torch.manual_seed(3)
    no_dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return AutoModelForSequenceClassification.from_pretrained(folder, num_labels=num_labels, **no_dropout).train()


def step_batches(number: int, rank: int = 0, world: int = 1) -> list[Batch]:
    """This process's micro-batches of step `number`, counted from 0: of up to 3 examples, so that one may have more
    than another."""
    torch.manual_seed(number)
    mask = torch.ones(SIZES[number], 12, dtype=torch.int64)
    for row in range(len(mask)):
        mask[row, 12 - row % 4 :] = 0
    ids, labels = torch.randint(5, 200, mask.shape) * mask, torch.randint(0, 3, mask.shape[:1])
    chosen = [torch.arange(part.start, part.stop) for part in shares(SIZES[number], rank, world)]
    return [Batch(ids[c], mask[c], torch.zeros_like(mask[c]), labels[c], int(mask[c].sum())) for c in chosen]


def shares(size: int, rank: int, world: int) -> list[range]:
    first = -(-size * 2 // 3) if world > 1 else size  # rank 0 of two has about twice as many as rank 1
    begin, end = (0, first) if rank == 0 else (first, size)
    return [range(start, min(start + 3, end)) for start in range(begin, end, 3)]


def update_of(model: Any, optimizer: Any, scaler: Any = None, sum_over_ranks: Any = None) -> Any:
    scaler = scaler or torch.amp.GradScaler("cpu", enabled=False)
    settings = {"device": CPU, "amp_dtype": None, "max_grad_norm": 0.1, "sum_over_ranks": sum_over_ranks}
    return functools.partial(step.update, model, optimizer, scaler, torch.zeros(()), **settings)


def logits_of(model: Any) -> torch.Tensor:
    model.eval()
    with torch.inference_mode():
        logits = model(**step_batches(0)[0].inputs()).logits
    model.train()
    return logits


def main(model_folder: str, out: str, first: str, last: str, checkpoint: str) -> None:
    distributed.init_process_group("gloo", timeout=timedelta(seconds=60))
    rank, world, folder = distributed.get_rank(), distributed.get_world_size(), Path(out)
    model = classifier(Path(model_folder))
    sharding.shard_model(model, CPU, None)
    optimizer = build_optimizer(model, 0.01)
    if checkpoint != "-":
        sharding.load_shards(Path(checkpoint), model, optimizer)
    found: dict[str, Any] = {"before": logits_of(model).tolist(), "steps": []}  # an evaluation before the first step
    found["numel"] = [sum(p.to_local().numel() for p in model.parameters()), sum(p.numel() for p in model.parameters())]
    update = update_of(model, optimizer, sum_over_ranks=sharding.total_loss)
    update = sharding.with_idle_passes(update, model, step_batches(0)[0].examples(0, 1), CPU, None)
    for number in range(int(first), int(last)):
        loss_sum, norm = update(step_batches(number, rank, world), SIZES[number], 1e-3)
        found["steps"].append([loss_sum.item() / SIZES[number], norm.item()])
        if number == 2:
            found["middle"] = logits_of(model).tolist()
            sharding.save_shards(folder / "three", model, optimizer)
    sharding.save_shards(folder / "end", model, optimizer)
    found["dtypes"] = sorted({str(p.dtype) for p in model.parameters()})
    state = sharding.full_state_dict(model)
    assert bool(state) == (rank == 0)
    if rank == 0:
        model.save_pretrained(folder / "model", state_dict=state)
    found["skipped"] = skip_on_overflow(model, optimizer, rank)
    found["full disk"] = fill_disk(folder / "full", model, optimizer, rank)
    (folder / f"rank-{rank}.json").write_text(json.dumps(found), encoding="utf-8")
    distributed.destroy_process_group()
    # After the failed save, torch 2.13 aborts now and then when Python exits ("terminate called without an active
    # exception"), in one of six runs on a busy machine, and in none without it.
    sys.stderr.flush()
    os._exit(0)


def skip_on_overflow(model: Any, optimizer: Any, rank: int) -> list[float]:
    """One step with a gradient scaler in which a single process's share of the gradients overflows. Returns the scale
    after it, and by how much the weights changed: for every process."""
    before = [p.to_local().clone() for p in model.parameters()]
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)

    def overflow(loss_sum: torch.Tensor) -> torch.Tensor:
        if rank == distributed.get_world_size() - 1:
            model.classifier.weight.grad.to_local().fill_(float("inf"))
        return sharding.total_loss(loss_sum)

    update_of(model, optimizer, scaler, overflow)(step_batches(0)[:1], 3, 1e-3)
    changes = [(p.to_local() - old).abs().sum() for p, old in zip(model.parameters(), before, strict=True)]
    return [scaler.get_scale(), torch.stack(changes).sum().item()]


def fill_disk(folder: Path, model: Any, optimizer: Any, rank: int) -> int | None:
    """Save while the last process can't write more than 1,000 bytes to a file. Returns the error's errno."""
    if rank == distributed.get_world_size() - 1:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
    try:
        sharding.save_shards(folder, model, optimizer)
        return 0
    except OSError as error:
        return error.errno
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


if __name__ == "__main__":
    main(*sys.argv[1:])
