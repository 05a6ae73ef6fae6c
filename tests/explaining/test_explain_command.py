"""python -m pairft.explain as a command: mistakes, help, a closed pipe."""

import shutil
import subprocess
import sys

import pytest
from conftest import ROOT

from pairft import explain

A, B = "The company bought its rival.", "In May the firm sold a bank."


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--label", "maybe", A, B), "--label is 'maybe', but should be one of: not_equivalent, equivalent"),
        ((A, "  "), "the second sentence is empty"),
        (("", B), "the first sentence is empty"),
        ((A, "\udcff"), "the second sentence is not valid UTF-8"),
        ((A,), "the following arguments are required"),
        (("--lr", "fast", A, B), "--lr is 'fast', but should be a number"),
        (("--max-grad-norm", "0", A, B), "--max-grad-norm is 0.0, but should be above 0"),
        (("--max-length", "3", A, B), "--max-length is 3, but this model takes 5"),
        (("--model", "./nowhere", A, B), "--model ./nowhere doesn't exist"),
        (("--language", "de", A, B), "invalid choice: 'de'"),
    ],
)
def test_mistakes(flags, said, wild_model, capsys):
    assert explain.main(["--model", str(wild_model), *flags]) == 2
    error = capsys.readouterr().err
    assert said in error and error.startswith("error: ") and len(error.splitlines()) == 1


@pytest.mark.parametrize("kind", ["--regression", "--one-logit"])
def test_a_head_of_another_kind_is_refused(kind, made, capsys):
    flags = ("--task", "custom", "--text-columns", "sentence1,sentence2", "--label-column", "label")
    run = made(*flags, kind, "--max-steps", 1)
    assert explain.main(["--model", str(run / "last"), A, B]) == 2
    assert "has a head for" in capsys.readouterr().err


def test_help_imports_nothing_heavy():
    light = {"torch", "transformers", "datasets", "numpy", "pyarrow", "yaml"}
    code = f"import sys, pairft.explain as e; e.parser().format_help(); print(sorted(set(sys.modules) & {light!r}))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.slow
def test_a_closed_pipe_does_no_harm(wild_model):
    command = [sys.executable, "-m", "pairft.explain", "--model", str(wild_model), A, B]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


def test_weights_that_are_not_finite_are_a_mistake(plain_model, tmp_path, capsys):
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "damaged"
    shutil.copytree(plain_model, folder)
    weights = load_file(folder / "model.safetensors")
    weights["embeddings.LayerNorm.weight"].fill_(float("nan"))
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    assert explain.main(["--model", str(folder), A, B]) == 2
    assert "the loss of this pair is nan" in capsys.readouterr().err


@pytest.mark.parametrize(("given", "index"), [(None, 1), ("equivalent", 1), ("Not_Equivalent", 0), ("0", 0), ("1", 1)])
def test_label_arrives(given, index, wild_model, capsys):
    flags = [] if given is None else ["--label", given]
    assert explain.main(["--model", str(wild_model), *flags, A, B]) == 0
    assert f"w = classifier.weight[{index}, " in capsys.readouterr().out


def test_without_the_speed_folder_a_message_says_so(wild_model, capsys, monkeypatch):
    monkeypatch.setattr(explain, "find_spec", lambda _: None)
    assert explain.main(["--model", str(wild_model), A, B]) == 2
    assert "pairft/speed is missing" in capsys.readouterr().err
