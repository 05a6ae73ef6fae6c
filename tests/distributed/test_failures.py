"""Workers that are killed, stopped or hang, and what users get wrong: all processes end, and no run is lost."""

import json
import os
import shutil
import signal
from dataclasses import replace

import pytest
from conftest import comparable, same_weights, wait_for
from safetensors.torch import load_file
from torchrun import after_step, workers

pytestmark = pytest.mark.distributed


def last(run):
    return json.loads((run / "results.json").read_text())["last"]["validation"]


def errors_in(text):
    return [line for line in text.splitlines() if line.startswith("error:")]


def test_a_killed_worker_is_restarted_and_the_run_ends_as_if_it_had_not_been(torchrun, tiny_model, tmp_path):
    """With dropout, which each rank draws from its own random states."""
    torchrun = replace(torchrun, model=tiny_model)
    flags = ("--epochs", 10, "--save-every", 5)
    assert torchrun.run(2, *flags, "--run-name", "whole")[0] == 0
    process = torchrun.start(2, *flags, torchrun=("--max-restarts", 2))
    [run] = [path for path in waited(tmp_path / "runs", process) if path.name != "whole"]
    after_step(process, run, 17)
    os.kill(workers(process)[1], signal.SIGKILL)
    errors = process.communicate(timeout=120)[1]
    assert process.returncode == 0, errors
    assert f"resuming {run}, which this torchrun job" in errors
    assert "from step 0" in errors and "from step 15" in errors
    assert len(list((tmp_path / "runs").iterdir())) == 2
    assert comparable(run, "train") == comparable(tmp_path / "runs" / "whole", "train")
    assert same_weights(run, tmp_path / "runs" / "whole")
    newest = max((run / "checkpoints").iterdir())
    states = [load_file(newest / f"random-{rank}.safetensors")["torch"].tolist() for rank in range(2)]
    assert states[0][:8] != states[1][:8]  # a state begins with its seed


def waited(runs, process):
    """The run directories, as soon as there are two."""

    def found():
        return [path for path in runs.iterdir() if not path.name.startswith(".")]

    wait_for(lambda: len(found()) == 2, process)
    return found()


def test_processes_arrives(torchrun, tmp_path):
    """A stop asked of one rank stops all after the same step; one and four processes resume with steps of the same
    examples."""
    runs = tmp_path / "runs"
    process = torchrun.start(2, "--epochs", 6, "--run-name", "four")
    after_step(process, runs / "four", 10)
    os.kill(workers(process)[1], signal.SIGTERM)
    errors = process.communicate(timeout=60)[1]
    assert errors.count("stopped after step") == 1 and errors.count("exitcode  : 143") == 2, errors
    step = int(max((runs / "four" / "checkpoints").iterdir()).name.removeprefix("step-"))
    assert f"stopped after step {step}; resume with: torchrun …" in errors and step < 42
    assert "steps on 2 processes, cpu" in errors and "new weights" in errors
    shutil.copytree(runs / "four", runs / "one")
    for processes, name in ((4, "four"), (1, "one")):
        code, errors = torchrun.run(processes, "--epochs", 6, "--run-name", name, "--resume")
        assert code == 0, errors
        assert f"{processes} instead of 2 processes: a step keeps its 2 micro-batches" in errors
        assert "new weights" not in errors  # they are the checkpoint's
    assert torchrun.run(1, "--epochs", 6, "--accumulate", 2, "--run-name", "whole")[0] == 0
    wanted = last(runs / "whole")
    for name in ("one", "four"):
        found = last(runs / name)
        assert found.pop("loss") == pytest.approx(wanted["loss"], rel=1e-4)
        assert found == {metric: value for metric, value in wanted.items() if metric != "loss"}


def test_timeout_arrives(torchrun, tmp_path):
    process = torchrun.start(2, "--epochs", 1000, "--timeout", 12, "--run-name", "a")
    after_step(process, tmp_path / "runs" / "a", 3)
    stopped = workers(process)[1]
    os.kill(stopped, signal.SIGSTOP)
    line = next(line for line in process.stderr if line.startswith("error:"))
    assert "rank 0" in line and "another rank didn't answer within --timeout" in line
    os.kill(stopped, signal.SIGKILL)  # as torchrun would after 30 seconds
    process.communicate(timeout=60)
    assert process.returncode == 1


@pytest.mark.parametrize(
    ("processes", "flags", "said"),
    [
        (2, ("--lrr", 1), "error: unknown flag --lrr; did you mean --lr?"),
        (2, ("--seeds", "1,2"), "error: --seeds is for one process, but torchrun has started 2: leave it out"),
        (2, ("--folds", 3), "error: --folds is for one process, but torchrun has started 2: leave it out"),
        (3, ("--limit", 2), "error: 3 processes have only 2 training examples, and each needs one: start fewer"),
    ],
)
def test_mistakes_are_one_message_and_each_worker_ends_with_2(torchrun, processes, flags, said):
    code, errors = torchrun.run(processes, *flags)
    assert code == 1  # torchrun's
    [line] = errors_in(errors)
    assert line.startswith(said)
    assert errors.count("exitcode  : 2") == processes, errors
    assert errors.count("Traceback") == 1  # torchrun's own


LATE = """import os, sys, time
sys.path.insert(0, os.environ["ROOT"])
time.sleep(8 * int(os.environ["RANK"]))  # longer than rank 0 waits for the others to end
import train
sys.exit(train.main())
"""


@pytest.mark.parametrize(
    ("flags", "said"), [(("--help",), ""), (("--resume", "--run-name", "a"), "a is finished: nothing to do")]
)
def test_a_late_rank_finds_rank_0_where_there_is_nothing_to_train(torchrun, tmp_path, flags, said):
    """Rank 0 must not end before the others have connected: they would look for it for minutes."""
    if "--resume" in flags:
        assert torchrun.run(1, "--run-name", "a")[0] == 0
    script = tmp_path / "late.py"
    script.write_text(LATE)
    process = torchrun.start(2, *flags, script=script)
    shown, errors = process.communicate(timeout=90)
    assert process.returncode == 0, errors
    assert shown.count("usage: ") == ("--help" in flags) and said in errors


def test_another_rank_with_an_error_is_named(torchrun, tmp_path):
    """A rank on another machine may have other versions or data. Here the second one gets another command line."""
    script = tmp_path / "differs.py"
    script.write_text(
        "import os, sys\nsys.path.insert(0, os.environ['ROOT'])\nimport train\n"
        "sys.exit(train.main([*sys.argv[1:], *(['--lr', '1'] if os.environ['RANK'] == '1' else [])]))\n"
    )
    code, errors = torchrun.run(2, script=script)
    assert code == 1
    [line] = errors_in(errors)
    assert line.startswith("error: rank 1 on ") and "--lr is 1.0 here and 0.001 on rank 0" in line


@pytest.mark.parametrize(("method", "when"), [("write", "what[0]['step'] == 3"), ("hyperparameters", "log.is_main")])
def test_a_log_that_cannot_be_written_ends_all_ranks_with_2(torchrun, tmp_path, method, when):
    script = tmp_path / "full.py"
    script.write_text(
        "import errno, os, sys\nsys.path.insert(0, os.environ['ROOT'])\nimport train\n"
        f"from pairft.runs.log import RunLog\nplain = RunLog.{method}\n"
        "def full(log, *what, **more):\n"
        f"    if {when}: raise OSError(errno.ENOSPC, 'No space left on device', 'metrics.jsonl')\n"
        "    plain(log, *what, **more)\n"
        f"RunLog.{method} = full\nsys.exit(train.main())\n"
    )
    code, errors = torchrun.run(2, script=script)
    assert code == 1
    [line] = errors_in(errors)
    assert "metrics.jsonl" in line and errors.count("exitcode  : 2") == 2, errors
