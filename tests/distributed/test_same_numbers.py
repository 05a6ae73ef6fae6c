"""The numbers of a run don't depend on how many processes share it."""

import json

import pytest
from conftest import read_lines
from safetensors.torch import load_file
from torch.testing import assert_close
from torchrun import SPLITS


@pytest.mark.parametrize(
    ("size", "number"),
    [
        pytest.param((), 3, marks=pytest.mark.distributed),
        pytest.param(("--max-tokens", 60, "--unpad", "never"), 2, marks=pytest.mark.slow),
    ],
)
def test_one_two_and_four_processes_give_the_same_numbers(torchrun, tmp_path, size, number):
    runs = tmp_path / "runs"
    for processes, accumulate in SPLITS[:number]:
        code, errors = torchrun.run(processes, "--accumulate", accumulate, *size, "--run-name", processes)
        assert code == 0, errors
    one = runs / "1"
    for other in (runs / str(processes) for processes, _ in SPLITS[1:number]):
        for line, expected in zip(read_lines(other, "train"), read_lines(one, "train"), strict=True):
            assert line["loss"] == pytest.approx(expected["loss"], rel=1e-6), line
            assert line["grad_norm"] == pytest.approx(expected["grad_norm"], rel=1e-5), line
        found, wanted = (json.loads((r / "results.json").read_text())["last"]["calibration"] for r in (other, one))
        assert found == json.loads((other / "last" / "calibration.json").read_text())
        assert found["before"] == pytest.approx(wanted["before"], rel=1e-4)
        assert found["temperature"] == pytest.approx(wanted["temperature"], rel=1e-3)
        scores, expected = (json.loads((r / "results.json").read_text())["last"]["validation"] for r in (other, one))
        assert scores.pop("loss") == pytest.approx(expected.pop("loss"), rel=1e-6)
        assert scores == expected
        weights, expected = (load_file(r / "last" / "model.safetensors") for r in (other, one))
        for name in (name for name in expected if not name.endswith("key.bias")):  # whose gradient is rounding alone
            assert_close(weights[name], expected[name], rtol=1e-4, atol=1e-5)
