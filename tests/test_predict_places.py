"""What pairft.predict takes from the command line and where it writes: never over what it reads."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, environment, some_pairs, write_rows

from pairft import predict, predict_args


@pytest.fixture(scope="module")
def trained(tiny_model, pairs_folder, tmp_path_factory) -> Path:
    import train

    runs = tmp_path_factory.mktemp("runs")
    flags = ("--model", tiny_model, "--data", pairs_folder, "--runs-dir", runs, "--run-name", "a", "--max-steps", 1)
    assert train.main([str(flag) for flag in (*flags, "--device", "cpu")]) == 0
    return runs / "a" / "last"


def run(*flags: Any) -> int:
    return predict.main(["--device", "cpu", *map(str, flags)])


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def place(trained, tmp_path, monkeypatch) -> Path:
    """The current folder, with pairs.jsonl, more names for it, and the model."""
    write_rows(tmp_path / "pairs.jsonl", some_pairs("test", 4))
    shutil.copytree(trained, tmp_path / "model")
    (tmp_path / "soft.jsonl").symlink_to("pairs.jsonl")
    (tmp_path / "hard.jsonl").hardlink_to(tmp_path / "pairs.jsonl")
    (tmp_path / "config.json").hardlink_to(tmp_path / "model" / "config.json")
    (tmp_path / "same").symlink_to("model")
    monkeypatch.chdir(tmp_path)
    return tmp_path


OVER_DATA = ["pairs.jsonl", "./pairs.jsonl", "model/../pairs.jsonl", "soft.jsonl", "hard.jsonl"]
OVER_MODEL = ["model/pairft.json", "model/answers.csv", "same/config.json", "config.json"]


@pytest.mark.parametrize(("output", "named"), [(o, "--data") for o in OVER_DATA] + [(o, "--model") for o in OVER_MODEL])
def test_what_is_read_is_never_overwritten(output, named, place, capsys):
    before = content(place)
    assert run("--model", "model", "--data", "pairs.jsonl", "--output", output) == 2
    [message] = capsys.readouterr().err.splitlines()
    assert message.startswith(f"error: --output {Path(output)} ") and named in message
    assert content(place) == before


def test_a_link_is_data_too_and_an_output_beside_it_is_fine(place, capsys):
    assert run("--model", "model", "--data", "soft.jsonl", "--output", place / "pairs.jsonl") == 2
    assert "--data" in capsys.readouterr().err
    (place / "answers.jsonl").write_text("of an earlier time\n")
    assert run("--model", "same", "--data", "soft.jsonl", "--output", "answers.jsonl") == 0
    assert len([json.loads(line) for line in (place / "answers.jsonl").read_text().splitlines()]) == 4


def test_an_output_that_cannot_be_written_is_told_before_the_model_is_read(place, capsys):
    for output in ("gone/answers.csv", "pairs.jsonl/answers.csv", f"{'x' * 250}.csv", "/proc/answers.csv"):
        assert run("--model", "nobody/nothing", "--data", "pairs.jsonl", "--output", output) == 2
        [message] = capsys.readouterr().err.splitlines()
        assert message.startswith(f"error: can't write --output {output}: ")


def test_a_cache_that_cannot_be_written_is_one_message(place):
    command = [sys.executable, "-m", "pairft.predict", "--model", "model", "--device", "cpu"]
    command += ["--data", "pairs.jsonl", "--output", "answers.csv"]
    env = environment(place / "pairs.jsonl" / "cache", None, PYTHONPATH=str(ROOT), HF_HUB_OFFLINE="1")
    result = subprocess.run(command, capture_output=True, text=True, env=env, cwd=place, check=False)
    assert result.returncode == 2, result.stderr
    [message] = result.stderr.splitlines()
    assert message.startswith("error: ") and "pairs.jsonl/cache" in message
    assert not (place / "answers.csv").exists()


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_a_label_column_that_is_not_there_is_an_error_where_it_was_asked_for(kind, place, capsys):
    import datasets

    made = datasets.Dataset.from_list(some_pairs("test", 4)).rename_column("label", "gold")
    {"jsonl": made.to_json, "csv": made.to_csv, "parquet": made.to_parquet}[kind](f"gold.{kind}")
    flags = ("--model", "model", "--data", f"gold.{kind}", "--output", "answers.csv")
    assert run(*flags, "--label-column", "label") == 2
    message = capsys.readouterr().err
    assert f"gold.{kind} has no column 'label'" in message and "gold" in message
    assert not (place / "answers.csv").exists()
    assert run(*flags, "--label-column", "gold") == 0
    assert "(4 rows), f1 of 'equivalent'" in capsys.readouterr().out
    assert run(*flags) == 0


FLAGS = ("-h", "--help", "--model", "--text", "--device", "--output")


@pytest.mark.parametrize(
    ("argv", "rest", "sentences"),
    [
        (["--text", "a", "b"], [], ["a", "b"]),
        (["--text", "-5 degrees outside", "--cold"], [], ["-5 degrees outside", "--cold"]),
        (["--text", "-", "--"], [], ["-", "--"]),
        (["--text", "--x=1", "--device", "cpu"], ["--device", "cpu"], ["--x=1"]),
        (["--model", "m", "--text", "-1", "--device=cpu"], ["--model", "m", "--device=cpu"], ["-1"]),
        (["--text=--device", "--text=--help"], [], ["--device", "--help"]),
        (["--text=--device", "-5"], [], ["--device", "-5"]),
        (["--text", "a", "b", "c"], ["c"], ["a", "b"]),
        (["--text", "--model", "m"], ["--model", "m"], []),
        (["--model", "m"], ["--model", "m"], None),
    ],
)
def test_sentences_are_taken_as_they_stand(argv, rest, sentences):
    assert predict_args.take_text(argv, FLAGS) == (rest, sentences)


def test_a_pair_that_begins_with_dashes_is_answered_as_in_a_file(place, capsys):
    pair = {"sentence1": "-5 degrees outside", "sentence2": "--cold"}
    write_rows(place / "cold.jsonl", [pair])
    assert run("--model", "model", "--data", "cold.jsonl", "--output", "answers.jsonl") == 0
    for flags in (("--text", *pair.values(), "--model", "model"), ("--model", "model", "--text", *pair.values())):
        capsys.readouterr()
        assert run(*flags) == 0
        answer = json.loads((place / "answers.jsonl").read_text())
        assert {**pair, **json.loads(capsys.readouterr().out)} == pytest.approx(answer)


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--text", "a", "b", "c"], ["unknown argument c", "one or two sentences"]),
        (["--text"], ["--text has 0 sentences"]),
        (["--text", "a", "b", "--label-column", "y"], ["--label-column", "--text"]),
        (["--text", "a", "b", "--text-columns", "y"], ["--text-columns", "--text"]),
    ],
)
def test_what_goes_with_no_sentence_is_refused(flags, named, place, capsys):
    assert run("--model", "model", *flags) == 2
    [message] = capsys.readouterr().err.splitlines()
    assert all(text in message for text in named), message


@pytest.mark.parametrize("forbidden", [False, True])
def test_a_model_of_the_hub_is_not_waited_for_without_the_hub(forbidden, closed, place):
    command = [sys.executable, "-m", "pairft.predict", "--model", "google-bert/bert-base-uncased", "--text", "a", "b"]
    env = environment(place / "hf", closed, PYTHONPATH=str(ROOT), **({"HF_HUB_OFFLINE": "1"} if forbidden else {}))
    result = subprocess.run(command, capture_output=True, text=True, env=env, cwd=place, timeout=120, check=False)
    assert result.returncode == 2, result.stderr
    [message] = result.stderr.splitlines()  # the clients' own retries would each have a line
    assert message.startswith("error: --model google-bert/bert-base-uncased: no such folder, not in the cache, and ")
    assert ("HF_HUB_OFFLINE" if forbidden else closed) in message and "local folder" in message


def test_a_model_in_the_cache_answers_without_the_hub(place, capsys):
    """The cache's folders as the Hub's client lays them out."""
    cached = Path(os.environ["HF_HOME"]) / "hub" / "models--someone--model"
    shutil.copytree(place / "model", cached / "snapshots" / "0123")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("0123")
    assert run("--model", "someone/model", "--text", "a", "b") == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["label"] in ("equivalent", "not_equivalent") and printed.err == ""
    calibration = cached / "snapshots" / "0123" / "calibration.json"
    calibration.write_text('{"temperature": 1e6}')
    assert run("--model", "someone/model", "--text", "a", "b", "--calibrated") == 0
    assert json.loads(capsys.readouterr().out)["probability_equivalent"] == pytest.approx(0.5, abs=1e-6)
    calibration.unlink()
    assert run("--model", "someone/model", "--text", "a", "b", "--calibrated") == 2
    assert "someone/model has no calibration.json" in capsys.readouterr().err


def test_a_pipe_cannot_be_read_twice(place, capsys):
    os.mkfifo("pipe.jsonl")
    assert run("--model", "model", "--data", "pipe.jsonl", "--output", "answers.jsonl") == 2
    assert "--data pipe.jsonl is not a file: give its content to --data -" in capsys.readouterr().err


def test_help_needs_no_torch():
    code = "import sys\nfrom pairft import predict\ntry: predict.main(['--help'])\nexcept SystemExit: pass\n"
    code += "print([name for name in ('torch', 'datasets', 'numpy', 'transformers') if name in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True, env=os.environ
    )
    assert result.stdout.strip().endswith("[]") and "--text=SENTENCE" in result.stdout


@pytest.mark.slow
@pytest.mark.parametrize("buffered", [True, False])
def test_an_answer_that_nobody_reads(place, buffered):
    """Behind head, which has closed its pipe: no traceback, and the file of answers is whole."""
    words = ["-m", "pairft.predict", "--model", "model", "--data", "pairs.jsonl", "--output", "out.csv"]
    more = {"PYTHONPATH": str(ROOT)} | ({} if buffered else {"PYTHONUNBUFFERED": "1"})
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"} | more
    reading, writing = os.pipe()
    os.close(reading)
    result = subprocess.run([sys.executable, *words], stdout=writing, stderr=subprocess.PIPE, env=env, check=False)
    os.close(writing)
    assert result.returncode == 0
    assert [line.split()[0] for line in result.stderr.decode().splitlines()] == ["note:", "4"]  # "4 rows written …"
    assert len((place / "out.csv").read_text().splitlines()) == 5
