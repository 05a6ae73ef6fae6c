"""--profile: a trace of a few steps, by torch's profiler, and the operations that take the most time in them."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from pairft import disk
from pairft.data.batches import MicroBatch
from pairft.output import say
from pairft.training import distributed
from pairft.training.learner import Learner

if TYPE_CHECKING:
    from torch.profiler import profile

SKIPPED = 4  # steps before the profiled ones: in the first ones libraries are loaded and memory is allocated
PROFILED = 3  # steps
SHOWN = 10  # operations in the table
STEP, UPDATE = "ProfilerStep*", "update"  # what the profiler calls a whole step, and what we call its update
SHOWN_AS = {UPDATE: "update (Python between the operations)"}
ENGINE = "autograd::engine::evaluate_function: "  # autograd's own work around an operation of the backward pass


@contextlib.contextmanager
def profiled(learner: Learner, asked: bool, steps_left: int, run_dir: Path) -> Iterator[Learner]:
    """Yields the learner with an update that profiles some of its calls and what happens between them. Trace and table
    are written to profile/ in the run directory when these steps are done or, if the run ends before that, on leaving.
    The numbers of the run don't change. Only rank 0 does it, and only if `asked`."""
    if not asked or steps_left == 0 or not distributed.is_main():
        yield learner
        return
    from torch.profiler import ProfilerActivity, profile, record_function, schedule

    update, steps_done = learner.update, learner.state.step
    number = min(PROFILED, steps_left - 1)
    skipped = min(SKIPPED, steps_left - number)  # the last of them is the profiler's own warm-up
    if number == 0:
        say("note: --profile has no effect: there is only one step left, and the first one is not profiled")
        yield learner
        return
    if number < PROFILED:
        say(f"note: --profile: {number} of {PROFILED} steps, since only {steps_left} are left")
    written, calls = False, 0

    def ready(profiler: "profile") -> None:
        nonlocal written
        if calls > skipped:  # otherwise training has ended right before the first of them
            written = True
            write(profiler, run_dir, steps_done + skipped + 1)

    def measured(micro_batches: Sequence[MicroBatch], num_examples: int, lr: float | Tensor) -> tuple[Tensor, Tensor]:
        nonlocal calls
        calls += 1
        if calls > skipped + number:
            return update(micro_batches, num_examples, lr)
        with record_function(UPDATE):
            result = update(micro_batches, num_examples, lr)
        profiler.step()
        return result

    plan = schedule(wait=skipped - 1, warmup=1, active=number, repeat=1)
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (learner.device.type == "cuda")
    # acc_events: without it, a warning says that the events of earlier cycles are dropped. There is one cycle.
    with profile(activities=activities, schedule=plan, on_trace_ready=ready, acc_events=True) as profiler:
        yield replace(learner, update=measured)
    if not written:
        say(f"note: --profile: training has ended before step {steps_done + skipped + 1}, the first to be profiled")


def write(profiler: "profile", run_dir: Path, first_step: int) -> None:
    """Show the table, and write profile/trace.json.gz and profile/operations.txt, whole or not at all. Training
    continues if they can't be written."""
    text = table(profiler.key_averages(), first_step)
    say(text)
    folder, part = run_dir / "profile", run_dir / ".profile.part"
    try:
        with disk.removed_on_error(part):
            part.mkdir()
            profiler.export_chrome_trace(str(part / "trace.json.gz"))
            (part / "operations.txt").write_text(text + "\n", encoding="utf-8")
            disk.replace_atomically(part, folder)
    except (OSError, RuntimeError) as error:  # the profiler's own are RuntimeErrors
        say(f"warning: {folder} can't be written ({error}); training continues")
    else:
        say(f"open {folder / 'trace.json.gz'} in https://ui.perfetto.dev or chrome://tracing")


def table(rows: Sequence[Any], first_step: int) -> str:
    """The costliest operations, each without those that it calls itself. `rows`: the profiler's key_averages()."""
    rows = [row for row in rows if row.key != STEP]  # which may go on after the last update, with an evaluation
    number = next(row.count for row in rows if row.key == UPDATE)
    cpu, cuda = (sum(getattr(row, f"self_{device}_time_total") for row in rows) for device in ("cpu", "device"))
    cost = "self_device_time_total" if cuda else "self_cpu_time_total"
    shown = sorted(rows, key=lambda row: getattr(row, cost), reverse=True)[:SHOWN]
    last_step = first_step + number - 1
    steps = f"steps {first_step} to {last_step}" if number > 1 else f"step {first_step}"
    lines = [f"profile of {steps}: the costliest operations, per step (the profiler slows all of them down)"]
    lines.append(f"{'operation':<52} {'calls':>6} {'CPU ms':>9} {'':>4}" + f" {'CUDA ms':>9}" * bool(cuda))
    for row in shown:
        name = SHOWN_AS.get(row.key, row.key).replace(ENGINE, "engine: ")[:52]
        line = f"{name:<52} {row.count / number:6.0f} {timed(row.self_cpu_time_total / number, cpu / number)}"
        lines.append(line + (" " + timed(row.self_device_time_total / number, cuda / number) if cuda else ""))
    return "\n".join(line.rstrip() for line in lines)


def timed(time: float, total: float) -> str:
    """A time in milliseconds and its share of the total. Both are given in microseconds."""
    return f"{time / 1000:9.2f} {100 * time / total:3.0f}%"
