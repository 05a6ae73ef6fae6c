"""python -m pairft.export: the graph in onnxruntime itself against torch, its quality as scikit-learn computes it, and
what is refused."""

import importlib.util
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from conftest import some_pairs, write_rows, write_tiny_model
from sklearn.metrics import accuracy_score, f1_score

from pairft import export
from pairft.model import onnx_graph

pytest.importorskip("onnxruntime", reason="pip install onnx onnxscript onnxruntime")

FLAGS = ("--max-steps", 4, "--lr", "1e-3")


def written(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def run(model: Path, output: Path, *flags: Any) -> int:
    return export.main([str(part) for part in ("--model", model, "--output", output, *flags)])


def logits_of(file: Path, inputs: dict[str, torch.Tensor]) -> numpy.ndarray:
    """Of onnxruntime, without pairft."""
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    [found] = session.run(None, {given.name: inputs[given.name].numpy() for given in session.get_inputs()})
    return found


def assert_same_logits(folder: Path, file: Path) -> None:
    """In batches of 1 to 7 pairs of unequal lengths, padded on either side, up to the model's limit."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    rows = some_pairs("test", 28)
    for number in range(1, 8):
        some = [rows.pop() for _ in range(number)]
        first = [row["sentence1"] * (index + 1) for index, row in enumerate(some)]
        second = [row["sentence2"] for row in some]
        given = tokenizer(first, second, padding=True, truncation=True, max_length=64, return_tensors="pt")
        with torch.no_grad():
            wanted = model(**given).logits.numpy()
        numpy.testing.assert_allclose(logits_of(file, given), wanted, rtol=0, atol=1e-4)
    assert given["input_ids"].shape == (7, 64) and not given["attention_mask"].all()


@pytest.mark.slow
def test_the_graph_gives_the_logits_of_torch(made, wild_model, tmp_path, capsys):
    folder = made("--model", wild_model, *FLAGS) / "best"
    (tmp_path / "out").mkdir()
    assert run(folder, tmp_path / "out" / "model.onnx") == 0
    assert_same_logits(folder, tmp_path / "out" / "model.onnx")
    assert written(tmp_path / "out") == ["model.onnx"]
    said = capsys.readouterr().out
    error = float(re.findall(r"ONNX: logits within (\S+) of torch's, on examples of up to 64 tokens", said)[0])
    assert 0 < error < 1e-4 and f"wrote {tmp_path / 'out' / 'model.onnx'}" in said


@pytest.mark.slow
@pytest.mark.parametrize(
    "architecture",
    ["roberta", "distilbert", "electra", "albert", "mpnet", "deberta-v2", "xlm-roberta", "camembert", "modernbert"],
)
def test_other_architectures(architecture, go, tmp_path):
    model = write_tiny_model(tmp_path / architecture, architecture, initializer_range=0.2)
    assert go("--model", model, *FLAGS, "--run-name", "a") == 0
    folder = tmp_path / "runs" / "a" / "best"
    assert run(folder, tmp_path / "model.onnx") == 0
    assert_same_logits(folder, tmp_path / "model.onnx")


@pytest.mark.slow
def test_int8_and_data_arrive(made, wild_model, tmp_path, pairs_folder, capsys):
    """A smaller file whose scores are those in the table."""
    folder, file, data = made("--model", wild_model, *FLAGS) / "best", tmp_path / "m.onnx", tmp_path / "labelled.jsonl"
    rows = some_pairs("test", 40)
    write_rows(data, [*rows, {**some_pairs("test", 41)[-1], "label": None}])
    capsys.readouterr()
    assert run(folder, file, "--int8", "--data", data) == 0
    said = capsys.readouterr().out
    assert "f1 of 'equivalent'; 1 threads" in said and [*tmp_path.glob("*.onnx*")] == [file]
    columns, *found = [
        line.split() for line in re.findall(r"^(?: +MB|torch|ONNX).*(?<!tokens)(?<!torch's)$", said, re.M)
    ]
    table = {" ".join(line[: -len(columns)]): dict(zip(columns, line[-len(columns) :], strict=True)) for line in found}
    assert list(table) == ["torch", "ONNX", "ONNX int8"]
    assert table["torch"]["loss"] == table["ONNX"]["loss"] != table["ONNX int8"]["loss"]
    assert float(table["ONNX int8"]["MB"]) < float(table["ONNX"]["MB"])
    assert all(float(row["rows/s"]) > 0 for row in table.values())

    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    predicted = []
    for row in rows:
        given = tokenizer([row["sentence1"]], [row["sentence2"]], truncation=True, max_length=64, return_tensors="pt")
        predicted.append(int(logits_of(file, given).argmax()))
    true = [row["label"] for row in rows]
    # A batch quantises its activations together, so that single rows may be answered in another way.
    assert float(table["ONNX int8"]["accuracy"]) == pytest.approx(accuracy_score(true, predicted), abs=0.05)
    assert float(table["ONNX int8"]["f1"]) == pytest.approx(f1_score(true, predicted), abs=0.1)


@pytest.mark.slow
def test_a_graph_that_differs_is_not_written(made, wild_model, tmp_path, monkeypatch, capsys):
    """The comparison is that of the command itself: with a tolerance below rounding, it refuses."""
    monkeypatch.setattr(onnx_graph, "TOLERANCE", 1e-12)
    folder = made("--model", wild_model, *FLAGS) / "best"
    (tmp_path / "out").mkdir()
    assert run(folder, tmp_path / "out" / "model.onnx") == 2
    assert "differ from torch's by up to" in capsys.readouterr().err and not written(tmp_path / "out")


@pytest.mark.slow
def test_an_architecture_that_torch_cannot_export(go, tmp_path, capsys):
    """Funnel's pooling fixes the length. If a later torch exports it, the graph is right or refused."""
    model = write_tiny_model(tmp_path / "funnel", "funnel")
    assert go("--model", model, *FLAGS, "--run-name", "a") == 0
    (tmp_path / "out").mkdir()
    capsys.readouterr()
    if run(tmp_path / "runs" / "a" / "best", tmp_path / "out" / "model.onnx") == 0:
        pytest.skip("this torch can export it")
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: torch ") and "can't export this funnel to ONNX, so use it with torch" in line
    assert not written(tmp_path / "out")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What looks like a model until it is loaded."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    (tmp_path / "a.csv").write_text("x,y,label\n")
    return tmp_path / "model"


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [
        (("--output", "m.bin"), "its name should end in .onnx"),
        (("--output", "model"), "its name should end in .onnx"),
        (("--output", "no/folder/m.onnx"), "there is no folder"),
        (("--output", "m.onnx", "--data", "missing.csv"), "--data missing.csv: name a file"),
        (("--output", "m.onnx", "--data", "model"), "--data model: name a file"),
        (("--output", "m.onnx", "--label-column", "y"), "--label-column names a column of --data"),
        (("--output", "m.onnx", "--text-columns", "y"), "--text-columns names a column of --data"),
        (("--output", "m.onnx", "--int4"), "unrecognized arguments: --int4"),
        (("--output", "m.onnx"), "can't load the config or tokenizer of --model model"),
        ((), "--output"),
    ],
)
def test_mistakes(flags, wanted, folder, capsys, monkeypatch):
    monkeypatch.chdir(folder.parent)
    before = written(folder.parent)
    assert export.main(["--model", "model", *flags]) == 2
    said = capsys.readouterr().err
    assert wanted in said and len(said.splitlines()) == 1
    assert written(folder.parent) == before


def test_missing_packages_are_named(folder, capsys, monkeypatch):
    own = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name.startswith("onnx") else own(name))
    assert export.main(["--model", str(folder), "--output", "m.onnx"]) == 2
    wanted = "the export needs onnx and onnxscript and onnxruntime: pip install onnx onnxscript onnxruntime"
    assert capsys.readouterr().err == f"error: {wanted}\n"


def test_data_without_a_known_label(made, tmp_path, capsys):
    folder = made(*FLAGS) / "best"
    about = json.loads((folder / "pairft.json").read_text())
    rows = [dict.fromkeys(about["text_columns"], "text") | {"label": label} for label in (None, None)]
    write_rows(tmp_path / "none.jsonl", rows)
    capsys.readouterr()
    assert run(folder, tmp_path / "m.onnx", "--data", tmp_path / "none.jsonl") == 2
    assert "has no known label" in capsys.readouterr().err and not (tmp_path / "m.onnx").exists()
    write_rows(tmp_path / "other.jsonl", [{**rows[0], "label": "purple"}])
    assert run(folder, tmp_path / "m.onnx", "--data", tmp_path / "other.jsonl") == 2
    assert not (tmp_path / "m.onnx").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("size", "flags"), [("300k", ()), ("500k", ("--int8",))])
def test_a_full_disk(size, flags, made, tmp_path, capsys):
    """A tiny graph takes 400 kB. onnx itself reports nothing when a copy of it is cut short."""
    folder, place = made(*FLAGS) / "best", tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs more rights")
    try:
        assert run(folder, place / "m.onnx", *flags) == 2
        assert f"can't write --output {place / 'm.onnx'}: No space left" in capsys.readouterr().err
        assert not written(place)
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.slow
def test_one_logit(made, wild_model, tmp_path, pairs_folder, capsys):
    """The graph has the one logit of the model; its labels are scored as two classes."""
    run_dir, file = made("--model", wild_model, *FLAGS, "--one-logit"), tmp_path / "m.onnx"
    capsys.readouterr()
    assert run(run_dir / "best", file, "--data", pairs_folder / "validation.jsonl") == 0
    assert_same_logits(run_dir / "best", file)
    said = capsys.readouterr().out
    scores = json.loads((run_dir / "results.json").read_text())["best"]["validation"]
    for name in ("torch", "ONNX"):
        [line] = re.findall(rf"^{name}  +\d.*$", said, re.M)
        assert [float(number) for number in line.split()[2:5]] == pytest.approx(
            [scores[metric] for metric in ("loss", "accuracy", "f1")], abs=6e-5
        )
