"""Scores of probabilities and the temperature, against scikit-learn and values computed by hand; the fit of a run."""

import inspect
import json
import math

import numpy
import pytest
from conftest import some_pairs, write_rows
from scipy.special import expit, softmax
from sklearn.metrics import brier_score_loss, f1_score, log_loss
from sklearn.model_selection import KFold
from test_predict import logits_of

from pairft.tasks import MULTI_LABEL, REGRESSION, SINGLE_LABEL
from pairft.training import calibration
from pairft.training.calibration import calibration_of, expected_calibration_error, fit_temperature, probability_scores
from pairft.training.evaluation import EvalOutput

NAMES = ("no", "yes")


def drawn(rows: int, classes: int, seed: int = 0) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Over-confident logits, and labels."""
    rng = numpy.random.default_rng(seed)
    labels = rng.integers(classes, size=rows)
    logits = 3 * rng.normal(size=(rows, classes)) + 3 * (labels[:, None] == numpy.arange(classes))
    return logits.astype(numpy.float32), labels


def output_of(logits: numpy.ndarray, labels: numpy.ndarray) -> EvalOutput:
    return EvalOutput(logits, numpy.zeros(len(logits), numpy.float32), labels)


def two_classes(*probabilities: float) -> numpy.ndarray:
    return numpy.array([[1 - value, value] for value in probabilities])


def test_calibration_error_by_hand():
    """Bins of 1/15: 0.9 and 0.92 share (13/15, 14/15], 0.95 is above, 0.6 = 9/15 is the upper end of its bin."""
    probabilities = two_classes(0.9, 0.92, 0.08, 0.05, 0.6, 0.4)
    labels = numpy.array([1, 0, 0, 0, 1, 1])
    wanted = abs(2 - (0.9 + 0.92 + 0.92)) / 6 + abs(1 - 0.95) / 6 + abs(1 - (0.6 + 0.6)) / 6
    assert expected_calibration_error(probabilities, labels) == pytest.approx(wanted, abs=1e-12)
    assert expected_calibration_error(two_classes(0.6, 0.61), numpy.array([0, 1])) == pytest.approx((0.6 + 0.39) / 2)
    assert expected_calibration_error(two_classes(1.0, 0.0), numpy.array([1, 0])) == 0
    three = numpy.array([[0.5, 0.3, 0.2], [0.5, 0.2, 0.3], [1 / 3, 1 / 3, 1 / 3]])
    assert expected_calibration_error(three, numpy.array([0, 1, 0])) == pytest.approx((0 + 2 / 3) / 3)


def test_calibration_error_is_that_of_guo_et_al():
    """Their definition: the bins' accuracies and confidences, weighted by their sizes."""
    logits, labels = drawn(500, 4)
    probabilities = softmax(logits.astype(float), axis=1)
    confidence, right, wanted = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels, 0.0
    for low, high in zip(numpy.arange(15) / 15, numpy.arange(1, 16) / 15, strict=True):
        chosen = (confidence > low) & (confidence <= high)
        if chosen.any():
            wanted += chosen.mean() * abs(right[chosen].mean() - confidence[chosen].mean())
    assert expected_calibration_error(probabilities, labels) == pytest.approx(wanted, abs=1e-12)
    assert wanted > 0.1


def test_brier_score_and_log_loss_by_hand():
    logits = numpy.log(two_classes(0.9, 0.4))
    found = probability_scores(logits, numpy.array([1, 1]))
    assert found["brier"] == pytest.approx((0.01 + 0.36) / 2)
    assert found["log_loss"] == pytest.approx(-(math.log(0.9) + math.log(0.4)) / 2)
    three = probability_scores(numpy.log([[0.5, 0.3, 0.2]]), numpy.array([1]))
    assert three["brier"] == pytest.approx(0.25 + 0.49 + 0.04)
    assert three["log_loss"] == pytest.approx(-math.log(0.3))


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_brier_score_and_log_loss_equal_scikit_learn(classes):
    logits, labels = drawn(200, classes)
    found, probabilities = probability_scores(logits, labels), softmax(logits.astype(float), axis=1)
    assert found["log_loss"] == pytest.approx(log_loss(labels, probabilities), abs=1e-12)
    if classes == 2:
        assert found["brier"] == pytest.approx(brier_score_loss(labels, probabilities[:, 1]), abs=1e-12)
    elif "labels" in inspect.signature(brier_score_loss).parameters:  # scikit-learn 1.7 and later
        assert found["brier"] == pytest.approx(brier_score_loss(labels, probabilities), abs=1e-12)


@pytest.mark.parametrize("labels", [[0, 0, 0], [1, 1, 1]])
def test_one_class_alone_has_scores(labels, recwarn):
    found = probability_scores(numpy.log(two_classes(0.9, 0.4, 0.5)), numpy.array(labels))
    errors = numpy.array(labels) - [0.9, 0.4, 0.5]
    assert found["brier"] == pytest.approx((errors**2).mean())
    assert found["log_loss"] == pytest.approx(-numpy.log(1 - numpy.abs(errors)).mean())
    assert not recwarn.list


@pytest.mark.parametrize(("margin", "right"), [(4.0, 3), (0.5, 3), (-2.0, 1)])
def test_the_temperature_by_hand(margin, right):
    """All margins are equal: then it makes the probability of the predicted class the accuracy, 3/4."""
    logits = numpy.array([[0.0, margin]] * 4, numpy.float32)
    labels = numpy.array([1] * right + [0] * (4 - right))
    assert fit_temperature(logits, labels) == pytest.approx(abs(margin) / math.log(3), rel=1e-6)


@pytest.mark.parametrize("classes", [2, 4])
def test_the_temperature_equals_that_of_scikit_learn(classes):
    sklearn_calibration = pytest.importorskip("sklearn.calibration")
    if not hasattr(sklearn_calibration, "_TemperatureScaling"):
        pytest.skip("scikit-learn before 1.8")
    logits, labels = drawn(300, classes)
    wanted = 1 / sklearn_calibration._TemperatureScaling().fit(logits.astype(float), labels).beta_
    assert fit_temperature(logits, labels) == pytest.approx(float(wanted), rel=1e-6)
    assert fit_temperature(logits, labels) == fit_temperature(logits, labels)


def test_the_temperature_minimises_scikit_learns_log_loss():
    logits, labels = drawn(300, 3)
    best = fit_temperature(logits, labels)

    def at(temperature: float) -> float:
        return log_loss(labels, softmax(logits / temperature, axis=1))

    assert best > 1.5 and at(best) < at(1.0) - 0.05
    assert all(at(best) < at(best * factor) for factor in (0.5, 0.9, 0.999, 1.001, 1.1, 2))


def test_temperatures_are_bounded():
    right = numpy.array([[0.0, 3.0], [500.0, 0.0], [1.0, 1.0]], numpy.float32)
    assert fit_temperature(right, numpy.array([1, 0, 0])) == 1.0  # no mistake
    assert fit_temperature(right, numpy.array([0, 1, 0])) == pytest.approx(calibration.TEMPERATURES[1], rel=1e-6)
    tiny = numpy.array([[0.0, 0.001]] * 4, numpy.float32)
    assert fit_temperature(tiny, numpy.array([1, 1, 1, 0])) == pytest.approx(calibration.TEMPERATURES[0], rel=1e-6)
    huge = numpy.array([[0.0, 1e30], [0.0, 1e30], [0.0, 1e30]], numpy.float32)
    assert numpy.isfinite(fit_temperature(huge, numpy.array([1, 1, 0])))


def test_scores_after_the_fit_are_those_of_rows_that_it_has_not_seen():
    """All margins are 4, so the temperature of each fold is 4 over the log odds of the other folds' accuracy."""
    labels = numpy.array([1] * 29 + [0] * 11)
    found = calibration_of(output_of(numpy.array([[0.0, 4.0]] * 40, numpy.float32), labels), SINGLE_LABEL, NAMES, 1)
    probabilities = numpy.empty(40)
    for others, fold in KFold(5, shuffle=True, random_state=0).split(labels):
        probabilities[fold] = labels[others].mean()  # what that temperature makes of the margin
    assert found["after"]["log_loss"] == pytest.approx(log_loss(labels, probabilities), abs=1e-6)
    assert found["after"]["brier"] == pytest.approx(brier_score_loss(labels, probabilities), abs=1e-6)
    assert found["temperature"] == pytest.approx(4 / math.log(29 / 11), rel=1e-6)
    assert found["before"] == probability_scores(numpy.array([[0.0, 4.0]] * 40), labels)
    on_the_same_rows = probability_scores(numpy.array([[0.0, math.log(29 / 11)]] * 40), labels)
    assert found["before"]["log_loss"] > found["after"]["log_loss"] > on_the_same_rows["log_loss"]


def test_multi_label_rows_are_a_decision_for_each_label():
    logits, _ = drawn(50, 3)
    labels = (numpy.random.default_rng(1).random((50, 3)) < expit(logits / 2)).astype(numpy.float32)
    found = calibration_of(output_of(logits, labels), MULTI_LABEL, ("a", "b", "c"), None)
    assert "thresholds" not in found and found["rows"] == 50
    probabilities = expit(logits.astype(float)).ravel()
    assert found["before"]["log_loss"] == pytest.approx(log_loss(labels.ravel(), probabilities), abs=1e-12)
    assert found["before"]["brier"] == pytest.approx(brier_score_loss(labels.ravel(), probabilities), abs=1e-12)
    flat = numpy.stack([numpy.zeros(150), logits.ravel()], axis=1)
    assert found["temperature"] == fit_temperature(flat, labels.ravel().astype(int))
    assert 1.2 < found["temperature"] < 3.5 and found["after"]["log_loss"] < found["before"]["log_loss"]


def test_the_positive_class_of_a_task_whose_metrics_have_none():
    """As --task rte, whose metric is accuracy."""
    logits, labels = drawn(200, 2)
    found = calibration_of(output_of(logits, labels), SINGLE_LABEL, ("entailment", "not_entailment"), None)
    assert found["positive_class"] == "entailment"
    assert found["thresholds"] == calibration_of(output_of(logits, labels), SINGLE_LABEL, NAMES, 0)["thresholds"]
    assert found["thresholds"]["f1"]["before"] == pytest.approx(f1_score(labels == 0, logits[:, 0] >= logits[:, 1]))


def test_there_is_nothing_to_calibrate_in_a_regression_or_in_four_rows():
    logits, labels = drawn(5, 2)
    assert calibration_of(output_of(logits[:, :1], labels.astype(numpy.float32)), REGRESSION, None, None) is None
    assert calibration_of(output_of(logits[:4], labels[:4]), SINGLE_LABEL, NAMES, 1) is None
    assert calibration_of(output_of(logits, labels), SINGLE_LABEL, NAMES, 1)["rows"] == 5


def test_a_run_saves_the_calibration_of_its_models(go, wild_model, pairs_folder, tmp_path):
    """Against transformers' logits of the saved models, and scikit-learn."""
    run = tmp_path / "runs" / "a"
    assert go("--model", wild_model, "--epochs", 2, "--lr", "1e-3", "--run-name", "a") == 0
    results = json.loads((run / "results.json").read_text())
    rows = some_pairs("validation", 20)
    labels = numpy.array([row["label"] for row in rows])
    for name in ("best", "last"):
        found = json.loads((run / name / "calibration.json").read_text())
        assert found == results[name]["calibration"]
        assert "calibration" not in json.loads((run / name / "pairft.json").read_text())
        logits = logits_of(run / name, [(row["sentence1"], row["sentence2"]) for row in rows])
        probabilities = softmax(logits, axis=1)
        assert found["before"]["log_loss"] == pytest.approx(log_loss(labels, probabilities), rel=1e-4)
        assert found["before"]["brier"] == pytest.approx(brier_score_loss(labels, probabilities[:, 1]), rel=1e-4)
        assert found["temperature"] == pytest.approx(fit_temperature(logits, labels), rel=1e-4)
        threshold = found["thresholds"]["f1"]
        assert threshold["before"] == pytest.approx(results[name]["validation"]["f1"])
        assert f1_score(labels, probabilities[:, 1] >= threshold["threshold"]) >= threshold["before"]
        card = (run / name / "README.md").read_text(encoding="utf-8")
        for value in (found["before"]["ece"], found["after"]["ece"], found["temperature"], threshold["threshold"]):
            assert f"{value:.4f}" in card
        assert "`calibration.json`" in card and "'equivalent'" in card


@pytest.mark.parametrize(("labels", "rows"), [([0.5, 1.25, 3], 20), ([0, 1], 4)])
def test_a_run_without_calibration(go, tmp_path, labels, rows):
    pairs = [{**row, "label": labels[number % len(labels)]} for number, row in enumerate(some_pairs("train", 60))]
    write_rows(tmp_path / "data" / "train.jsonl", pairs[:40])
    write_rows(tmp_path / "data" / "validation.jsonl", pairs[40 : 40 + rows])
    columns = ("--task", "custom", "--text-columns", "sentence1,sentence2")
    assert go("--data", tmp_path / "data", *columns, "--max-steps", 2, "--run-name", "a") == 0
    run = tmp_path / "runs" / "a"
    assert json.loads((run / "results.json").read_text())["best"]["calibration"] is None
    assert not list(run.glob("*/calibration.json")) and "Brier" not in (run / "best" / "README.md").read_text()
