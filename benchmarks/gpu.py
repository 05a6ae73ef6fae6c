"""One side of compare_trainer.py --gpu, a process of its own: training an encoder of bert-base's shape, random weights,
on made-up token ids of MRPC's lengths, by HF Trainer or by pairft. Needs neither files, nor `datasets`, nor a network.

    python benchmarks/gpu.py SIDE OUTPUT.json --batch-size 8 --steps 200

It writes what it measured between step WARM_UP, when kernels are compiled and loaded and nearly all sizes captured, and
the last, with how many captures fell between them; with --epochs, the seconds of a whole training with an evaluation
after each epoch, from the first step on, compilation and all.
"""

import argparse
import functools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from made_up import PAD, TRAIN_ROWS, VALIDATION_ROWS, Rows, classifier

EAGER, COMPILED, CAPTURED = "pairft, eager", "pairft, compiled", "pairft"
SIDES = ("Trainer", "Trainer, compiled", EAGER, COMPILED, CAPTURED)
WARM_UP = 400  # steps


def by_trainer(args: argparse.Namespace, rows: Rows, validation: Rows) -> dict[str, Any]:
    from transformers import Trainer, TrainerCallback, TrainingArguments

    class Clock(TrainerCallback):
        def on_step_end(self, _: Any, state: Any, *__: Any, **___: Any) -> None:
            clock.step(state.global_step)

    def one_by_one(rows: Rows) -> list[dict[str, Any]]:
        names = ("input_ids", "token_type_ids", "label")
        return [{name: rows.columns[name][row] for name in names} for row in range(len(rows))]

    def collate(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Padded to a multiple of 8, as DataCollatorWithPadding does when asked."""
        length = -(-max(len(row["input_ids"]) for row in rows) // 8) * 8
        made = {
            name: torch.tensor([row[name] + [0] * (length - len(row[name])) for row in rows])
            for name in ("input_ids", "token_type_ids")
        }
        mask = torch.tensor([[1] * len(row["input_ids"]) + [0] * (length - len(row["input_ids"])) for row in rows])
        return {**made, "attention_mask": mask, "labels": torch.tensor([row["label"] for row in rows])}

    clock = Clocked(args)
    trainer = Trainer(
        model=classifier(args.shape),
        args=TrainingArguments(
            str(Path(args.output).with_suffix(".folder")),
            num_train_epochs=args.epochs or 1000,
            max_steps=-1 if args.epochs else args.steps,
            per_device_train_batch_size=args.batch_size,
            per_device_eval_batch_size=args.batch_size,
            bf16=args.device == "cuda",
            optim="adamw_torch_fused",
            torch_compile=args.side.endswith("compiled"),
            eval_strategy="epoch" if args.epochs else "no",
            save_strategy="no",
            report_to="none",
            logging_steps=10,
            use_cpu=args.device == "cpu",
            disable_tqdm=True,
        ),
        train_dataset=one_by_one(rows),
        eval_dataset=one_by_one(validation),
        data_collator=collate,
        callbacks=[Clock()],
    )
    clock.begin()
    trainer.train()
    return clock.end()


def by_pairft(args: argparse.Namespace, rows: Any, validation: Any) -> dict[str, Any]:
    """The parts that train.py puts together, with rows of our own and nothing written."""
    from pairft.config import Config
    from pairft.data import batches, order
    from pairft.speed import dropout, embedding, unpad
    from pairft.training import device, evaluation, loop, optim
    from pairft.training.learner import build_learner, plain_update
    from pairft.training.state import TrainState, new_interval

    config = Config(device=args.device)
    where, amp_dtype = device.choose_device(config)
    model = classifier(args.shape).to(where)
    collate: Any = functools.partial(batches.collate, pad_token_id=PAD, pad_token_type_id=0, multiple=8)
    collate, layout = unpad.prepare(model, collate, rows[[0, 1, 2]], 0, amp_dtype)
    dropout.replace_dropout(model)
    used = embedding.replace_embedding(model, rows.used_ids(model.config.vocab_size))
    if args.side == COMPILED:
        model.compile(dynamic=True)
    captured = args.side == CAPTURED and where.type == "cuda"
    state = build_learner(model, collate, config, where, amp_dtype).state
    state.optimizer = optim.build_optimizer(model, config.weight_decay, capturable=captured)
    embedding.decay_unused_rows(used, state.optimizer)
    one = plain_update(state, config, where, amp_dtype)
    clock = Clocked(args)
    if captured:
        one = captured_update(one, where, clock)
    per_epoch = order.steps_per_epoch(len(rows), args.batch_size, 1)
    total = args.epochs * per_epoch if args.epochs else args.steps

    def timed(*given: Any) -> Any:
        result = one(*given)
        clock.step(state.step + 1)
        return result

    def log(state: TrainState, lr: float, grad_norm: torch.Tensor) -> None:
        clock.losses.append(state.interval.loss_sum.item() / state.interval.examples)
        state.interval = new_interval(where)

    def evaluate(state: TrainState) -> None:
        evaluation.predict(model, validation, collate, where, amp_dtype)

    clock.begin()
    loop.fit(
        state,
        batches.training_steps(rows, collate, 42, order.StepSize(args.batch_size, 1), batches.Position(), False),
        timed,
        lambda step: optim.lr_at(step, total, 5e-5, 0),
        loop.Schedule(total, 10, "epoch" if args.epochs else "never", "never"),
        log=log,
        evaluate=evaluate,
        save=lambda state: None,
        stop_asked=lambda: False,
    )
    clock.notes.append(layout)
    if args.side == COMPILED:
        breaks = sum(torch._dynamo.utils.counters["graph_break"].values())
        clock.notes.append(f"{breaks} breaks of the graph")
    return clock.end()


def captured_update(update: Any, device: torch.device, clock: "Clocked") -> Any:
    """The update with replays of captured steps. The clock keeps when each was captured, or why none is."""
    from pairft.speed import capture

    graph_capture = capture.graph_capture()

    def count(step: Callable[[], capture.Result]) -> Any:
        clock.captures.append(clock.last)
        return graph_capture(step)

    @contextmanager
    def watch() -> Iterator[list[str]]:
        with capture.waits() as found:
            yield found
        clock.notes += [f"uncaptured, because it waits for the GPU at {place}" for place in found[:1]]

    return capture.replay_steps(update, device, count, watch).update


class Clocked:
    """The clock of both sides. It waits for the GPU at two steps alone."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.losses = args, []  # type: tuple[argparse.Namespace, list[float]]
        self.wait = torch.cuda.synchronize if args.device == "cuda" else lambda: None
        self.marks: dict[int, float] = {}
        self.captures: list[int] = []  # the steps done before each
        self.notes: list[str] = []  # how it computed
        self.last = 0

    def begin(self) -> None:
        self.wait()
        self.began = time.perf_counter()

    def step(self, number: int) -> None:
        self.last = number
        if number in (self.args.warm_up, self.args.steps):
            self.wait()
            self.marks[number] = time.perf_counter()

    def end(self) -> dict[str, Any]:
        self.wait()
        found: dict[str, Any] = {"seconds": time.perf_counter() - self.began, "steps": self.last}
        if not self.args.epochs:
            seconds = self.marks[self.args.steps] - self.marks[self.args.warm_up]
            found["steps_per_second"] = (self.args.steps - self.args.warm_up) / seconds
        found["notes"] = self.notes
        found["captures"] = len(self.captures)
        found["captures_timed"] = sum(step >= self.args.warm_up for step in self.captures)
        if self.args.device == "cuda":  # what the driver has lent, graphs and libraries included; torch keeps it
            free, total = torch.cuda.mem_get_info()
            found["gpu_mib"] = (total - free) / 2**20
        return found


def ceilings() -> dict[str, Any]:
    """What this GPU reaches: bytes a second of a large copy, read and written; operations a second of a large bf16
    product of random numbers. Medians of 20."""
    source = torch.randn(1 << 29, device="cuda")
    target = torch.empty_like(source)
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))

    def seconds(work: Callable[[], object]) -> float:
        found: list[float] = []
        for _ in range(25):
            start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            work()
            stop.record()
            stop.synchronize()
            found.append(start.elapsed_time(stop) / 1000)
        return sorted(found[5:])[10]

    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        driver = subprocess.run(query, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        driver = "unknown"
    return {
        "bytes_per_second": 2 * source.nbytes / seconds(lambda: target.copy_(source)),
        "rate": 2 * 8192**3 / seconds(lambda: a @ b),
        "card": torch.cuda.get_device_name(),
        "driver": driver.strip(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("side", choices=(*SIDES, "ceilings"))
    parser.add_argument("output")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--steps", type=int, default=WARM_UP + 400)
    parser.add_argument("--warm-up", type=int, default=WARM_UP)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--rows", type=int, default=TRAIN_ROWS)
    parser.add_argument("--shape", type=json.loads, default={}, help="of BertConfig, as JSON; default: bert-base's")
    args = parser.parse_args()
    if args.side == "ceilings":
        found = ceilings()
    else:
        side = by_trainer if args.side.startswith("Trainer") else by_pairft
        rows = Rows(args.rows, 1)
        found = side(args, rows, Rows(VALIDATION_ROWS, 2))
    Path(args.output).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
