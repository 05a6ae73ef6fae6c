"""predict --calibrated and --threshold: what they make of the logits, through predict.main, and what is refused."""

import json
import shutil
from pathlib import Path

import numpy
import pytest
from conftest import some_pairs, write_rows
from scipy.special import expit, softmax
from sklearn.metrics import brier_score_loss, f1_score, log_loss
from test_predict import logits_of, metrics_in, train_tiny, trained  # noqa: F401  (a fixture)
from test_predict_kinds import classifier

import pairft
from pairft import predict
from pairft.errors import UserError
from pairft.prediction.decision import Decision
from pairft.training.calibration import expected_calibration_error

COLUMNS = ("--text-columns", "sentence1,sentence2")


@pytest.fixture
def rows():
    return some_pairs("test", 40)


@pytest.fixture
def run(tmp_path, rows, capsys):
    """Predict the rows with some flags: the exit code, the answers, the printed metrics and the messages."""

    def predicted(model, *flags):
        write_rows(tmp_path / "rows.jsonl", rows)
        output = tmp_path / "answers.jsonl"
        output.unlink(missing_ok=True)
        places = ["--model", model, "--data", tmp_path / "rows.jsonl", "--output", output, "--device", "cpu"]
        capsys.readouterr()
        code = predict.main([str(part) for part in (*places, *flags)])
        printed = capsys.readouterr()
        answers = [json.loads(line) for line in output.read_text().splitlines()] if code == 0 else []
        return code, answers, printed.out, printed.err

    return predicted


def with_calibration(trained: Path, folder: Path, **changes) -> Path:  # noqa: F811
    """A copy of the model whose calibration.json has other values."""
    shutil.copytree(trained, folder)
    found = json.loads((folder / "calibration.json").read_text())
    (folder / "calibration.json").write_text(json.dumps(found | changes))
    return folder


def probabilities_in(answers, *names):
    return numpy.array([[answer[f"probability_{name}"] for name in names] for answer in answers])


def test_calibrated_arrives(trained, run, rows, tmp_path):  # noqa: F811
    model = with_calibration(trained, tmp_path / "model", temperature=2.5)
    logits = logits_of(model, [(row["sentence1"], row["sentence2"]) for row in rows])
    labels = numpy.array([row["label"] for row in rows])
    _, plain, without, _ = run(model)
    _, answers, printed, _ = run(model, "--calibrated")
    names = ("not_equivalent", "equivalent")
    assert numpy.allclose(probabilities_in(plain, *names), softmax(logits, axis=1), atol=1e-5)
    wanted = softmax(logits / 2.5, axis=1)
    found = probabilities_in(answers, *names)
    assert numpy.allclose(found, wanted, atol=1e-5) and not numpy.allclose(found, softmax(logits, axis=1), atol=1e-2)
    assert [answer["label"] for answer in answers] == [answer["label"] for answer in plain]
    scores = metrics_in(printed)
    assert {name: scores.pop(name) for name in ("log_loss", "brier", "ece")} == {
        "log_loss": pytest.approx(log_loss(labels, wanted), abs=1e-4),
        "brier": pytest.approx(brier_score_loss(labels, wanted[:, 1]), abs=1e-4),
        "ece": pytest.approx(expected_calibration_error(wanted, labels), abs=1e-4),
    }
    assert scores == metrics_in(without)


@pytest.mark.parametrize("calibrated", [(), ("--calibrated",)])
def test_threshold_arrives(trained, run, rows, tmp_path, calibrated):  # noqa: F811
    """A metric's threshold makes the same decisions with --calibrated; a number is about the probabilities shown."""
    logits = logits_of(trained, [(row["sentence1"], row["sentence2"]) for row in rows])
    plain = softmax(logits, axis=1)[:, 1]
    chosen = float(numpy.sort(plain)[-8:-6].mean())  # seven rows are above it
    thresholds = {metric: {"threshold": chosen if metric == "f1" else 0.0} for metric in ("f1", "accuracy", "matthews")}
    model = with_calibration(trained, tmp_path / "model", temperature=4.0, thresholds=thresholds)
    labels = numpy.array([row["label"] for row in rows])
    code, answers, printed, _ = run(model, "--threshold", "f1", *calibrated)
    found = numpy.array([answer["label"] == "equivalent" for answer in answers])
    assert code == 0 and (found == (plain >= chosen)).all() and found.sum() == 7
    assert metrics_in(printed)["f1"] == pytest.approx(f1_score(labels, found), abs=1e-4)
    assert metrics_in(printed)["accuracy"] == pytest.approx((found == labels).mean(), abs=1e-4)
    _, answers, _, _ = run(model, "--threshold", "accuracy", *calibrated)
    assert {answer["label"] for answer in answers} == {"equivalent"}
    shown = softmax(logits / 4, axis=1)[:, 1] if calibrated else plain
    number = float(numpy.sort(shown)[10:12].mean())
    _, answers, _, _ = run(model, "--threshold", number, *calibrated)
    found = numpy.array([answer["label"] == "equivalent" for answer in answers])
    assert (found == (shown >= number)).all() and found.sum() == 29


def test_a_threshold_of_the_first_class(trained, run, rows, tmp_path):  # noqa: F811
    """--positive-class may name the first of two classes."""
    model = with_calibration(trained, tmp_path / "model")
    about = json.loads((model / "pairft.json").read_text())
    (model / "pairft.json").write_text(json.dumps({**about, "positive_class": "not_equivalent"}))
    logits = logits_of(model, [(row["sentence1"], row["sentence2"]) for row in rows])
    shown = softmax(logits, axis=1)[:, 0]
    number = float(numpy.sort(shown)[10:12].mean())
    _, answers, _, _ = run(model, "--threshold", number)
    assert [answer["label"] == "not_equivalent" for answer in answers] == (shown >= number).tolist()


def test_one_pair(trained, tmp_path, capsys):  # noqa: F811
    model = with_calibration(trained, tmp_path / "model", temperature=3.0)
    flags = ["--model", str(model), "--device", "cpu", "--text", "a b", "c d", "--calibrated", "--threshold", "0.999"]
    assert predict.main(flags) == 0
    [line] = capsys.readouterr().out.splitlines()
    [wanted] = softmax(logits_of(model, [("a b", "c d")]) / 3, axis=1)
    assert json.loads(line) == {
        "label": "not_equivalent",
        "probability_not_equivalent": pytest.approx(wanted[0], abs=1e-5),
        "probability_equivalent": pytest.approx(wanted[1], abs=1e-5),
    }


def test_multi_label(wild_model, run, rows, tmp_path):
    model = classifier(wild_model, tmp_path / "model", ("a", "b", "c"), "multi_label_classification")
    (model / "calibration.json").write_text('{"temperature": 2.0}')
    logits = logits_of(model, [(row["sentence1"], row["sentence2"]) for row in rows])
    code, answers, _, _ = run(model, "--calibrated", *COLUMNS)
    assert code == 0 and numpy.allclose(probabilities_in(answers, "a", "b", "c"), expit(logits / 2), atol=1e-5)


def test_one_logit(wild_model, pairs_folder, run, rows, tmp_path):
    """Its probabilities are sigmoids."""
    model = train_tiny(wild_model, pairs_folder, tmp_path / "runs", "--one-logit")
    temperature = json.loads((model / "calibration.json").read_text())["temperature"]
    logits = logits_of(model, [(row["sentence1"], row["sentence2"]) for row in rows])[:, 0]
    code, answers, printed, _ = run(model, "--calibrated", "--threshold", "0.4")
    shown = expit(logits / temperature)
    assert code == 0 and abs(temperature - 1) > 0.1 and "ece" in metrics_in(printed)
    assert numpy.allclose(probabilities_in(answers, "equivalent")[:, 0], shown, atol=1e-5)
    assert [answer["label"] == "equivalent" for answer in answers] == (shown >= 0.4).tolist()


def test_a_temperature_of_1_is_calibrated_too(trained, run, tmp_path):  # noqa: F811
    _, _, printed, _ = run(with_calibration(trained, tmp_path / "model", temperature=1.0), "--calibrated")
    assert "ece" in metrics_in(printed)


@pytest.mark.parametrize("flags", [("--calibrated",), ("--threshold", "f1")])
@pytest.mark.parametrize(
    ("kind", "names", "named"),
    [
        ("regression", ("LABEL_0",), ["predicts scores"]),
        ("multi_label_classification", ("a", "b"), ["multi-label", "calibration.json"]),
        ("single_label_classification", ("a", "b", "c"), ["3 classes", "calibration.json"]),
        ("single_label_classification", ("a", "b"), ["calibration.json", "train it again"]),
    ],
)
def test_models_that_cannot_do_it(flags, kind, names, named, wild_model, run, tmp_path):
    model = classifier(wild_model, tmp_path / "model", names, kind)
    code, _, out, errors = run(model, *flags, *COLUMNS)
    assert code == 2 and out == ""
    [message] = errors.splitlines()
    assert message.startswith("error: ") and flags[0] in message and any(text in message for text in named), message


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"temperature": 0}', '{"temperature": "x"}', '{"thresholds": 1}']
)
@pytest.mark.parametrize("flags", [("--calibrated",), ("--threshold", "accuracy")])
def test_a_damaged_file(flags, content, trained, run, tmp_path):  # noqa: F811
    model = tmp_path / "model"
    shutil.copytree(trained, model)
    (model / "calibration.json").write_text(content)
    code, _, _, errors = run(model, *flags)
    assert code == 2 and len(errors.splitlines()) == 1 and str(model / "calibration.json") in errors


@pytest.mark.parametrize("value", ["0", "1", "-0.5", "nan", "inf", "recall", ""])
def test_values_that_are_no_threshold(value, trained, run):  # noqa: F811
    code, _, _, errors = run(trained, f"--threshold={value}")
    assert code == 2 and f"--threshold is {value!r}" in errors and "f1" in errors


def test_a_number_needs_no_calibration(wild_model, run, rows, tmp_path):
    model = classifier(wild_model, tmp_path / "model", ("no", "yes"), "single_label_classification")
    logits = logits_of(model, [(row["sentence1"], row["sentence2"]) for row in rows])
    code, answers, _, _ = run(model, "--threshold", "0.7", *COLUMNS)
    assert code == 0
    assert [answer["label"] == "yes" for answer in answers] == (softmax(logits, axis=1)[:, 1] >= 0.7).tolist()


def test_the_class_of_a_threshold_is_beside_it(trained, run, tmp_path):  # noqa: F811
    """Also without pairft.json, and whatever the names suggest."""
    thresholds = {"f1": {"threshold": 1e-9}}  # every row
    model = with_calibration(trained, tmp_path / "model", positive_class="not_equivalent", thresholds=thresholds)
    (model / "pairft.json").unlink()
    code, answers, _, _ = run(model, "--threshold", "f1", *COLUMNS)
    assert code == 0 and {answer["label"] for answer in answers} == {"not_equivalent"}


def test_from_python(trained, rows, tmp_path):  # noqa: F811
    model = pairft.load(str(with_calibration(trained, tmp_path / "model", temperature=2.5)), device="cpu")
    pairs = [(row["sentence1"], row["sentence2"]) for row in rows]
    logits = logits_of(trained, pairs)
    shown = softmax(logits / 2.5, axis=1)
    number = float(numpy.sort(shown[:, 1])[10:12].mean())
    found = model.predict(pairs, calibrated=True, threshold=number)
    assert numpy.allclose(found.probabilities, shown, atol=1e-5) and numpy.allclose(found.logits, logits, atol=1e-4)
    assert [label == "equivalent" for label in found.labels] == (shown[:, 1] >= number).tolist()
    assert found.columns["label"] == found.labels
    assert numpy.allclose(model.predict(pairs, calibrated=True, top_k=1).columns["probability"], shown.max(axis=1))
    assert numpy.allclose(model.predict(pairs).probabilities, softmax(logits, axis=1), atol=1e-5)
    with pytest.raises(UserError, match="between 0 and 1"):
        model.predict(pairs, threshold=1.5)


def test_top_k_has_an_order_of_its_own(trained, run):  # noqa: F811
    code, _, _, errors = run(trained, "--threshold", "f1", "--top-k", "1")
    assert code == 2 and "--threshold" in errors and "--top-k" in errors


@pytest.mark.parametrize("flags", [("--calibrated",), ("--threshold", "f1")])
def test_a_submission_has_a_format_of_its_own(flags, trained, tmp_path, capsys):  # noqa: F811
    code = predict.main(["--model", str(trained), "--glue-submission", str(tmp_path / "out"), *flags])
    assert code == 2 and f"{flags[0]} doesn't go with --glue-submission" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_extreme_logits():
    logits = numpy.array([[0, 1e4], [1e4, 0], [0, 0]], numpy.float32)
    assert Decision(threshold=1.0).classes(logits).tolist() == [1, 0, 0]
    assert Decision(threshold=0.5).classes(logits).tolist() == [1, 0, 1]
    assert Decision(threshold=0.5, positive=0).classes(logits).tolist() == [1, 0, 0]
    assert Decision(2.0, 0.9, threshold_is_calibrated=True).classes(logits / 1e4 * 4).tolist() == [0, 0, 0]
    assert Decision(2.0, 0.9).classes(logits / 1e4 * 4).tolist() == [1, 0, 0]
