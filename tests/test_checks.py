"""The resolved settings: defaults and preset, their ranges, and what goes together."""

import pytest
from test_config import from_flags, message_of

from pairft import checks


def test_nothing_given_gives_the_documented_defaults():
    config = from_flags()
    assert (config.model, config.task, config.data) == ("google-bert/bert-base-uncased", "mrpc", "nyu-mll/glue")
    assert (config.epochs, config.max_steps, config.batch_size, config.accumulate) == (3, None, 8, 1)
    assert (config.lr, config.warmup_ratio, config.weight_decay, config.max_grad_norm) == (5e-5, 0.0, 0.01, 1.0)
    assert (config.max_length, config.precision, config.device, config.preset) == (None, "auto", "auto", None)
    assert (config.eval_every, config.save_every, config.log_every, config.seed) == ("epoch", "epoch", 10, 42)
    assert (config.runs_dir, config.run_name, config.resume, config.fallback) == ("runs", None, False, False)


@pytest.mark.parametrize(
    ("given", "decay"),
    [
        ({}, 0.01),
        ({"preset": "trainer"}, 0.0),
        ({"preset": "trainer", "weight_decay": 0.01}, 0.01),
        ({"preset": None}, 0.01),
    ],
)
def test_a_given_value_beats_the_preset_even_where_it_is_the_default(given, decay):
    assert checks.resolve(given).weight_decay == decay


def test_every_setting_out_of_range_is_named_at_once():
    message = message_of(
        from_flags, "--epochs", "0", "--lr", "-1", "--seed", "-3", "--precision", "fp8", "--run-name", "a/b"
    )
    for words in ("--epochs is 0", "--lr is -1", "--seed is -3", "--precision is 'fp8'", "--run-name is 'a/b'"):
        assert words in message
    assert len(message.splitlines()) == 5


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--text-columns", "a,a"], "twice"),
        (["--text-columns", "a,b,c"], "one or two"),
        (["--text-columns", ""], "one or two"),
        (["--text-columns", "a,"], "one or two"),
        (["--task", "custom"], "--text-columns"),
        (["--model", " "], "--model is empty"),
        (["--data", ""], "--data is empty"),
        (["--runs-dir", ""], "--runs-dir is empty"),
        (["--task", "mprc"], "did you mean mrpc?"),
    ],
)
def test_settings_that_make_no_sense_say_so(flags, words):
    assert words in message_of(from_flags, *flags)


@pytest.mark.parametrize(("value", "shown"), [("-5e-5", "-5e-05"), ("-inf", "-inf"), ("-1", "-1")])
def test_a_value_below_zero_is_a_value_not_a_flag(value, shown):
    message = message_of(from_flags, "--lr", value)
    assert "--lr" in message and shown in message and "above 0" in message
