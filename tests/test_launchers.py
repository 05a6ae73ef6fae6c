"""docs/slurm.sh and the command of docs/kubernetes.yaml train: two nodes or pods of one process each, on this machine.

Slurm's own commands are stood in for by scripts: `srun` starts two tasks and passes SIGTERM on to them, `scontrol`
names this machine and notes a requeue.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, read_lines, wait_for

pytestmark = pytest.mark.slow

SRUN = """\
import signal, subprocess, sys
command = sys.argv[1:]
while command[0].startswith("--"):
    del command[0]
tasks = [subprocess.Popen(command, start_new_session=True) for _ in range(2)]
signal.signal(signal.SIGTERM, lambda *_: [task.terminate() for task in tasks])
sys.exit(max(task.wait() != 0 for task in tasks))
"""
SCONTROL = """\
import sys
if sys.argv[1:3] == ["show", "hostnames"]:
    print("localhost")
else:
    print(*sys.argv[1:], file=open(__file__ + ".log", "a"))
"""


def free_port() -> int:
    """Between 20000 and 29999, as docs/slurm.sh chooses."""
    for port in range(20000 + os.getpid() % 5000, 30000):
        with socket.socket() as taken:
            if taken.connect_ex(("127.0.0.1", port)) != 0:
                return port
    raise AssertionError("no free port")


@contextmanager
def started(command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A process in a group of its own, which is gone afterwards."""
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True, env={**os.environ, **environment}
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.communicate(timeout=60)


def flags(model: Path, data: Path, runs: Path) -> list[str]:
    given = ["--model", model, "--data", data, "--runs-dir", runs, "--device", "cpu", "--batch-size", 4]
    return [str(flag) for flag in [*given, "--log-every", 1]]


def test_the_slurm_script_is_requeued_and_resumes(tiny_model, pairs_folder, tmp_path):
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        path = tmp_path / name
        path.write_text(f"#!{sys.executable}\n{text}", encoding="utf-8")
        path.chmod(0o755)
    job = str(free_port() - 20000)
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHON": sys.executable, "PROCESSES_PER_NODE": "1",
        "SLURM_JOB_ID": job, "SLURM_JOB_NODELIST": "node[1-2]", "SLURM_JOB_NUM_NODES": "2",
    }  # fmt: skip
    runs = tmp_path / "runs"
    command = ["bash", "docs/slurm.sh", *flags(tiny_model, pairs_folder, runs), "--max-steps", "400"]
    with started(command, environment) as process:
        wait_for(lambda: [path for path in runs.glob("*/metrics.jsonl") if path.stat().st_size], process)
        process.send_signal(signal.SIGUSR1)  # as Slurm does before the time limit
        shown = process.communicate(timeout=120)[1]
    assert process.returncode != 0
    [run] = [path.parent for path in runs.glob("*/metrics.jsonl")]
    before = max(path.name for path in (run / "checkpoints").glob("step-*"))
    assert not (run / "results.json").exists(), shown
    log = tmp_path / "scontrol.log"
    assert log.read_text(encoding="utf-8") == f"requeue {job}\n", shown

    with started(command, environment) as process:  # as Slurm starts it again
        shown = process.communicate(timeout=300)[1]
    assert process.returncode == 0, shown
    assert int(before.removeprefix("step-")) < 400 and [path.name for path in runs.iterdir()] == [run.name]
    assert json.loads((run / "results.json").read_text(encoding="utf-8"))["train"]["steps"] == 400
    assert [line["step"] for line in read_lines(run, "train")] == list(range(1, 401))
    assert log.read_text(encoding="utf-8") == f"requeue {job}\n"


def test_the_command_of_the_kubernetes_job_trains(tiny_model, pairs_folder, tmp_path):
    *_, job = yaml.safe_load_all((ROOT / "docs" / "kubernetes.yaml").read_text(encoding="utf-8"))
    [container] = job["spec"]["template"]["spec"]["containers"]
    [script] = container["args"]
    head, _, _ = script.partition("train.py")
    for name, value in (
        ("python", sys.executable),
        ("pairft-0.pairft:29400", f"127.0.0.1:{free_port()}"),
        ("gpu", "1"),
    ):
        assert f" {name} " in head
        head = head.replace(f" {name} ", f" {value} ")
    runs = tmp_path / "runs"
    given = " ".join(["train.py", *flags(tiny_model, pairs_folder, runs), "--max-steps", "3"])
    command = [*container["command"], head + given]
    pods = [{"JOB_COMPLETION_INDEX": index, "RUN_ID": "a-job"} for index in "01"]
    with started(command, pods[0]) as first, started(command, pods[1]) as second, ThreadPoolExecutor(2) as threads:
        shown = [*threads.map(lambda pod: pod.communicate(timeout=120)[1], (first, second))]
    assert first.returncode == second.returncode == 0, shown
    [results] = runs.glob("*/results.json")
    assert json.loads(results.read_text(encoding="utf-8"))["train"]["steps"] == 3
    # Two processes: 8 examples a step.
    assert read_lines(results.parent, "train")[-1]["epoch"] == pytest.approx(3 * 8 / 60)
