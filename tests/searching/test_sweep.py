"""python -m pairft.sweep on a tiny model: Optuna driven by hand says the same, and each trial is an ordinary run."""

import contextlib
import io
import json

import numpy
import optuna
import pytest
import yaml
from conftest import same_weights
from scipy.stats import ttest_rel
from sweeps import STEPS, Sweeps

import train
from pairft.searching import study
from pairft.searching.space import Range

SEED = 2  # with which one of the first trials is pruned
FAILING = 4  # with which trials diverge, fail and finish, the last two with the same recipe


@pytest.fixture(scope="module")
def done(tiny_model, tmp_path_factory):
    """A sweep of five trials, and what it printed."""
    sweeps = Sweeps(tmp_path_factory.mktemp("sweeps"), tiny_model)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert sweeps.run("whole", "--seed", SEED, "--seeds-of-best", 2) == 0
    return sweeps, printed.getvalue()


def suggested(trial, name, values):
    if not isinstance(values, Range):
        return trial.suggest_categorical(name, values)
    return trial.suggest_float(name, values.low, values.high, log=values.log)


SPACE = {"lr": Range(1e-5, 1e-2, log=True), "batch_size": (4, 8, 16), "warmup_ratio": Range(0.0, 0.5)}


def seeded(*numbers):
    return optuna.samplers.TPESampler(seed=int(numpy.random.SeedSequence(numbers).generate_state(1)[0]))


def drawn_by_hand(study_by_hand, seed):
    """Random trials draw each parameter from a generator of its own, later ones all of them together."""
    number = len(study_by_hand.trials)
    study_by_hand.sampler = seeded(seed, number)
    trial = study_by_hand.ask()
    for position, (name, values) in enumerate(SPACE.items()):
        if number < 10:
            study_by_hand.sampler = seeded(seed, position, number)
        suggested(trial, name, values)
    return trial


def test_the_trials_are_those_of_optuna_driven_by_hand(done):
    sweeps, _ = done
    trials = sweeps.trials("whole")
    assert [trial["state"] for trial in trials] == ["finished", "finished", "finished", "pruned", "finished"]
    pruner = optuna.pruners.MedianPruner(n_startup_trials=3)
    by_hand = optuna.create_study(direction="maximize", pruner=pruner)
    finished = []
    for one in trials:
        trial = drawn_by_hand(by_hand, SEED)
        assert trial.params == one["settings"]
        pruned = False
        for number, score in enumerate(one["evaluations"], start=1):
            assert not pruned
            trial.report(score, number)
            if number < 3:  # the last evaluation ends the run anyway
                pruned = trial.should_prune()
                so_far = max(one["evaluations"][:number])
                others = [other["evaluations"][number - 1] for other in finished]
                assert pruned == (len(finished) >= 3 and so_far < numpy.median(others))
        assert pruned == (one["state"] == "pruned")
        if pruned:
            by_hand.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            by_hand.tell(trial, one["score"])
            finished.append(one)
            assert one["score"] == max(one["evaluations"])
    best = by_hand.best_trial
    assert sweeps.record("whole")["best"]["trial"] == best.number


def test_a_pruned_trial_is_a_finished_run_that_says_why(done):
    sweeps, _ = done
    pruned = sweeps.runs / "whole" / "trial-0003"
    results = json.loads((pruned / "results.json").read_text())
    assert results["stopped_early"]["step"] == 4
    assert "is below the median of the trials at evaluation 1" in results["stopped_early"]["reason"]
    assert (pruned / "last" / "model.safetensors").exists() and not (pruned / "checkpoints").exists()
    assert list(pruned.glob("events.out.tfevents.*"))


def test_a_trial_is_the_run_that_train_py_makes_of_its_settings(done):
    sweeps, _ = done
    best = sweeps.record("whole")["best"]
    again = [f"--{name.replace('_', '-')}={value}" for name, value in best["settings"].items()]
    fixed = [str(word) for word in (*sweeps.fixed, *STEPS, "--seed", SEED, "--run-name", "again")]
    assert train.main([*fixed, *again]) == 0
    trial = sweeps.runs / "whole" / best["run"]
    assert same_weights(trial, sweeps.runs / "again")
    assert (trial / "config.yaml").read_text() == (sweeps.runs / "again" / "config.yaml").read_text()


def test_the_best_recipe_and_the_defaults_on_fresh_seeds(done):
    sweeps, printed = done
    record = sweeps.record("whole")
    about, best = record["comparison"], record["best"]
    scores = {}
    for which, name in (("winner", f"{best['run']}-on-2-seeds"), ("defaults", "defaults-on-2-seeds")):
        runs = [sweeps.runs / "whole" / name / f"seed-{seed}" for seed in (SEED + 1, SEED + 2)]
        results = [json.loads((run / "results.json").read_text()) for run in runs]
        scores[which] = [result["best"]["validation"]["pearson"] for result in results]
        assert about[which]["scores"] == scores[which]
        settings = [yaml.safe_load((run / "config.yaml").read_text()) for run in runs]
        lr = best["settings"]["lr"] if which == "winner" else 5e-5
        assert [(one["lr"], one["seed"]) for one in settings] == [(lr, SEED + 1), (lr, SEED + 2)]
    assert about["p"] == ttest_rel(scores["winner"], scores["defaults"]).pvalue
    assert about["in_search"] == best["score"]
    assert record["conclusion"] in printed and "<- best" in printed
    text = (sweeps.runs / "whole" / "best.yaml").read_text()
    assert f"# {record['conclusion']}\n" in text
    recipe = yaml.safe_load(text)
    assert {name: recipe[name] for name in best["settings"]} == best["settings"]
    assert recipe["max_steps"] == 12
    assert (sweeps.runs / "whole" / "winner.svg").stat().st_size > 1000


def test_a_finished_sweep_repeats_nothing(done, capsys):
    sweeps, printed = done
    before = {path: path.stat().st_mtime_ns for path in sweeps.runs.glob("whole/**/results.json")}
    more = ("--seed", SEED, "--seeds-of-best", 2, "--resume")
    assert sweeps.run("whole", *more, "--hours", 1e-9, trials=9) == 0
    shown = capsys.readouterr()
    assert printed.endswith(shown.out) and shown.out.startswith("trial ")
    assert "no further trial after --hours 1e-09: 5 of 9 have run" in shown.err
    assert before == {path: path.stat().st_mtime_ns for path in sweeps.runs.glob("whole/**/results.json")}
    assert sweeps.run("whole", *more, "--weight-decay", 0.1) == 2
    assert "weight_decay is not what the sweep" in capsys.readouterr().err
    assert sweeps.run("whole", *more, space="lr: [1e-3]") == 2
    assert "is not what the sweep" in capsys.readouterr().err
    assert sweeps.run("whole", "--seed", SEED) == 2
    assert "exists: choose another --name" in capsys.readouterr().err


class Killed(BaseException):
    """In place of SIGKILL, which test_stopped_sweeps.py sends."""


def test_a_sweep_that_breaks_at_its_evaluations_equals_a_whole_one(done, monkeypatch, capsys):
    sweeps, _ = done
    judged, breaks = study.judged, {("trial-0001", 4), ("trial-0001", 8), ("trial-0003", 4)}

    def breaking(trial, place, step, score):
        found = judged(trial, place, step, score)
        if (place.name, step) in breaks:
            breaks.remove((place.name, step))
            raise Killed  # the evaluation is in Optuna's storage, but in no checkpoint
        return found

    monkeypatch.setattr(study, "judged", breaking)
    flags, more = ("--seed", SEED, "--seeds-of-best", 0), ()
    for _ in range(3):
        with pytest.raises(Killed):
            sweeps.run("broken", *flags, *more)
        more = ("--resume",)
    assert sweeps.run("broken", *flags, *more) == 0
    assert not breaks
    assert sweeps.trials("broken") == sweeps.trials("whole")
    for name in ("trial-0001", "trial-0003", "trial-0004"):
        assert same_weights(sweeps.runs / "broken" / name, sweeps.runs / "whole" / name)
    text = (sweeps.runs / "broken" / "best.yaml").read_text()
    assert "not compared with the defaults" in text


def test_a_run_that_went_past_an_evaluation_goes_past_it_again(tmp_path):
    """Killed after its second evaluation, which ended it, it is resumed at the first, which did not."""
    kept = study.open_study(tmp_path)
    for _ in range(3):
        trial = kept.ask()
        trial.report(0.5, 1)
        trial.report(0.9, 2)
        kept.tell(trial, 0.9)
    trial = kept.ask()
    first, second = (json.dumps({"split": "validation", "step": step}) + "\n" for step in (4, 8))
    for _ in range(2):
        (tmp_path / "metrics.jsonl").write_text(first)
        assert study.judged(trial, tmp_path, 4, 0.6) is None
        (tmp_path / "metrics.jsonl").write_text(first + second)
        reason = study.judged(trial, tmp_path, 8, 0.7)
        assert reason == "pruned: its best score so far, 0.7000, is below the median of the trials at evaluation 2"


def test_a_study_lies_in_its_folder_whatever_its_name(tmp_path):
    folder = tmp_path / "a b?c{d}%20#e"
    folder.mkdir()
    study.open_study(folder).ask()
    assert [path.name for path in folder.iterdir()] == ["optuna.db"]
    assert len(study.open_study(folder).trials) == 1


def test_a_resumed_study_draws_what_a_whole_one_draws(tmp_path):
    """Beyond the first ten trials, which are random, and after a kill between two parameters."""
    by_hand = optuna.create_study(direction="maximize")
    for number in range(14):
        again = study.open_study(tmp_path)
        trial = again.ask()
        if number in (3, 12):
            study.draw(trial, {"lr": SPACE["lr"]}, 7)
            again = study.open_study(tmp_path)
            trial = optuna.Trial(again, again.trials[-1]._trial_id)
        parameters = study.draw(trial, SPACE, 7)
        reference = drawn_by_hand(by_hand, 7)
        assert parameters == reference.params
        score = -abs(numpy.log10(parameters["lr"]) + 3) - parameters["warmup_ratio"]
        again.tell(trial, score)
        by_hand.tell(reference, score)
    lrs = [trial.params["lr"] for trial in by_hand.trials]
    assert numpy.abs(numpy.log10(lrs[10:]) + 3).mean() < numpy.abs(numpy.log10(lrs[:10]) + 3).mean()


@pytest.mark.slow
def test_trials_that_fail_do_not_end_the_search(done, capsys):
    sweeps, _ = done
    flags = ("--seed", FAILING, "--seeds-of-best", 0)
    space = "lr: [1e-3, 1e30]\nmax_length: [32, 6000]\n"
    assert sweeps.run("failing", *flags, space=space, trials=5, steps=("--max-steps", 2)) == 0
    trials = sweeps.trials("failing")
    for one in trials:
        wanted = "failed" if one["settings"]["max_length"] == 6000 else "finished"
        assert one["state"] == ("diverged" if wanted == "finished" and one["settings"]["lr"] > 1 else wanted)
    assert {"failed", "diverged", "finished"} == {one["state"] for one in trials}
    finished = [one for one in trials if one["state"] == "finished"]
    assert {one["run"] for one in finished} == {finished[0]["run"]}  # the same recipe is trained once
    assert "--max-length" in next(one["reason"] for one in trials if one["state"] == "failed")
    space = "lr: [1e30, 1e29]\n"
    assert sweeps.run("diverging", space=space, trials=2, steps=("--max-steps", 2)) == 3
    assert "no trial has finished" in capsys.readouterr().err


def test_a_mistake_of_all_trials_ends_the_search(done, capsys):
    sweeps, _ = done
    assert sweeps.run("wrong", "--text-columns", "sentence1,nothing") == 2
    message = capsys.readouterr().err
    assert message.count("nothing") == 1 and not (sweeps.runs / "wrong").exists()
