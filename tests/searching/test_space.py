"""The space of a search: what its YAML may say, and what is refused, before anything is written."""

import json
from dataclasses import replace

import pytest
from conftest import ROOT

from pairft import flags, sweep
from pairft.config import Config, to_yaml
from pairft.errors import UserError
from pairft.searching import space as spaces
from pairft.searching.space import Range


def written(tmp_path, text):
    path = tmp_path / "space.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_ranges_choices_and_fixed_settings(tmp_path):
    text = """
base: {model: builtin, text_columns: [a, b], accumulate: 2}
lr: {low: 1e-5, high: 1e-4, log: true}
batch-size: [8, 16, 32]
epochs: {low: 2, high: 4}
weight_decay: {low: 0, high: 1}
class_weights: [balanced, null]
freeze: [null, "embeddings,layers.0-3"]
"""
    space, base = spaces.read_space(written(tmp_path, text))
    assert space == {
        "lr": Range(1e-5, 1e-4, log=True),
        "batch_size": (8, 16, 32),
        "epochs": Range(2, 4),
        "weight_decay": Range(0.0, 1.0),
        "class_weights": ("balanced", None),
        "freeze": (None, "embeddings,layers.0-3"),
    }
    assert [space[name].whole for name in ("lr", "epochs", "weight_decay")] == [False, True, False]
    assert base == {"model": "builtin", "text_columns": ("a", "b"), "accumulate": 2}
    assert spaces.read_space(written(tmp_path, spaces.to_yaml(space, base))) == (space, base)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("learning_rate: [1]", "unknown key 'learning_rate'"),
        ("batchsize: [8]", "unknown key 'batchsize'; did you mean batch_size?"),
        ("limit: [100, 200]", "'limit' can't be searched"),
        ("seed: [1, 2]", "'seed' can't be searched"),
        ("lr: 1e-5", "lr is '1e-5', but should be {low: 1e-5, high: 1e-4, log: true} or a list of values"),
        ("lr: []", "lr is [], but should be"),
        ("lr: [fast]", "--lr is 'fast', but should be a number"),
        ("lr: {low: 1e-5}", "should have both low and high"),
        ("lr: {low: 1e-5, hi: 1}", "lr: unknown key 'hi'; did you mean high?"),
        ("lr: {low: 1, high: 0.1}", "low should be below high"),
        ("lr: {low: 1e-5, high: .inf}", "both finite"),
        ("lr: {low: 1e-5, high: 1e-4, log: maybe}", "log is 'maybe', but should be true or false"),
        ("weight_decay: {low: 0, high: 1, log: true}", "low is 0.0, but should be above 0 with log: true"),
        ("warmup_ratio: {low: 0, high: 2}", "--warmup-ratio is 2.0, but should be from 0 to 1"),
        ("lr: {low: -1, high: 1e-4}", "--lr is -1.0, but should be above 0"),
        ("epochs: {low: 1.5, high: 3}", "--epochs is 1.5, but should be a whole number"),
        ("epochs: [2, 0]", "--epochs is 0, but should be at least 1"),
        ("schedule: [linear, cosin]", "--schedule is 'cosin', but should be one of: linear, cosine, constant"),
        ("schedule: {low: 1, high: 2}", "but is no number: give a list of values"),
        ("batch_size: [8, '8']", "should name each value once"),
        ("base: 3\nlr: [1]", "base should hold settings"),
        ("base: {epoch: 3}\nlr: [1]", "base: unknown key 'epoch'; did you mean epochs?"),
        ("base: {epochs: 3}", "names no setting to search"),
        ("lr: [1", "is not YAML, line"),
    ],
)
def test_what_is_refused(tmp_path, text, said):
    with pytest.raises(UserError) as error:
        spaces.read_space(written(tmp_path, text))
    assert said in str(error.value) and "space.yaml" in str(error.value)


def test_all_problems_are_one_message(tmp_path):
    with pytest.raises(UserError) as error:
        spaces.read_space(written(tmp_path, "base: {epoch: 1}\nlr: [x]\nbatchsize: [8]\nepochs: [0]\n"))
    assert str(error.value).count("\n") == 3


@pytest.mark.parametrize(
    ("base", "space", "said"),
    [
        (
            {"max_steps": 5},
            {"epochs": (1, 2)},
            "--epochs 1 has no effect: --max-steps is given, so it can't be searched",
        ),
        ({}, {"max_tokens": (100, 200), "batch_size": (4, 8)}, "--batch-size 4 has no effect"),
        ({"seeds": (1, 2)}, {"lr": (1e-5,)}, "--seeds doesn't go with a search"),
        ({"folds": 3}, {"lr": (1e-5,)}, "--folds doesn't go with a search"),
        ({"push_to_hub": "a/b"}, {"lr": (1e-5,)}, "--push-to-hub doesn't go with a search"),
        ({"dry_run": True}, {"lr": (1e-5,)}, "--dry-run doesn't go with a search"),
        ({"run_name": "x"}, {"lr": (1e-5,)}, "a sweep has --name"),
        ({"epochs": 0}, {"lr": (1e-5,)}, "--epochs is 0"),
    ],
)
def test_what_does_not_go_together(base, space, said):
    with pytest.raises(UserError, match="(?s)" + said.replace("(", r"\(")):
        spaces.check_together(space, base)


def test_the_flags_of_a_trial_are_those_of_its_settings(tmp_path):
    settings = spaces.settings_of(
        {"model": "builtin", "text_columns": ("a", "b, c"), "tf32": False, "fallback": True, "audit": True},
        {"lr": 3e-05, "freeze": "embeddings,layers.0", "class_weights": None, "max_length": 64},
    )
    words = spaces.as_flags(settings)
    assert "--no-tf32" in words and "--audit" in words
    given = flags.read_flags(words)
    assert given == {name: settings[name] for name in settings if name not in ("fallback", "class_weights")}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--trials", "0"], "--trials is 0, but should be at least 1"),
        (["--seeds-of-best", "1"], "--seeds-of-best is 1, but should be at least 2"),
        (["--hours", "0"], "--hours is 0, but should be above 0"),
        (["--hours", "long"], "--hours: invalid float value: 'long'"),
        (["--resume"], "--resume needs the --name"),
        (["--resume", "--name", "none"], "there is no sweep"),
        (["--learning-rate", "1"], "unknown argument --learning-rate"),
        (["--trails", "3"], "unknown argument --trails; did you mean --trials?"),
        (["--seeds", "1,2"], "--seeds doesn't go with a search"),
        (["--run-name", "x"], "unknown argument --run-name"),
        (["--name", "a/b"], "but should be a plain folder name"),
        (["--epochs", "x"], "--epochs is 'x', but should be a whole number"),
        (["--data", "nowhere.csv"], "nowhere.csv"),
    ],
)
def test_command_lines_that_make_no_sense(tmp_path, capsys, more, said):
    path = written(tmp_path, "lr: [1e-5, 1e-4]\n")
    words = [
        str(path),
        "--trials",
        "2",
        "--model",
        "builtin",
        "--data",
        "builtin",
        "--runs-dir",
        str(tmp_path / "runs"),
    ]
    assert sweep.main([*words, *more]) == 2
    message = capsys.readouterr().err
    assert said in message and "Traceback" not in message
    assert not list((tmp_path / "runs").glob("*"))


def test_a_sweep_needs_one_process_and_its_packages(tmp_path, capsys, monkeypatch):
    path = written(tmp_path, "lr: [1e-5, 1e-4]\n")
    with monkeypatch.context() as patch:
        patch.setenv("WORLD_SIZE", "2")
        assert sweep.main([str(path), "--trials", "2"]) == 2
    assert "torchrun has started 2" in capsys.readouterr().err
    monkeypatch.setattr(sweep, "find_spec", lambda name: None)
    assert sweep.main([str(path), "--trials", "2"]) == 2
    assert "pip install 'pairft[sweep]'" in capsys.readouterr().err


def test_the_example_of_the_documentation(tmp_path):
    text = (ROOT / "docs" / "sweep.md").read_text(encoding="utf-8")
    example = text.split("```yaml\n")[1].split("```")[0]
    space, base = spaces.read_space(written(tmp_path, example))
    assert spaces.check_together(space, base) == replace(Config(), **base)


def test_a_recipe_of_an_earlier_sweep_is_a_base(tmp_path):
    """best.yaml as --config: its settings are the fixed ones."""
    recipe = tmp_path / "best.yaml"
    recipe.write_text(to_yaml(Config(lr=3e-4, model="builtin")), encoding="utf-8")
    args, given = sweep.read_arguments([str(written(tmp_path, "lr: [1]")), "--trials", "2", "--config", str(recipe)])
    assert given == {"config": str(recipe)} and args.trials == 2
    assert json.loads(json.dumps(flags.read_file(recipe)))["lr"] == 3e-4
