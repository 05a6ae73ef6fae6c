"""--patience ends a run early, after the same evaluation however the run is interrupted."""

import json
import signal

import pytest
from conftest import comparable, read_lines, same_weights, undone, wait_for
from test_settings import config_of

import train
from pairft import checks
from pairft.runs.seeds import Group
from pairft.runs.signals import StopRequest

FLAGS = ("--epochs", 8, "--lr", "1e-3", "--eval-every", 3, "--save-every", 5, "--log-every", 4)


def results_of(run):
    return json.loads((run / "results.json").read_text(encoding="utf-8"))


def expected_end(lines, patience):
    """(step of the end, step of the best) by the rule itself, from the validation lines of the whole run."""
    best = lines[0]
    for count, line in enumerate(lines):
        best = line if line["f1"] > best["f1"] else best
        if count - lines.index(best) == patience:
            return line["step"], best["step"]
    return lines[-1]["step"], best["step"]


def test_patience_arrives(made, wild_model, capsys):
    """The run is the whole one up to its end: the learning rate, too, falls as if it went on."""
    whole = made(*FLAGS, "--model", wild_model, name="whole")
    lines, ends = read_lines(whole, "validation"), set()
    for patience in (1, 2, 3):
        run = made(*FLAGS, "--model", wild_model, "--patience", patience, name=f"patience-{patience}")
        end, best = expected_end(lines, patience)
        for split in ("train", "validation"):
            assert comparable(run, split) == [line for line in comparable(whole, split) if line["step"] <= end]
        results, score = results_of(run), next(line["f1"] for line in lines if line["step"] == best)
        assert (results["train"]["steps"], results["last"]["step"], results["best"]["step"]) == (end, end, best)
        reason = f"no evaluation since step {best} was better than f1 {score:.4f} (--patience {patience})"
        assert results["stopped_early"] == {"step": end, "reason": reason}
        assert f"stopped after step {end}: {reason}" in capsys.readouterr().err
        assert (run / "checkpoints" / f"step-{end:08d}").exists() and config_of(run)["patience"] == patience
        ends.add(end)
    assert len(ends) == 3 and max(ends) < 64 and results_of(whole)["stopped_early"] is None


@pytest.mark.parametrize("step", [36, 35])  # killed before results.json was written; before the last evaluation
def test_a_resumed_run_stops_after_the_same_step(go, made, wild_model, tmp_path, step, capsys):
    whole, killed = made(*FLAGS, "--model", wild_model, "--patience", 3, name="whole"), tmp_path / "runs" / "killed"
    undone(whole, killed, step)
    capsys.readouterr()
    assert go("--model", wild_model, "--resume", "--run-name", "killed") == 0
    assert results_of(killed)["stopped_early"] == results_of(whole)["stopped_early"]
    assert "stopped after step 36: no evaluation since step 27" in capsys.readouterr().err
    assert same_weights(whole, killed) and comparable(whole, "validation") == comparable(killed, "validation")


@pytest.mark.slow
@pytest.mark.parametrize("step", [5, 10, 20, 35])
def test_a_killed_run_stops_after_the_same_step(go, made, begin, wild_model, tmp_path, step):
    flags = (*FLAGS, "--model", wild_model, "--patience", 3)
    whole, killed = made(*flags, name="whole"), tmp_path / "runs" / "killed"
    process = begin(*flags, "--run-name", "killed")
    wait_for((killed / "checkpoints" / f"step-{step:08d}").exists, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    if not (killed / "results.json").exists():  # otherwise it was faster
        assert go("--model", wild_model, "--resume", "--run-name", "killed") == 0
    assert results_of(killed)["stopped_early"] == results_of(whole)["stopped_early"] is not None
    assert same_weights(whole, killed)


def test_a_lost_best_model_still_counts(go, made, wild_model, tmp_path):
    """The model of step 27 is damaged everywhere: its score is still the one to beat, and the run ends as before."""
    whole, killed = made(*FLAGS, "--model", wild_model, "--patience", 3, name="whole"), tmp_path / "runs" / "killed"
    undone(whole, killed, 35)
    for path in (killed / "best", killed / "checkpoints" / "step-00000035" / "best"):
        weights = path / "model.safetensors"
        weights.rename(weights.with_name("moved"))
        weights.write_bytes(b"damaged")
    assert go("--model", wild_model, "--resume", "--run-name", "killed") == 0
    results = results_of(killed)
    assert results["stopped_early"] == results_of(whole)["stopped_early"]
    assert (results["best"]["step"], results["lost_best"]["step"]) == (36, 27)


def test_a_run_that_has_stopped_early_stays_as_it_is(go, made, wild_model, tmp_path, capsys):
    made(*FLAGS, "--model", wild_model, "--patience", 2)
    again = ("--model", wild_model, "--resume", "--run-name", "a")
    for same in ((), ("--patience", 2), ("--epochs", 8)):
        assert go(*again, *same) == 0
        assert "is finished: nothing to do" in capsys.readouterr().err
    for other in (("--patience", 5), ("--epochs", 9), ("--max-steps", 12)):
        assert go(*again, *other) == 2
        message = capsys.readouterr().err
        assert f"{other[0]} is {other[1]}" in message
        assert "finished after 9 steps" in message and "no evaluation since step 3 was better" in message


def test_patience_may_change_before_a_run_has_finished(go, made, wild_model, tmp_path):
    whole = made(*FLAGS, "--model", wild_model, "--patience", 3, name="whole")
    undone(made(*FLAGS, "--model", wild_model, "--patience", 2, name="short"), tmp_path / "runs" / "longer", 9)
    assert go("--model", wild_model, "--resume", "--run-name", "longer", "--patience", 3) == 0
    longer = tmp_path / "runs" / "longer"
    assert results_of(longer)["stopped_early"] == results_of(whole)["stopped_early"]
    assert same_weights(whole, longer)


def test_each_seed_stops_by_itself(go, made, wild_model, capsys):
    flags = (*FLAGS, "--model", wild_model, "--patience", 3)
    group = made(*flags, "--seeds", "42,7", name="group")
    alone = [made(*flags, "--seed", seed, name=f"alone-{seed}") for seed in (42, 7)]
    ends = [results_of(group / f"seed-{seed}")["stopped_early"] for seed in (42, 7)]
    assert ends == [results_of(run)["stopped_early"] for run in alone] and ends[0]["step"] != ends[1]["step"]
    again = ("--model", wild_model, "--resume", "--run-name", "group")
    assert go(*again, "--epochs", 8) == 0 and go(*again, "--patience", 4) == 2
    assert "--patience is 4" in capsys.readouterr().err


def test_folds_and_streaming_stop_early(made, pairs_folder):
    stopping = ("--lr", "1e-9", "--max-steps", 30, "--eval-every", 2, "--patience", 1)  # nothing is learnt
    run = made(*stopping, "--folds", 2, "--data", pairs_folder / "train.jsonl", "--task", "custom",
               "--text-columns", "sentence1,sentence2", name="folds")  # fmt: skip
    for fold in ("fold-1", "fold-2"):
        assert results_of(run / fold)["stopped_early"]["step"] == 4
        assert (run / fold / "last" / "model.safetensors").exists()
    run = made(*stopping, "--streaming", "--shuffle-buffer", 16, name="streamed")
    assert results_of(run)["stopped_early"]["step"] == 4


def test_a_search_may_end_a_run(go, tmp_path, tiny_model, pairs_folder):
    """Its judge gets each evaluation's step and main metric, and after a resume the latest one again."""
    asked = []

    def judge(step, score):
        asked.append((step, score))
        return "worse than the other runs" if step == 6 else None

    (tmp_path / "runs").mkdir()
    given = {"model": str(tiny_model), "data": str(pairs_folder), "device": "cpu", "eval_every": 3, "max_steps": 20}
    config = checks.resolve({**given, "run_name": "trial", "runs_dir": str(tmp_path / "runs")})
    with StopRequest() as stop:
        group = Group(tmp_path / "runs", None, 1, stop, judge)
        assert train.train(config, None, [], group) == 0
        trial, killed = tmp_path / "runs" / "trial", tmp_path / "runs" / "killed"
        lines = read_lines(trial, "validation")
        assert asked == [(line["step"], line["f1"]) for line in lines] and [step for step, _ in asked] == [3, 6]
        assert results_of(trial)["stopped_early"] == {"step": 6, "reason": "worse than the other runs"}
        undone(trial, killed, 6)
        assert train.train(config, killed, [], group) == 0
    assert asked[2:] == asked[1:2] and same_weights(trial, killed)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--epochs", 2, "--patience", 1), "note: --patience 1 has no effect: the run is evaluated only 2 times"),
        (("--max-steps", 4, "--eval-every", "never", "--patience", 3), "the run is evaluated only once"),
        (("--max-steps", 6, "--eval-every", 2, "--patience", 2), "--patience 2 has no effect"),
        (("--max-steps", 6, "--eval-every", 2, "--patience", 1), None),
    ],
)  # fmt: skip
def test_a_patience_without_effect_is_said(go, flags, words, capsys):
    assert go(*flags) == 0
    message = capsys.readouterr().err
    assert words in message if words else "no effect" not in message


def test_patience_is_at_least_1(go, capsys):
    assert go("--patience", 0) == 2
    assert "--patience is 0, but should be at least 1" in capsys.readouterr().err
