"""Trainings in two processes of which one is killed at a random step; torchrun restarts them, and they go on.

    python benchmarks/kill_workers.py [--runs 10] [--seed 0]

Each run is started once. A rank and a step are drawn; when the step is logged, that rank's process is killed with
SIGKILL, and torchrun starts both again: they find their run by torchrun's id and resume it. Weights, best model,
metrics.jsonl and results.json should be those of a run that nobody disturbed, but for times. The last line says in how
many runs they are.
"""

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from kill import outcome, write_model  # noqa: E402

STEPS = 60
FLAGS = f"--data builtin --max-steps {STEPS} --batch-size 4 --lr 1e-3 --log-every 1 --eval-every 14 --save-every 4"


def start(runs: Path, name: str, model: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--max-restarts", "3"]
    command += [str(HERE.parent / "train.py"), "--runs-dir", str(runs), "--run-name", name, "--model", str(model)]
    with (runs / f"{name}.log").open("w") as log:
        return subprocess.Popen([*command, *FLAGS.split()], stdout=log, stderr=subprocess.STDOUT, text=True)


def workers(process: subprocess.Popen[str]) -> dict[int, int]:
    """The process ids of torchrun's workers, by rank."""
    found = {}
    for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        with contextlib.suppress(OSError):
            environment = Path(f"/proc/{pid}/environ").read_text().split("\0")
            found |= {int(setting[5:]): int(pid) for setting in environment if setting.startswith("RANK=")}
    return found


def step_of(run: Path) -> int:
    """The latest training step in the log."""
    with contextlib.suppress(FileNotFoundError):
        return (run / "metrics.jsonl").read_text(encoding="utf-8").count('"split": "train"')
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the ranks and steps")
    args = parser.parse_args()
    os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    draw, identical = random.Random(args.seed), 0
    with tempfile.TemporaryDirectory(prefix="pairft-kill-") as place:
        runs, model = Path(place), Path(place) / "model"
        write_model(model)
        assert start(runs, "whole", model).wait() == 0, (runs / "whole.log").read_text()
        wanted = outcome(runs / "whole")
        for number in range(1, args.runs + 1):
            name, rank, step = f"killed-{number}", draw.randrange(2), draw.randrange(1, STEPS)
            process = start(runs, name, model)
            while step_of(runs / name) < step:
                assert process.poll() is None, (runs / f"{name}.log").read_text()
                time.sleep(0.005)
            os.kill(workers(process)[rank], signal.SIGKILL)
            code, log = process.wait(), (runs / f"{name}.log").read_text()
            assert code == 0 and "which this torchrun job" in log, log
            different = [key for key, value in outcome(runs / name).items() if value != wanted[key]]
            identical += not different
            said = f"different: {', '.join(different)}" if different else "identical"
            print(f"run {number}: rank {rank} killed after step {step}: {said}", flush=True)
    print(f"{identical}/{args.runs}")
    return 0 if identical == args.runs else 1


if __name__ == "__main__":
    sys.exit(main())
