"""Printed output that breaks in every way it can: the training comes to its checkpoint, with the exit code it has."""

import os
import pty
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT, read_lines, same_weights, wait_for
from test_full_disk import small_disk  # noqa: F401  (a fixture)

from pairft.output import Output, unbreakable
from pairft.runs import checkpoint

LONG = ("--max-steps", 100000, "--log-every", 1, "--run-name", "a")


@pytest.fixture
def command(tiny_model, pairs_folder, tmp_path):
    """train.py on the tiny model and pairs, as words."""

    def words(*flags):
        made = [sys.executable, ROOT / "train.py", "--model", tiny_model, "--data", pairs_folder, "--device", "cpu"]
        return [str(part) for part in [*made, "--batch-size", 8, "--runs-dir", tmp_path / "runs", *flags]]

    return words


# Run before the command: SIGHUP as a process of a terminal has it, whatever runs the tests; and that terminal.
HUNG_UP = "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_DFL); os.execvp(sys.argv[1], sys.argv[1:])"
TERMINAL = "import fcntl, os, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0); " + HUNG_UP


def checkpoints(tmp_path):
    return checkpoint.whole_checkpoints(tmp_path / "runs" / "a" / "checkpoints")


def test_ctrl_c_behind_tee(command, go, tmp_path):
    """Both are in the terminal's process group, and tee is gone at once."""
    with (tmp_path / "log").open("w") as log:
        training = subprocess.Popen(
            command(*LONG), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
        )
        tee = subprocess.Popen(["tee"], stdin=training.stdout, stdout=log)
    training.stdout.close()
    wait_for((tmp_path / "runs" / "a" / "metrics.jsonl").exists, training)
    tee.kill()
    tee.wait()
    os.killpg(training.pid, signal.SIGINT)
    assert training.wait(timeout=60) == 130
    assert len(checkpoints(tmp_path)) == 1
    at = int(checkpoints(tmp_path)[0].name.removeprefix("step-"))
    assert go("--resume", "--run-name", "a", "--max-steps", at + 3) == 0


@pytest.mark.slow
def test_a_pipe_that_is_closed_early_changes_neither_code_nor_result(command, go, tmp_path):
    training = subprocess.Popen(
        command("--max-steps", 40, "--log-every", 1, "--run-name", "a"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    training.stdout.readline()
    training.stdout.close()
    assert training.wait(timeout=60) == 0
    assert go("--max-steps", 40, "--log-every", 1, "--run-name", "b") == 0
    assert same_weights(tmp_path / "runs" / "a", tmp_path / "runs" / "b")


@pytest.mark.slow
def test_a_full_disk_behind_a_log(command, small_disk, tmp_path):  # noqa: F811
    (small_disk / "filler").write_bytes(bytes(os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize))
    with (small_disk / "log").open("w") as log:
        result = subprocess.run(command("--max-steps", 4, "--run-name", "a"), stdout=log, stderr=log, check=False)
    assert result.returncode == 0
    assert [line["step"] for line in read_lines(tmp_path / "runs" / "a", "train")] == [4]


def test_descriptors_that_are_closed(command, tmp_path):
    """No file of the run gets the number of standard error, into which messages would go."""
    shell = " ".join(["exec", '"$@"', ">&-", "2>&-", "<&-"])
    words = ["sh", "-c", shell, "sh", *command("--max-steps", 4, "--run-name", "a")]
    assert subprocess.run(words, check=False).returncode == 0
    assert [line["step"] for line in read_lines(tmp_path / "runs" / "a", "train")] == [4]
    for file in (tmp_path / "runs" / "a").rglob("*"):
        assert not file.is_file() or b"4 steps on cpu" not in file.read_bytes(), file


def test_a_closed_terminal(command, tmp_path):
    """The terminal's other end goes; the kernel then sends SIGHUP, and a shell would send another."""
    ours, theirs = pty.openpty()
    words = [sys.executable, "-c", TERMINAL, *command(*LONG)]
    training = subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    wait_for((tmp_path / "runs" / "a" / "metrics.jsonl").exists, training)
    os.close(ours)
    training.send_signal(signal.SIGHUP)
    assert training.wait(timeout=60) == 129
    assert len(checkpoints(tmp_path)) == 1


def test_sighup_asks_to_stop_however_often_it_comes(command, tmp_path):
    words = [sys.executable, "-c", HUNG_UP, *command(*LONG)]
    training = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    wait_for((tmp_path / "runs" / "a" / "metrics.jsonl").exists, training)
    for _ in range(3):
        training.send_signal(signal.SIGHUP)
        time.sleep(0.001)
    message = training.communicate(timeout=60)[1]
    assert training.returncode == 129, message
    assert message.count("SIGHUP: stopping") == 1 and "--resume --run-name a" in message
    assert len(checkpoints(tmp_path)) == 1


@pytest.mark.slow
def test_under_nohup_sighup_stays_ignored(command, tmp_path):
    words = [sys.executable, "-c", HUNG_UP, "nohup", *command(*LONG)]
    training = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    wait_for((tmp_path / "runs" / "a" / "metrics.jsonl").exists, training)
    training.send_signal(signal.SIGHUP)
    steps = len(read_lines(tmp_path / "runs" / "a", "train"))
    wait_for(lambda: len(read_lines(tmp_path / "runs" / "a", "train")) > steps + 20, training)
    training.send_signal(signal.SIGTERM)
    assert training.wait(timeout=60) == 143, training.stderr.read()


def test_what_a_stream_can_not_encode_is_escaped(tmp_path):
    with (tmp_path / "log").open("wb") as log:
        Output(log.fileno(), "ascii").write("naïve … 1\n")
    assert (tmp_path / "log").read_bytes() == b"na\\xefve \\u2026 1\n"


def test_a_broken_stream_is_restored_afterwards(capfd):
    before = sys.stdout, sys.stderr
    with unbreakable():
        assert sys.stdout is not before[0]
        sys.stdout.write("kept\n")
    assert (sys.stdout, sys.stderr) == before and capfd.readouterr().out == "kept\n"
