"""--profile traces a few steps and changes none of a run's numbers."""

import gzip
import json
import re

import pytest
import torch
from conftest import comparable, same_weights, undone

from pairft.runs import profile

FLAGS = ("--max-steps", 10, "--log-every", 1, "--lr", "1e-3")


def trace_of(run):
    with gzip.open(run / "profile" / "trace.json.gz", "rt", encoding="utf-8") as file:
        return json.load(file)["traceEvents"]


def calls_of(name, events):
    """How often an operation is called in the trace, other than by itself, and in all. torch's table counts a call by
    itself only where the caller calls something else, too."""
    spans = sorted((event["ts"], -event["dur"]) for event in events if event.get("ph") == "X" and event["name"] == name)
    number, end = 0, 0.0
    for begin, minus in spans:
        number, end = number + (begin >= end), max(end, begin - minus)
    return number, len(spans)


def rows_of(run):
    """{operation: (calls per step, milliseconds of CPU time per step)} of the table."""
    lines = (run / "profile" / "operations.txt").read_text(encoding="utf-8").splitlines()[2:]
    found = [re.fullmatch(r"(.+?) +(\d+) +([\d.]+) +\d+%", line) for line in lines]
    return {match[1]: (int(match[2]), float(match[3])) for match in found}


def test_profile_arrives(made, capsys):
    plain, run = made(*FLAGS, name="plain"), made(*FLAGS, "--profile", name="profiled")
    assert same_weights(plain, run) and not (plain / "profile").exists()
    for split in ("train", "validation"):
        assert comparable(plain, split) == comparable(run, split)
    assert sorted(path.name for path in (run / "profile").iterdir()) == ["operations.txt", "trace.json.gz"]
    text, rows = (run / "profile" / "operations.txt").read_text(encoding="utf-8"), rows_of(run)
    assert text in capsys.readouterr().err and text.startswith("profile of steps 5 to 7")
    events = trace_of(run)
    assert calls_of("update", events) == (3, 3) and len(rows) == 10
    for shown, (number, _) in rows.items():
        name = shown.replace("engine: ", profile.ENGINE).removesuffix(" (Python between the operations)")
        fewest, most = calls_of(name, events)
        assert round(fewest / 3) <= number <= round(most / 3), name
    times = [milliseconds for _, milliseconds in rows.values()]
    assert times == sorted(times, reverse=True) and times[0] > 0


@pytest.mark.parametrize(
    ("steps", "heading", "note"),
    [
        (5, "profile of steps 3 to 5", None),
        (2, "profile of step 2", "1 of 3 steps, since only 2 are left"),
        (1, None, "--profile has no effect"),
    ],
)
def test_a_short_run_profiles_what_there_is(made, capsys, steps, heading, note):
    run = made("--profile", "--max-steps", steps)
    assert heading is None or (run / "profile" / "operations.txt").read_text().startswith(heading)
    assert (heading is not None) == (run / "profile").exists()
    message = capsys.readouterr().err
    assert note in message if note else "note: --profile" not in message


def test_a_run_that_ends_early_keeps_what_it_has_profiled(made, capsys):
    """It stops after the sixth step, the second of those to be profiled; right before the first of them; before."""
    early = ("--lr", "1e-9", "--profile", "--patience", 1)
    run = made(*early, "--eval-every", 3, name="six")
    assert (run / "profile" / "operations.txt").read_text().startswith("profile of steps 5 to 6")
    for every in (2, 1):
        assert not (made(*early, "--eval-every", every, name=str(every)) / "profile").exists()
        assert "training has ended before step 5, the first to be profiled" in capsys.readouterr().err


def test_a_resumed_run_profiles_only_if_asked_and_its_own_steps(go, made, tmp_path):
    whole, killed = made(*FLAGS, "--save-every", 3, "--profile", name="whole"), tmp_path / "runs" / "killed"
    undone(whole, killed, 9)
    (killed / "profile" / "mine").touch()
    assert go("--resume", "--run-name", "killed") == 0
    assert (killed / "profile" / "mine").exists()
    (killed / "results.json").unlink()
    assert go("--resume", "--run-name", "killed", "--max-steps", 20, "--profile") == 0
    assert (killed / "profile" / "operations.txt").read_text().startswith("profile of steps 15 to 17")
    assert not (killed / "profile" / "mine").exists()


def test_a_profile_that_cannot_be_written_is_a_warning(tmp_path, capsys):
    """Not an error, so that training goes on."""
    from torch.profiler import profile as profiler
    from torch.profiler import record_function

    with profiler() as found, record_function("update"):
        torch.ones(3).sum()
    (tmp_path / "run").touch()  # a file in place of the run directory
    profile.write(found, tmp_path / "run", 5)
    message = capsys.readouterr().err
    assert "profile of step 5" in message and "aten::sum" in message and "can't be written" in message
