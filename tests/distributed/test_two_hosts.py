"""Two hosts, with torchrun on each: a link that is cut, and a run directory that only one of them sees."""

import json
import time

import pytest
from conftest import comparable, same_weights
from two_hosts import processes, set_link, start_agents, two_hosts

pytestmark = pytest.mark.slow
TIMEOUT = 5  # seconds: longer than a rank of the tiny model ever waits for the other
PATIENCE = 120  # seconds, for a busy machine
FLAGS = ("--device", "cpu", "--batch-size", 8, "--epochs", 24, "--log-every", 5, "--save-every", 10, "--lr", "1e-3")


def wait_until(condition, agents, logs):
    """Until the condition holds; fail if an agent ends before that."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        running = all(agent.poll() is None for agent in agents)
        assert running and time.monotonic() < deadline, "\n".join(log.read_text() for log in logs)
        time.sleep(0.02)


def finish(agents, logs):
    """Wait for both. Returns their exit codes and what each has shown."""
    codes = [agent.wait(PATIENCE) for agent in agents]
    return codes, [log.read_text() for log in logs]


@pytest.fixture
def folders(tmp_path):
    """The working directory of each host."""
    both = tmp_path / "host-1", tmp_path / "host-2"
    for folder in both:
        folder.mkdir()
    return both


def test_a_cut_link_ends_both_ranks_with_an_error_and_training_resumes(tiny_model, pairs_folder, tmp_path, folders):
    runs = tmp_path / "runs"
    flags = ("--model", tiny_model, "--data", pairs_folder, "--runs-dir", runs, "--timeout", TIMEOUT, *FLAGS)
    with two_hosts() as hosts:
        logs = [folder / "whole.log" for folder in folders]
        agents = start_agents(hosts, folders, "whole.log", "whole", 0, *flags, "--run-name", "whole")
        assert finish(agents, logs)[0] == [0, 0], "\n".join(log.read_text() for log in logs)

        logs = [folder / "cut.log" for folder in folders]
        agents = start_agents(hosts, folders, "cut.log", "cut", 3, *flags, "--run-name", "cut")
        wait_until((runs / "cut" / "checkpoints" / "step-00000010").exists, agents, logs)
        set_link(hosts[1], "down")
        # It comes back when only torchrun is left on each host: neither rank needs the other in order to end.
        wait_until(lambda: all(len(processes(host)) == 1 for host in hosts), agents, logs)
        for number, log in enumerate(logs):
            assert f"rank {number}" in log.read_text() and "answer within --timeout" in log.read_text()
        assert not (runs / "cut" / "results.json").exists()
        set_link(hosts[1], "up")
        codes, shown = finish(agents, logs)
        assert codes == [0, 0], "\n".join(shown)
    for split in ("train", "validation"):
        assert comparable(runs / "whole", split) == comparable(runs / "cut", split)
    assert same_weights(runs / "whole", runs / "cut")
    whole, cut = (json.loads((runs / name / "results.json").read_text()) for name in ("whole", "cut"))
    assert (whole["best"], whole["last"]) == (cut["best"], cut["last"])


def test_a_run_directory_that_is_not_shared_is_an_error(tiny_model, pairs_folder, folders):
    flags = ("--model", tiny_model, "--data", pairs_folder, "--runs-dir", "runs", "--run-name", "a", *FLAGS)
    logs = [folder / "log" for folder in folders]
    with two_hosts() as hosts:
        codes, shown = finish(start_agents(hosts, folders, "log", "apart", 0, *flags), logs)
    assert codes == [1, 1]  # torchrun's own
    assert "--runs-dir of rank 1" in shown[0] and "share" in shown[0]
