"""--output FOLDER/: files of some blocks each, on which the same command goes on where it was stopped."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from conftest import some_pairs, write_rows
from models import NAMES, classifier, logits_of, run
from pyarrow import parquet

from pairft.prediction import parts, sources
from pairft.prediction.predictor import Predictor


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return classifier(tmp_path_factory.mktemp("models"))


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(sources, "BLOCK_ROWS", 4)
    monkeypatch.setattr(parts, "BLOCKS_OF_A_FILE", 2)


@pytest.fixture
def data(tmp_path) -> Path:
    write_rows(tmp_path / "rows.jsonl", some_pairs("test", 30))  # 8 blocks: 4 files, the last of 6 rows
    return tmp_path / "rows.jsonl"


@pytest.fixture
def predicted(monkeypatch) -> list[int]:
    """The rows of each block that the model has predicted."""
    counts: list[int] = []
    outputs = Predictor.outputs

    def counted(self: Predictor, sentences: Any, *more: Any) -> Any:
        counts.append(len(sentences[0]))
        return outputs(self, sentences, *more)

    monkeypatch.setattr(Predictor, "outputs", counted)
    return counts


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_the_files_hold_all_rows_in_order(model, data, tmp_path):
    assert run(model, "--data", data, "--output", f"{tmp_path}/out/") == 0
    names = [f"part-0000{number}.parquet" for number in range(4)]
    assert sorted(content(tmp_path / "out")) == [parts.KEY_FILE, *names]
    tables = [parquet.read_table(tmp_path / "out" / name) for name in names]
    assert [len(table) for table in tables] == [8, 8, 8, 6]
    rows = some_pairs("test", 30)
    found = [row for table in tables for row in table.to_pylist()]
    assert [row["sentence2"] for row in found] == [row["sentence2"] for row in rows]
    assert [row["label"] for row in found] == [NAMES[index] for index in logits_of(model, rows).argmax(axis=1)]
    # A folder that pairft reads: the key file is passed over.
    assert run(model, "--data", tmp_path / "out", "--output", tmp_path / "again.jsonl") == 0
    assert len((tmp_path / "again.jsonl").read_text(encoding="utf-8").splitlines()) == 30


def test_a_stopped_command_goes_on(model, data, tmp_path, predicted, monkeypatch, capsys):
    flags = ("--data", data, "--output", f"{tmp_path}/out/", "--format", "jsonl")
    assert run(model, *flags) == 0
    whole = content(tmp_path / "out")
    assert predicted == [4] * 7 + [2]
    (tmp_path / "out" / "part-00002.jsonl").unlink()
    (tmp_path / "out" / "part-00003.jsonl").unlink()
    predicted.clear()
    capsys.readouterr()
    assert run(model, *flags) == 0
    assert predicted == [4, 4, 4, 2]
    printed = capsys.readouterr()
    assert "out/: resuming; files of an earlier command: 2" in printed.err and "not scored" in printed.err
    assert content(tmp_path / "out") == whole
    predicted.clear()
    assert run(model, *flags) == 0 and predicted == [] and content(tmp_path / "out") == whole


def test_ctrl_c_leaves_whole_files_alone(model, data, tmp_path, monkeypatch):
    outputs, calls = Predictor.outputs, []

    def stopped(self: Predictor, *given: Any) -> Any:
        calls.append(1)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return outputs(self, *given)

    flags = ("--data", data, "--output", f"{tmp_path}/out/", "--format", "csv")
    with monkeypatch.context() as patched:
        patched.setattr(Predictor, "outputs", stopped)
        assert run(model, *flags) == 130
    assert sorted(content(tmp_path / "out")) == [parts.KEY_FILE, "part-00000.csv", "part-00001.csv"]
    assert run(model, *flags) == 0
    assert len(content(tmp_path / "out")) == 5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl.gz"])
def test_a_signal_leaves_no_half_a_file(number, suffix, model, data, tmp_path, monkeypatch):
    outputs, calls = Predictor.outputs, []

    def stopped(self: Predictor, *given: Any) -> Any:
        calls.append(1)
        if len(calls) == 6:
            assert any(path.name.startswith(".out") for path in tmp_path.iterdir())
            signal.raise_signal(number)
        return outputs(self, *given)

    monkeypatch.setattr(Predictor, "outputs", stopped)
    # The tests may have been started with signals that are ignored, as nohup does.
    usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
    started_with, code = signal.signal(number, usual), None
    try:
        code = run(model, "--data", data, "--output", tmp_path / f"out.{suffix}")
    except SystemExit as left:
        code = left.code
    assert signal.signal(number, started_with) is usual
    assert code == 128 + number and len(calls) == 6
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


def test_other_rows_weights_or_flags_are_refused(model, data, tmp_path, capsys):
    flags = ("--output", f"{tmp_path}/out/")
    assert run(model, "--data", data, *flags) == 0
    before = content(tmp_path / "out")
    other = classifier(tmp_path / "other", NAMES[::-1])
    write_rows(tmp_path / "more.jsonl", some_pairs("test", 31))
    for changed in (
        (other, "--data", data),
        (model, "--data", tmp_path / "more.jsonl"),
        (model, "--data", data, "--top-k", 1),
        (model, "--data", data, "--precision", "bf16"),
    ):
        capsys.readouterr()
        assert run(*changed, *flags) == 2
        assert "name a new folder" in capsys.readouterr().err
    assert content(tmp_path / "out") == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text(json.dumps(1))
    assert run(model, "--data", data, "--output", f"{tmp_path}/mine/") == 2
    assert "holds other files" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]
