"""What python -m pairft.export leaves: one file, whatever its name, or nothing if it is stopped."""

import os
import re
import signal
import subprocess
import sys

import pytest
from conftest import ROOT, wait_for
from test_export import FLAGS, run, written


@pytest.mark.slow
@pytest.mark.parametrize(("name", "flags"), [("m[1].onnx", ()), ("fp32.onnx", ("--int8",))])
def test_any_name_is_written(name, flags, made, tmp_path, capsys):
    """One that is a pattern, too, and one that the graph before quantisation could have."""
    folder = made(*FLAGS) / "best"
    (tmp_path / "out").mkdir()
    assert run(folder, tmp_path / "out" / name, *flags) == 0
    assert written(tmp_path / "out") == [name]
    sizes = re.findall(r"^ONNX(?: int8)? +(-?\d.*)$", capsys.readouterr().out, re.M)
    assert len(sizes) == 1 + len(flags) and min(map(float, sizes)) > 0


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_stopped_export_leaves_nothing(made, tmp_path):
    folder = made(*FLAGS) / "best"
    (tmp_path / "out").mkdir()
    command = [sys.executable, "-m", "pairft.export", "--model", folder, "--output", tmp_path / "out" / "m.onnx"]
    with subprocess.Popen([str(part) for part in command], cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        wait_for(lambda: written(tmp_path / "out"), process)
        process.terminate()
    assert process.returncode == 128 + signal.SIGTERM and not written(tmp_path / "out")
