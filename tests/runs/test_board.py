"""The board of a run from the command line, as TensorBoard reads it."""

import math

import pytest
from conftest import read_lines, undone
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout

from pairft.runs.board_layout import CHARTS

OF_CLASSES = {"confusion_matrix", "accuracy_by_length", "confidence_when_right", "confidence_when_wrong",
              "mean_confidence/right", "mean_confidence/wrong", "precision_recall/equivalent",
              "most_confident/text_summary"}  # fmt: skip


def board_of(run):
    """The steps and values of each tag, without the page of hyperparameters."""
    events = EventAccumulator(str(run), size_guidance={"tensors": 0}).Reload()
    tags = [tag for tag in events.Tags()["tensors"] if not tag.startswith("_hparams_")]
    return {tag: [(point.step, point.tensor_proto) for point in events.Tensors(tag)] for tag in tags}


def steps_of(board):
    return {tag: [step for step, _ in points] for tag, points in board.items()}


def numbers(board, beginning):
    return {
        tag: {step: value.float_val[0] for step, value in points}
        for tag, points in board.items()
        if tag.startswith(beginning)
    }


def test_a_resumed_run_has_every_point_once(made, go, tmp_path):
    flags = ("--epochs", 2, "--log-every", 2, "--eval-every", 6, "--save-every", 10)
    run = made(*flags, name="whole")
    whole = board_of(run)
    steps = steps_of(whole)
    assert steps["learning/loss/train"] == steps["update_ratio/layer_01"] == [2, 4, 6, 8, 10, 12, 14, 16]
    evaluated = [6, 12, 16]
    assert all(steps[f"mistakes/{name}"] == evaluated for name in OF_CLASSES)
    assert {tag for tag in steps if tag.startswith("mistakes/")} == {f"mistakes/{name}" for name in OF_CLASSES}
    assert steps["resources/seconds/save"] == [10, 16]
    undone(run, tmp_path / "runs" / "again", 10)
    assert go("--run-name", "again", "--resume") == 0
    again = board_of(tmp_path / "runs" / "again")
    assert steps_of(again) == steps
    for kind in ("learning/", "update_ratio/", "mistakes/mean_confidence/"):
        assert numbers(again, kind) == numbers(whole, kind)
    best = numbers(whole, "learning/metrics_best/")["learning/metrics_best/f1"]
    scores = numbers(whole, "learning/metrics/f1")["learning/metrics/f1"]
    assert [best[step] for step in evaluated] == [max(scores[s] for s in evaluated if s <= step) for step in evaluated]


def test_seconds_and_shares_add_up(made):
    run = made("--epochs", 1, "--log-every", 4)
    board = board_of(run)
    seconds = numbers(board, "resources/seconds/")
    for line in read_lines(run, "train"):
        data, steps = (seconds[f"resources/seconds/{name}"][line["step"]] for name in ("data", "steps"))
        examples = 32 if line["step"] == 4 else 28
        assert data > 0 and steps > 0 and examples / (data + steps) == pytest.approx(line["examples_per_second"])
    assert all(0 < value < 1 for value in numbers(board, "resources/flops_share")["resources/flops_share"].values())
    assert all(0.1 < value < 100 for value in numbers(board, "resources/memory")["resources/memory/process"].values())


def test_the_layout_names_curves_that_are_there(made):
    """Each chart of the page Custom Scalars shows at least one, and both losses are in the first chart."""
    import re

    board = board_of(made("--epochs", 1))
    [(_, value)] = board["custom_scalars__config__"]
    charts = [chart for category in Layout.FromString(value.string_val[0]).category for chart in category.chart]
    assert [chart.title for chart in charts] == [title for part in CHARTS.values() for title in part]
    shown = {
        chart.title: [tag for tag in board if any(re.fullmatch(pattern, tag) for pattern in chart.multiline.tag)]
        for chart in charts
    }
    assert all(shown.values()), shown
    assert sorted(next(iter(shown.values()))) == ["learning/loss/train", "learning/loss/validation"]


@pytest.mark.slow
def test_what_is_not_known_is_left_out(made):
    """With frozen layers no share of FLOPs; only trained layers have ratios."""
    frozen = board_of(made("--max-steps", 2, "--freeze", "embeddings,layers.0", name="frozen"))
    assert {tag for tag in frozen if tag.startswith("update_ratio")} == {"update_ratio/layer_02", "update_ratio/head"}
    assert "resources/flops_share" not in frozen and "resources/memory/process" in frozen
    adapters = board_of(made("--max-steps", 2, "--lora-rank", 2, name="lora"))
    assert {tag for tag in adapters if tag.startswith("update_ratio")} >= {"update_ratio/layer_01", "update_ratio/head"}
    assert "update_ratio/embeddings" not in adapters and "resources/flops_share" not in adapters


def test_a_step_that_the_gradient_scaler_skips_has_no_ratio(made, monkeypatch):
    from pairft.runs.measures import Measures

    plain = Measures.update_ratios

    def skipped(self, lr):
        if self.learner.state.step == 2:
            self.learner.state.bad_steps += 1
        found = plain(self, lr)
        self.learner.state.bad_steps.zero_()
        return found

    monkeypatch.setattr(Measures, "update_ratios", skipped)
    board = board_of(made("--max-steps", 3, "--log-every", 1))
    assert steps_of(board)["update_ratio/head"] == [1, 3]
    assert all(math.isfinite(value) for value in numbers(board, "update_ratio")["update_ratio/head"].values())


def test_a_run_that_has_not_finished_is_on_the_page_of_hyperparameters(made, tmp_path):
    run = made("--epochs", 1, "--eval-every", 4)
    events = EventAccumulator(str(run)).Reload()
    tags = [tag for tag in events.Tags()["tensors"] if tag.startswith("_hparams_")]
    assert tags == ["_hparams_/experiment", "_hparams_/session_start_info", "_hparams_/session_end_info"]
    content = b"".join(file.read_bytes() for file in run.glob("events.out.*"))
    first, last = content.index(b"session_start_info"), content.index(b"session_end_info")
    assert first < content.index(b"mistakes/confusion_matrix") < last
