"""What an evaluation finds out: the metrics of each split, calibration, and whether the model has collapsed."""

from collections.abc import Mapping
from typing import Any

from pairft.config import Config
from pairft.data.pairs import Pairs
from pairft.tasks import TASKS, metrics_of
from pairft.training import evaluation
from pairft.training.calibration import calibration_of


def scored(config: Config, pairs: Pairs, outputs: Mapping[str, evaluation.EvalOutput]) -> tuple[dict[str, Any], str]:
    """Score the model's answers to each split. Returns {split: {"loss": …, metrics}, "calibration": …, "collapsed": …}
    and the name of the main metric. Collapsed: the model predicts the same for every example of the validation split.
    """
    metrics, main_metric = metrics_of(TASKS[config.task], pairs.problem_type)
    found: dict[str, Any] = {}
    for split, output in outputs.items():
        as_trainer = config.preset == "trainer"
        found[split] = evaluation.compute_metrics(output, metrics, pairs.positive, as_trainer)
    answers = outputs["validation"]
    found["calibration"] = calibration_of(answers, pairs.problem_type, pairs.label_names, pairs.positive)
    predictions = answers.predictions()
    found["collapsed"] = len(predictions) > 1 and bool((predictions == predictions[0]).all())
    return found, main_metric
