"""Datasets on the Hub: their configurations, revisions and splits, and those that one may not read."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, environment, some_pairs, write_rows

from pairft.config import Config
from pairft.data import hub
from pairft.data.pairs import load_pairs
from pairft.errors import UserError

SHARED = Path(ROOT).parent / "shared"
needs_stand_in = pytest.mark.skipif(not (SHARED / "tools").is_dir(), reason=f"there is no stand-in Hub in {SHARED}")
TRAIN = "{split: train, path: long/train.jsonl}"
DEV = [f"{{split: {name}, path: long/dev.jsonl}}" for name in ("dev", "val")]
CONFIGS = f"""---
configs:
- config_name: short
  data_files: [{{split: train, path: short/train.jsonl}}]
- config_name: long
  data_files: [{TRAIN}, {DEV[0]}]
- config_name: doubled
  data_files: [{TRAIN}, {", ".join(DEV)}]
- config_name: matched
  data_files: [{TRAIN}, {{split: validation_matched, path: long/dev.jsonl}}]
---
"""
# Several runs in one process, which imports the client libraries once.
RUNS = """
import json, sys, train
for name, flags in json.loads(sys.argv[1]).items():
    code = train.main([*flags, "--run-name", name])
    sys.stderr.write(f"\\0{code}\\0")
"""


def outcomes(
    runs: dict[str, list[str]], folder: Path, model: Path, env: dict[str, str], before: Sequence[str] = ()
) -> dict[str, tuple[int, str]]:
    """The exit code and the messages of train.py with each of these flags."""
    common = ["--model", str(model), "--task", "mrpc", "--device", "cpu", "--max-steps", "1"]
    given = json.dumps({name: [*common, *flags] for name, flags in runs.items()})
    command = [*before, sys.executable, "-c", RUNS, given]
    env = {**env, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=env, timeout=300, check=False)
    assert result.returncode == 0, result.stderr
    parts = result.stderr.split("\0")
    return {name: (int(code), said) for name, said, code in zip(runs, parts[::2], parts[1::2], strict=False)}


@pytest.mark.slow
@needs_stand_in
def test_configurations_and_revisions(tiny_model, tmp_path):
    held = tmp_path / "root" / "datasets" / "some" / "pairs"
    write_rows(held / "short" / "train.jsonl", some_pairs("train", 30))
    write_rows(held / "long" / "train.jsonl", some_pairs("train", 40))
    write_rows(held / "long" / "dev.jsonl", some_pairs("validation", 10))
    (held / "README.md").write_text(CONFIGS)
    options = ("--root", tmp_path / "root", "--hf-home", tmp_path / "hf", "--log", tmp_path / "log")
    before = (sys.executable, *map(str, (SHARED / "tools" / "local_hub.py", *options)), "--")
    flags = {
        "short": ["--data-config", "short", "--revision", "main"],
        "long": ["--data-config", "long"],
        "none": [],
        "unknown": ["--data-config", "shrot"],
        "doubled": ["--data-config", "doubled"],
        "matched": ["--data-config", "matched"],
        "revision": ["--data-config", "long", "--revision", "v9"],
    }
    runs = {name: ["--data", "some/pairs", *some] for name, some in flags.items()}
    found = outcomes(runs, tmp_path, tiny_model, dict(os.environ), before)
    assert [code for code, _ in found.values()] == [0, 0, 2, 2, 2, 2, 2], found
    said = {name: text for name, (_, text) in found.items()}
    assert "some/pairs has no validation split: 3 of its 30" in said["short"] and "27 pairs, 1 steps" in said["short"]
    assert "no validation split" not in said["long"] and "40 pairs, 1 steps" in said["long"]
    assert "has several configurations: choose one with --data-config: short, long, doubled, matched" in said["none"]
    assert "no configuration 'shrot': choose one with --data-config: short, long, doubled, matched" in said["unknown"]
    assert "two validation splits, dev and val" in said["doubled"]
    assert "but validation_matched: use --task mnli, or save the splits to files" in said["matched"]
    assert "--data some/pairs has no branch, tag or commit 'v9': name another with --revision" in said["revision"]
    assert sorted(path.name for path in (tmp_path / "runs").iterdir() if path.is_dir()) == ["long", "short"]
    offline = {f"offline {name}": runs[name] for name in ("short", "long")}
    found = outcomes(offline, tmp_path, tiny_model, environment(tmp_path / "hf", None, HF_HUB_OFFLINE="1"))
    assert [code for code, _ in found.values()] == [2, 0], found
    wanted = "error: --revision main can't be checked without the Hub: restore the connection, or leave it out\n"
    assert found["offline short"][1] == wanted


def test_the_configuration_of_a_task_is_that_of_glue_only(tmp_path, monkeypatch):
    """Another dataset, prepared under a name of its own, is found in the cache whatever the task."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path))
    for data, prepared in (("nyu-mll/glue", "mrpc"), ("some/pairs", "default")):
        folder = tmp_path / data.replace("/", "___") / prepared / "0.0.0" / "abc"
        folder.mkdir(parents=True)
        (folder / "train.arrow").touch()
    given = {"model": "builtin", "task": "mrpc"}
    for data, name in (("glue", None), ("nyu-mll/glue", None), ("some/pairs", None), ("some/pairs", "default")):
        config = Config(data=data, data_config=name, **given)
        assert hub.resolve_sources(config, given) == config
    for data, more in (("nyu-mll/glue", {"task": "rte"}), ("some/pairs", {"data_config": "mrpc"})):
        with pytest.raises(UserError, match="not in the cache"):
            hub.resolve_sources(Config(data=data, **{**given, **more}), given)


@pytest.mark.parametrize("resume", [False, True])
def test_a_revision_needs_the_hub_but_not_on_a_resume(resume, tmp_path, monkeypatch):
    """A resume compares the content of the data with that of the run."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path))
    folder = tmp_path / "nyu-mll___glue" / "mrpc" / "0.0.0" / "abc"
    folder.mkdir(parents=True)
    (folder / "glue-train.arrow").touch()
    config = Config(model="builtin", revision="v1", resume=resume)
    if resume:
        assert hub.resolve_sources(config, {}) == config
        return
    with pytest.raises(UserError, match="--revision v1 can't be checked without the Hub: restore the connection"):
        hub.resolve_sources(config, {})
    with pytest.raises(UserError, match="--revision v1 can't be checked without the Hub: restore the connection"):
        load_pairs(config)


@pytest.fixture(scope="module")
def closed_hub() -> Iterator[str]:
    """A Hub that answers as the real one does for a dataset that one may not read: its name says why."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            gated = "gated" in self.path
            self.send_response(200 if self.path == "/" else 403 if gated else 401)
            self.send_header("X-Error-Code", "GatedRepo" if gated else "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *about: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_dataset_that_one_may_not_read(closed_hub, tiny_model, tmp_path):
    names = {"gated": "some/gated", "private": "some/private"}
    runs = {name: ["--data", data] for name, data in names.items()}
    found = outcomes(runs, tmp_path, tiny_model, environment(tmp_path / "hf", closed_hub))
    for name, (code, message) in found.items():
        assert code == 2 and message.startswith("error: ") and message.count("\n") == 1, message
        assert f"{closed_hub}/datasets/{names[name]}" in message and "`hf auth login`" in message
    assert "is gated: ask for access at" in found["gated"][1] and "private" in found["private"][1]
