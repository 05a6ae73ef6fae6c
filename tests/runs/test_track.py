"""--track: what MLflow, trackio and Weights & Biases hold of a run. Each is tested where it is installed."""

import json
import sqlite3
from pathlib import Path

import pytest
from conftest import read_lines, same_weights, undone
from test_board import board_of, numbers

from pairft.runs import track

FLAGS = ("--epochs", 2, "--log-every", 2, "--eval-every", 3, "--save-every", 10)


@pytest.fixture(params=["mlflow", "trackio"])
def tracker(request, tmp_path, monkeypatch):
    """A tracker with a local store of its own: its name, and a function that reads from the store {run id: {tag:
    [(step, value)]}}."""
    pytest.importorskip(request.param)
    store = tmp_path / "store.db"
    if request.param == "mlflow":
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{store}")
        read = of_mlflow
    else:
        # trackio reads TRACKIO_DIR once, when it is imported.
        from trackio import sqlite_storage, utils

        store = tmp_path / "trackio" / "pairft.db"
        for module in (utils, sqlite_storage):
            monkeypatch.setattr(module, "TRACKIO_DIR", store.parent)
        read = of_trackio
    return request.param, lambda: read(store)


def of_mlflow(store: Path):
    from mlflow import MlflowClient

    client = MlflowClient()
    experiment = client.get_experiment_by_name("pairft")
    found = {}
    for run in client.search_runs([experiment.experiment_id]):
        histories = {tag: client.get_metric_history(run.info.run_id, tag) for tag in run.data.metrics}
        found[run.info.run_id] = {tag: [(m.step, m.value) for m in some] for tag, some in histories.items()}
        assert run.data.params["lr"] == "5e-05" and run.data.params["batch_size"] == "8"
        assert run.info.status == "FINISHED"
    return found


def of_trackio(store: Path):
    found: dict = {}
    with sqlite3.connect(store) as database:
        for run, step, metrics in database.execute("select run_name, step, metrics from metrics order by id"):
            for tag, value in json.loads(metrics).items():
                found.setdefault(run, {}).setdefault(tag, []).append((step, value))
        for (config,) in database.execute("select config from configs"):
            assert json.loads(config)["lr"] == 5e-05
    return found


def test_track_arrives(tracker, made, go, tmp_path):
    """Every point once, though the run is killed and resumed; and the weights are those of a run without --track."""
    name, read = tracker
    made(*FLAGS, name="plain")
    run = made(*FLAGS, "--track", name)
    assert same_weights(run, tmp_path / "runs" / "plain")
    about = json.loads((run / track.FILE).read_text())
    assert (about["tracker"], about["step"], about["split"]) == (name, 16, "validation")
    undone(run, tmp_path / "runs" / "again", 10)
    assert go("--run-name", "again", "--resume") == 0
    [(run_id, curves)] = read().items()
    assert run_id == about["id"]
    board = numbers(board_of(run), "learning/")
    for tag in ("learning/loss/train", "learning/loss/validation", "learning/metrics/f1", "learning/optimizer/lr"):
        points = dict(curves[tag])
        assert len(points) == len(curves[tag]) and points == pytest.approx(board[tag], rel=1e-6), tag
    assert {line["step"] for line in read_lines(run, "train")} == set(dict(curves["update_ratio/head"]))


def test_a_run_that_was_cut_off_sends_the_rest_when_it_is_resumed(tracker, made, go, tmp_path):
    name, read = tracker
    run = made(*FLAGS, "--track", name)
    undone(run, tmp_path / "runs" / "again", 10)
    about = tmp_path / "runs" / "again" / track.FILE
    about.write_text(json.dumps({"tracker": name, "id": None, "step": 12, "split": "train"}))
    assert go("--run-name", "again", "--resume") == 0
    first, second = (some for _, some in sorted(read().items(), key=lambda item: -len(item[1]["learning/loss/train"])))
    assert [step for step, _ in first["learning/loss/train"]] == [2, 4, 6, 8, 10, 12, 14, 16]
    assert [step for step, _ in second["learning/loss/train"]] == [14, 16]
    assert [step for step, _ in second["learning/loss/validation"]] == [12, 15, 16]


def test_wandb_keeps_the_id_of_a_resumed_run(made, go, tmp_path, monkeypatch):
    """Offline, where it keeps everything in the run's directory."""
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    run = made(*FLAGS, "--track", "wandb")
    run_id = json.loads((run / track.FILE).read_text())["id"]
    undone(run, tmp_path / "runs" / "again", 10)
    assert go("--run-name", "again", "--resume") == 0
    offline = list((tmp_path / "runs" / "again" / "wandb").glob(f"offline-run-*-{run_id}/run-{run_id}.wandb"))
    assert len(offline) == 2 and any(b"learning/metrics/f1" in file.read_bytes() for file in offline)
    assert json.loads((tmp_path / "runs" / "again" / track.FILE).read_text())["id"] == run_id


@pytest.mark.parametrize("name", ["wandb", "mlflow", "trackio"])
def test_a_missing_package_is_named(name, go, capsys, monkeypatch):
    from pairft import checks

    installed = checks.find_spec
    monkeypatch.setattr(checks, "find_spec", lambda module: None if module == name else installed(module))
    assert go("--max-steps", 1, "--track", name) == 2
    assert f"--track {name} needs {name}: pip install 'pairft[{name}]'" in capsys.readouterr().err


class Refusing:
    """A tracker whose server is gone after a number of points."""

    def __init__(self, points):
        self.left, self.got, self.ended = points, [], []

    def start(self, name, run_id, settings, folder):
        if self.left < 0:
            raise ConnectionError("no route to host\nand more")
        self.got.append((name, run_id, settings["lr"], folder.name))
        return track.Session("the-id", self.log, self.ended.append)

    def log(self, scalars, step):
        if not self.left:
            raise ConnectionError("no route to host")
        self.left -= 1
        self.got.append(step)


@pytest.fixture
def refusing(monkeypatch):
    def use(points):
        from pairft import checks

        tracker, installed = Refusing(points), checks.find_spec
        monkeypatch.setitem(track.TRACKERS, "mlflow", tracker.start)
        monkeypatch.setattr(checks, "find_spec", lambda module: module == "mlflow" or installed(module))
        return tracker

    return use


def test_a_tracker_that_fails_later_is_warned_of_once(refusing, made, capsys):
    tracker = refusing(3)
    run = made("--epochs", 1, "--log-every", 1, "--track", "mlflow")
    said = capsys.readouterr().err
    assert said.count("warning: --track mlflow has failed (ConnectionError: no route to host); training continues") == 1
    assert tracker.got == [("a", None, 5e-05, "a"), 1, 2, 3] and tracker.ended == []
    assert json.loads((run / track.FILE).read_text())["step"] == 3
    assert (run / "results.json").exists()


def test_a_tracker_that_does_not_start_is_an_error_that_leaves_nothing(refusing, go, tmp_path, capsys):
    refusing(-1)
    assert go("--epochs", 1, "--track", "mlflow", "--run-name", "a") == 2
    assert "--track mlflow can't start: ConnectionError: no route to host; fix that" in capsys.readouterr().err
    assert not (tmp_path / "runs" / "a").exists()


def test_the_tracker_hears_of_the_end_and_of_each_seed(refusing, made):
    tracker = refusing(1000)
    made("--epochs", 1, "--seeds", "1,2", "--track", "mlflow", name="b")
    assert [got[0] for got in tracker.got if isinstance(got, tuple)] == ["b-seed-1", "b-seed-2"]
    assert tracker.ended == [True, True]
