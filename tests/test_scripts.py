"""The scripts of benchmarks/, in small: they run, and find what the documents say they find."""

import json
import subprocess
import sys

import pytest
from conftest import ROOT

pytestmark = pytest.mark.slow


def run_script(name: str, *flags: object) -> str:
    command = [sys.executable, str(ROOT / "benchmarks" / name), *map(str, flags)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_killed_runs_end_like_the_one_that_was_not():
    lines = run_script("kill.py", "--runs", 2, "--disturbed", 2, "--seed", 1).splitlines()
    assert lines[-2:] == ["disturbed: 2/2 identical", "2/2 identical"]


def test_the_table_of_accumulation_is_current():
    path = ROOT / "docs" / "parity.md"
    before = path.read_text(encoding="utf-8")
    run_script("accumulation.py")
    assert path.read_text(encoding="utf-8") == before


def test_the_comparison_runs(tmp_path):
    run_script("compare_trainer.py", "--job", 1, "--repeats", 1, "--json", tmp_path / "found.json")
    [job] = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))["jobs"]
    assert {side: len(runs) for side, runs in job["sides"].items()} == {
        "Trainer": 1,
        "Trainer, by length": 1,
        "pairft": 1,
    }
    assert all(run["steps"] == 60 for runs in job["sides"].values() for run in runs)


def test_the_comparison_of_spreads():
    """Against made-up scores whose spreads are equal, and whose spreads are one to four."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    import numpy
    import spread

    draw = numpy.random.default_rng(0).normal(size=16)
    for ratio, low, high in ((1, 0.5, 1.0), (4, 0.0, 0.01)):
        scores = {"padding-free": 0.8 + ratio * draw, "padded": 0.8 - draw}
        found = spread.compare({way: dict.fromkeys(spread.METRICS, values.tolist()) for way, values in scores.items()})
        assert found["f1"]["sd"]["padding-free"] == pytest.approx(ratio * draw.std(ddof=1))
        assert low <= found["f1"]["p_equal_variances"] <= high


def test_the_sides_of_the_comparison_on_a_gpu(tmp_path):
    """On the CPU, with a tiny shape; and the table from what they found and made-up rates of a GPU."""
    shape = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
    flags = ("--device", "cpu", "--shape", json.dumps(shape), "--rows", 100)
    found = {}
    for side in ("Trainer", "pairft, eager"):
        run_script("gpu.py", side, tmp_path / "found.json", *flags, "--steps", 12, "--warm-up", 2)
        found[side] = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
        assert found[side]["steps"] == 12 and found[side]["steps_per_second"] > 0
        run_script("gpu.py", side, tmp_path / "whole.json", *flags, "--epochs", 2)
        assert json.loads((tmp_path / "whole.json").read_text(encoding="utf-8"))["steps"] == 26

    sys.path.insert(0, str(ROOT / "benchmarks"))
    import compare_gpu

    ceilings = {"card": "none", "driver": "0", "bytes_per_second": 4e12, "rate": 8e14}
    floor = compare_gpu.step_floor(8, {"tokens": 50.0, "squared_tokens": 2800.0}, ceilings)
    # 94.9 M numbers are trained; a layer has 7.08 M weights, and 11 of 12 see all tokens.
    assert floor["bytes"] == pytest.approx(32 * 94.9e6, rel=0.01)
    assert floor["operations"] == pytest.approx(8 * (6 * 11 * 7.08e6 * 50 + 12 * 768 * 11 * 2800), rel=0.02)
    assert floor["ms"] == pytest.approx(0.76 + 0.24, rel=0.02)
    common = {"gpu_mib": 1000.0, "captures": 20, "notes": ["with padding"]}
    runs = [{"steps_per_second": rate, **common} for rate in (100, 200, 400)]
    sides = {"Trainer": runs, "pairft": runs[::-1]}
    job = {"batch_size": 8, "sides": sides, "floor": floor}
    content = {"ceilings": ceilings, "jobs": [job], "whole": {"pairft": [{"seconds": 7.0}]}}
    sides["pairft, compiled"] = [*runs[:2], {"failed": "no compiler"}]
    lines = compare_gpu.table({**content, "machine": {}, "repeats": 3, "date": ""}).splitlines()
    assert lines[4].startswith("| 8 | pairft, compiled | failed")
    assert lines[3].startswith("| 8 | pairft | 200.0 | 1600 | 1.00 | 5.")
    assert "pairft computed with padding, with 0 captures" in "".join(lines)  # the whole training had none
