"""--push-to-hub and python -m pairft.push: the real client uploads to the stand-in Hub of ../shared, where that is."""

import importlib.util
import json
import os
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import ROOT, environment, lines_with, undone, write_tiny_model
from huggingface_hub import ModelCard

from pairft import push
from pairft.config import Config
from pairft.runs.push import check_config

LOCAL_HUB = ROOT.parent / "shared" / "tools" / "local_hub.py"
SHORT = ("--max-steps", "2", "--device", "cpu", "--run-name", "a")

needs_hub = pytest.mark.skipif(not LOCAL_HUB.is_file(), reason=f"there is no stand-in Hub in {LOCAL_HUB.parent}")


@pytest.fixture
def stand_in(tmp_path) -> Iterator[Any]:
    """The stand-in Hub in a thread: its module as `tools`, its address as `url`, its folder as `root`, and the requests
    for new repositories as `created`. It has the model me/tiny, whose licence is MIT."""
    spec = importlib.util.spec_from_file_location("local_hub", LOCAL_HUB)
    assert spec and spec.loader
    tools = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tools)
    created = []

    def create_repo(handler: Any, own: Any = tools.Handler.create_repo) -> Any:
        created.append(json.load(handler.body))
        handler.body.seek(0)
        return own(handler)

    tools.Handler.create_repo = create_repo
    model = write_tiny_model(tmp_path / "root" / "models" / "me" / "tiny")
    (model / "README.md").write_text("---\nlicense: mit\n---\n# Tiny\n")
    options = {"root": tmp_path / "root", "port": 0, "fail_rate": 0.0, "fail_seed": "0", "log": None}
    server = tools.Server(SimpleNamespace(**options))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield SimpleNamespace(tools=tools, url=server.url, root=tmp_path / "root" / "models", created=created)
    server.shutdown()
    server.server_close()


def run(tmp_path: Path, url: str, *command: Any, **env: str) -> subprocess.CompletedProcess:
    """Run a Python command in tmp_path, with a token unless HF_TOKEN is given."""
    variables = {"HF_TOKEN": "local", "HF_HUB_DISABLE_XET": "1", "PYTHONPATH": str(ROOT), **env}
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=tmp_path,
        env=environment(tmp_path / "hf", url, **variables),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def train(tmp_path: Path, url: str, *flags: Any, **env: str) -> subprocess.CompletedProcess:
    return run(tmp_path, url, ROOT / "train.py", *SHORT, *flags, **env)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def is_private(request: dict[str, Any]) -> bool:
    """Versions of the client before 2 say it in another way."""
    return request.get("visibility") == "private" or request.get("private") is True


@needs_hub
def test_push_to_hub_arrives(stand_in, tmp_path, pairs_folder):
    """A private repository with the files of best/, whose card has the base model's name and licence."""
    result = train(tmp_path, stand_in.url, "--model", "me/tiny", "--data", pairs_folder, "--push-to-hub", "local/out")
    assert result.returncode == 0, result.stderr
    assert contents(stand_in.root / "local" / "out") == contents(tmp_path / "runs" / "a" / "best")
    [wanted] = stand_in.created
    assert (wanted["name"], wanted["organization"]) == ("out", "local") and is_private(wanted)
    announced, done = lines_with("upload", result)
    assert announced == f"after training, best/ will be uploaded to {stand_in.url}/local/out"
    assert done == f"uploaded: {stand_in.url}/local/out"
    data = ModelCard.load(stand_in.root / "local" / "out" / "README.md").data
    assert (data.base_model, data.license) == ("me/tiny", "mit")


@needs_hub
@pytest.mark.slow
def test_nothing_is_uploaded_without_being_asked(stand_in, tmp_path, pairs_folder):
    assert train(tmp_path, stand_in.url, "--model", "me/tiny", "--data", pairs_folder).returncode == 0
    assert not stand_in.created and [path.name for path in stand_in.root.iterdir()] == ["me"]


@needs_hub
@pytest.mark.slow
def test_a_failed_upload_leaves_a_finished_run_and_says_how_to_repeat_it(stand_in, tmp_path, pairs_folder, tiny_model):
    """The Hub refuses the commit. The command that the warning names then uploads the model."""

    def refuse(handler: Any) -> None:
        raise stand_in.tools.HubError(403, "You don't have the rights to push here")

    own, stand_in.tools.Handler.commit = stand_in.tools.Handler.commit, refuse
    result = train(tmp_path, stand_in.url, "--model", tiny_model, "--data", pairs_folder, "--push-to-hub", "them/out")
    assert result.returncode == 0 and not lines_with("traceback", result), result.stderr
    assert (tmp_path / "runs" / "a" / "results.json").is_file()
    assert "local, whose access token is used, may not be allowed to write to them" in result.stderr
    [failed] = lines_with("was not uploaded", result)
    assert "the rights to push here" in failed and "hf auth login" in failed
    [later] = lines_with("upload it later", result)
    stand_in.tools.Handler.commit = own
    command = later.partition(": python ")[2].split()
    assert command == ["-m", "pairft.push", "--model", "runs/a/best", "--name", "them/out"]
    result = run(tmp_path, stand_in.url, *command)
    assert result.returncode == 0 and result.stdout == f"uploaded: {stand_in.url}/them/out\n", result.stderr
    assert contents(stand_in.root / "them" / "out") == contents(tmp_path / "runs" / "a" / "best")
    assert f"note: {stand_in.url}/them/out existed before and stays public" in result.stderr  # the stand-in's all are


@needs_hub
def test_public_arrives(stand_in, tmp_path, made):
    folder = made("--max-steps", 2) / "best"
    result = run(tmp_path, stand_in.url, "-m", "pairft.push", "--model", folder, "--name", "out", "--public")
    assert result.returncode == 0, result.stderr
    assert not is_private(stand_in.created[0])
    assert contents(stand_in.root / "local" / "out") == contents(folder)  # in the token's account


@needs_hub
def test_predict_reads_a_pushed_model_as_the_folder(stand_in, tmp_path, made, pairs_folder, wild_model):
    """From pairft.json and calibration.json on the Hub: columns, length, what the one logit is of, temperature."""
    folder = made("--model", wild_model, "--max-steps", 2, "--one-logit", "--max-length", 20) / "best"
    shutil.copytree(folder, stand_in.root / "local" / "out")
    answers = []
    for model, output in (("local/out", "hub.csv"), (folder, "folder.csv")):
        flags = ("--model", model, "--data", pairs_folder / "test.jsonl", "--output", output, "--device", "cpu")
        result = run(tmp_path, stand_in.url, "-m", "pairft.predict", *flags, "--calibrated")
        assert result.returncode == 0, result.stderr
        answers.append((tmp_path / output).read_text())
    assert answers[0] == answers[1] and "probability_not_equivalent" in answers[0]


@needs_hub
@pytest.mark.parametrize("case", ["no token", "read-only", "refused"])
def test_a_token_that_cannot_write_ends_before_training(case, stand_in, tmp_path, tiny_model, pairs_folder):
    answers, whoami = stand_in.tools.CONSTANT_ANSWERS, "/api/whoami-v2"
    if case == "read-only":
        answers[whoami] = answers[whoami] | {"auth": {"accessToken": {"role": "read"}}}
    if case == "refused":
        answers.pop(whoami)

        def refuse(handler: Any, own: Any = stand_in.tools.Handler._route) -> None:
            if handler.url.path == whoami:
                raise stand_in.tools.HubError(401, "Invalid user token.")
            own(handler)

        stand_in.tools.Handler._route = refuse
    env = {"HF_TOKEN": ""} if case == "no token" else {}
    flags = ("--model", tiny_model, "--data", pairs_folder, "--push-to-hub", "out")
    result = train(tmp_path, stand_in.url, *flags, **env)
    assert result.returncode == 2 and not lines_with("traceback", result), result.stderr
    [line] = result.stderr.splitlines()
    wanted = {"no token": "there is no access token", "read-only": "can only read", "refused": "Invalid user token"}
    assert wanted[case] in line and "--push-to-hub out" in line and "hf auth login" in line
    assert not [*(tmp_path / "runs").iterdir()]


@pytest.mark.parametrize("where", ["unreachable", "offline"])
def test_without_the_hub_nothing_is_trained(where, closed, tmp_path, tiny_model, pairs_folder):
    env = {"HF_HUB_OFFLINE": "1"} if where == "offline" else {}
    flags = ("--model", tiny_model, "--data", pairs_folder, "--push-to-hub", "out")
    result = train(tmp_path, closed, *flags, **env)
    assert result.returncode == 2, result.stderr
    [line] = result.stderr.splitlines()
    assert ("HF_HUB_OFFLINE is set" if where == "offline" else f"{closed} can't be reached") in line
    assert "leave the flag out and upload later" in line and not [*(tmp_path / "runs").iterdir()]


@pytest.mark.parametrize("name", ["a/b/c", "", "/tmp/x", "a--b", ".hidden", "a b", "x" * 97, "a.git"])
def test_a_name_that_the_hub_refuses_is_refused_first(name, go, tmp_path, capsys):
    assert go(f"--push-to-hub={name}") == 2
    assert f"--push-to-hub is {name!r}, but should be NAME or ORGANISATION/NAME" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
    (tmp_path / "config.json").touch()
    (tmp_path / "model.safetensors").touch()
    assert push.main(["--model", str(tmp_path), f"--name={name}"]) == 2
    assert f"--name is {name!r}, but should be" in capsys.readouterr().err


@pytest.mark.parametrize("flags", [("--seeds", "1,2"), ("--folds", "2")])
def test_one_of_several_models_is_pushed_by_hand(flags, go, capsys):
    assert go("--push-to-hub", "out", *flags) == 2
    assert "--seeds and --folds train several" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [
        (("--model", "nowhere", "--name", "out"), "--model nowhere doesn't exist: name a run's best or last folder"),
        (("--model", ".", "--name", "out"), "--model . has no config.json"),
        (("--name", "out"), "--model"),
        (("--model", ".", "--name", "out", "--private"), "unrecognized arguments: --private"),
    ],
)
def test_mistakes_in_the_command(flags, wanted, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert push.main(flags) == 2
    assert wanted in capsys.readouterr().err


def test_a_finished_run_is_uploaded_by_hand(go, made, capsys):
    run_dir = made("--max-steps", 2)
    assert go("--resume", "--run-name", "a", "--push-to-hub", "out") == 0
    said = capsys.readouterr().err
    command = shlex.join(["--model", os.path.relpath(run_dir / "best"), "--name", "out"])
    assert "without effect: --push-to-hub" in said and f"upload its model with: python -m pairft.push {command}" in said


def test_a_run_that_ended_while_it_uploaded_says_how_to_do_it(go, made, tmp_path, capsys):
    """It is finished, so that --resume doesn't train, and so doesn't upload."""
    undone(made("--max-steps", 8, "--save-every", 4), tmp_path / "runs" / "b", 4)
    assert go("--resume", "--run-name", "b", "--push-to-hub", "out") == 0
    for flags in ((), ("--push-to-hub", "out")):
        capsys.readouterr()
        assert go("--resume", "--run-name", "b", *flags) == 0
        assert "--name out" in capsys.readouterr().err


def test_a_resumed_run_trains_even_if_it_cannot_upload(go, made, tmp_path, capsys):
    """The tests forbid the Hub. A new run would be an error."""
    undone(made("--max-steps", 8, "--save-every", 4), tmp_path / "runs" / "b", 4)
    assert go("--resume", "--run-name", "b", "--push-to-hub", "out") == 0
    said = capsys.readouterr().err
    assert "warning: --push-to-hub out: HF_HUB_OFFLINE is set" in said
    assert "best was not uploaded: HF_HUB_OFFLINE is set" in said and "python -m pairft.push --model" in said
    assert (tmp_path / "runs" / "b" / "results.json").is_file()
    check_config(Config(push_to_hub="out", resume=True))
    check_config(Config())
