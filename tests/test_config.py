"""Settings from flags and YAML: how they are read, which one wins, and what is said of a wrong one."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from pairft import checks
from pairft import config as settings
from pairft import flags as reader
from pairft.config import Config
from pairft.errors import UserError


def from_flags(*flags: str) -> Config:
    return checks.resolve(reader.read_flags(flags))


def from_yaml(tmp_path: Path, text: str | bytes) -> dict[str, Any]:
    path = tmp_path / "settings.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    return reader.read_file(path)


def message_of(call: Any, *arguments: Any) -> str:
    with pytest.raises(UserError) as caught:
        call(*arguments)
    return str(caught.value)


@pytest.mark.parametrize(
    ("flags", "name", "value"),
    [
        (["--batch-size", "16"], "batch_size", 16),
        (["--batch-size=16"], "batch_size", 16),
        (["--epochs", "1", "--epochs", "2"], "epochs", 2),
        (["--lr", "5e-5"], "lr", 5e-5),
        (["--lr", " 1 "], "lr", 1.0),
        (["--warmup-ratio", "0"], "warmup_ratio", 0.0),
        (["--eval-every", "never"], "eval_every", "never"),
        (["--eval-every", "epoch"], "eval_every", "epoch"),
        (["--save-every", "100"], "save_every", 100),
        (["--text-columns", "question, answer"], "text_columns", ("question", "answer")),
        (["--text-columns", "text"], "text_columns", ("text",)),
        (["--deterministic"], "deterministic", True),
        (["--seeds", "3, 1"], "seeds", (3, 1)),
        (["--model", "007"], "model", "007"),
        (["--seed", "0"], "seed", 0),
        (["--seed", str(2**32 - 1)], "seed", 2**32 - 1),
        (["--run-name", "größe 1.0"], "run_name", "größe 1.0"),
    ],
)
def test_a_flag_is_read(flags, name, value):
    found = getattr(from_flags(*flags), name)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("lr: 5e-5", "lr", 5e-5),  # YAML 1.1 wants a point in a number with an exponent: this is text to it
        ("lr: 5.0e-5", "lr", 5e-5),
        ("lr: 1", "lr", 1.0),
        ("batch-size: 16", "batch_size", 16),
        ("batch_size: 16", "batch_size", 16),
        ("batch_size: 16.0", "batch_size", 16),
        ("batch_size: '16'", "batch_size", 16),
        ("max-steps:", "max_steps", None),
        ("eval_every: 100", "eval_every", 100),
        ("eval_every: never", "eval_every", "never"),
        ("text_columns: question,answer", "text_columns", ("question", "answer")),
        ("text_columns: [question, answer]", "text_columns", ("question", "answer")),
        ("seeds: [1, '2', 3.0]", "seeds", (1, 2, 3)),
        ("seeds: 5", "seeds", (5,)),
        ("label_column: 1998", "label_column", "1998"),
        ("deterministic: true", "deterministic", True),
        ("deterministic: no", "deterministic", False),
        ("data: Größe/ไทย", "data", "Größe/ไทย"),
        ("\ufeffepochs: 2\r\n", "epochs", 2),
    ],
)
def test_a_key_is_read(text, name, value, tmp_path):
    found = from_yaml(tmp_path, text)
    assert found == {name: value} and type(found[name]) is type(value)


@pytest.mark.parametrize("text", ["", "# nothing set\n", "---\n"])
def test_a_file_may_set_nothing(text, tmp_path):
    assert from_yaml(tmp_path, text) == {}


@pytest.mark.parametrize(
    ("flag", "closest"),
    [
        ("--epoch", "--epochs"),
        ("--batch", "--batch-size"),  # a beginning of a flag is no flag
        ("--batch_size", "--batch-size"),
        ("--warmup-ration", "--warmup-ratio"),
        ("--LR", "--lr"),
        ("-epochs", "--epochs"),
        ("--evaluate-every=3", "--eval-every"),
    ],
)
def test_an_unknown_flag_names_the_closest(flag, closest):
    message = message_of(reader.read_flags, [flag, "3"])
    assert flag.split("=")[0] in message and f"did you mean {closest}?" in message


def test_an_unknown_flag_like_none_names_none():
    message = message_of(reader.read_flags, ["--xyzzy"])
    assert "--xyzzy" in message and "did you mean" not in message and "--help" in message


def test_fallback_is_no_flag():
    assert "--fallback" in message_of(reader.read_flags, ["--fallback"])


def test_an_argument_without_a_flag_is_named():
    assert "'3'" in message_of(reader.read_flags, ["3"])


def test_a_flag_without_its_value_is_named():
    assert "--epochs" in message_of(reader.read_flags, ["--epochs"])


@pytest.mark.parametrize(
    ("key", "closest"), [("epoch", "epochs"), ("batch-sise", "batch_size"), ("learning_rate", None), ("Task", "task")]
)
def test_an_unknown_key_names_the_closest(key, closest, tmp_path):
    message = message_of(from_yaml, tmp_path, f"{key}: 1")
    assert repr(key) in message and "settings.yaml" in message
    assert closest is None or f"did you mean {closest}?" in message


def test_a_file_that_names_a_file_is_not_told_to_name_a_file(tmp_path):
    message = message_of(from_yaml, tmp_path, "config: other.yaml")
    assert "'config'" in message and "did you mean config?" not in message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("epochs: many", ["--epochs", "'many'", "whole number"]),
        ("epochs: 1.5", ["--epochs", "1.5", "whole number"]),
        ("epochs: true", ["--epochs", "True", "whole number"]),
        ("epochs: .inf", ["--epochs", "inf", "whole number"]),
        ("epochs: .nan", ["--epochs", "nan", "whole number"]),
        ("epochs: [1]", ["--epochs", "[1]", "whole number"]),
        ("epochs:", ["--epochs", "None", "whole number"]),
        ("lr: fast", ["--lr", "'fast'", "a number"]),
        ("lr: true", ["--lr", "True", "a number"]),
        ("tf32: 'yes'", ["--tf32", "'yes'", "true or false"]),
        ("tf32: 1", ["--tf32", "1", "true or false"]),
        ("model: [a, b]", ["--model", "text"]),
        ("data: no", ["--data", "False", "text"]),
        ("text_columns: [a, 1]", ["--text-columns", "column names"]),
        ("seeds: [1.5, 2]", ["--seeds", "[1.5, 2]", "whole numbers"]),
        ("seeds: [1, true]", ["--seeds", "[1, True]", "whole numbers"]),
        ("eval_every: often", ["--eval-every", "'often'", "'epoch' or 'never'"]),
        ("run_name: 2026-01-31", ["--run-name", "2026", "text"]),
        ("run_name: 2026-99-99", ["settings.yaml"]),  # a date to YAML, and none to the calendar
    ],
)
def test_a_wrong_value_in_a_file_is_named_with_the_file(text, words, tmp_path):
    message = message_of(from_yaml, tmp_path, text)
    assert all(word in message for word in [*words, "settings.yaml"]), message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("epochs: [1, 2", ["not YAML"]),
        ("epochs: 1\n  batch_size: 2\n", ["not YAML", "line 2"]),
        ("epochs: 1\n\tlr: 2\n", ["not YAML"]),
        ("!!python/object/apply:os.getcwd []", ["not YAML"]),
        (b"\x00\x01", ["not YAML"]),
        ("model: größe".encode("latin-1"), ["UTF-8"]),
        ("epochs: 3".encode("utf-16"), ["UTF-8"]),
        ("- epochs\n- 3\n", ["'key: value'"]),
        ("epochs", ["'key: value'"]),
        ("3", ["'key: value'"]),
    ],
)
def test_a_file_that_holds_no_settings_says_so(content, words, tmp_path):
    message = message_of(from_yaml, tmp_path, content)
    assert all(word in message for word in [*words, "settings.yaml"]), message


def test_a_file_that_is_not_there_says_so(tmp_path):
    assert str(tmp_path / "no.yaml") in message_of(reader.read_file, tmp_path / "no.yaml")
    assert str(tmp_path) in message_of(reader.read_file, tmp_path)


def test_a_flag_beats_the_file_beats_the_preset_beats_the_default(go, tmp_path):
    """Through the entry point, since it joins flags and file; weight decay and warm-up are what the preset sets."""
    path = tmp_path / "settings.yaml"
    path.write_text("preset: trainer\nwarmup_ratio: 0.25\nlr: 1e-3\nmax-steps: 1\nlog-every: 7\n", encoding="utf-8")
    assert go("--config", path, "--lr", "2e-3", "--run-name", "a") == 0
    found = reader.read_file(tmp_path / "runs" / "a" / "config.yaml")
    assert found["lr"] == 2e-3  # flag, file
    assert found["warmup_ratio"] == 0.25  # file, preset
    assert found["weight_decay"] == 0.0  # preset, default
    assert (found["log_every"], found["epochs"]) == (7, 3)  # file, default; default


def test_every_unreadable_value_is_named_at_once(tmp_path):
    for message in (
        message_of(from_flags, "--epochs", "many", "--lr", "fast"),
        message_of(from_yaml, tmp_path, "epochs: many\nlr: fast\n"),
    ):
        assert "--epochs is 'many'" in message and "--lr is 'fast'" in message


def test_every_unknown_flag_and_key_is_named_at_once(tmp_path):
    for message in (
        message_of(from_flags, "--epoch", "3", "--lrr", "1"),
        message_of(from_yaml, tmp_path, "epoch: 3\nlrr: 1\n"),
    ):
        assert "epochs?" in message and "lr?" in message


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"lr": 1e-7, "weight_decay": 0.0, "max_grad_norm": 123456789.125, "seed": 2**32 - 1},
        {"task": "custom", "text_columns": ("question", "größe, 世界"), "label_column": "1998"},
        {"task": "custom", "text_columns": ("text",), "label_column": "null"},
        {"model": "007", "data": "yes", "runs_dir": "~/runs: mine # not yours"},
        {"max_steps": 5, "max_length": 64, "eval_every": 3, "save_every": "never", "preset": "trainer"},
        {"deterministic": True, "tf32": True, "fallback": True, "precision": "bf16", "device": "cpu"},
        {"model": "👩‍👩‍👧/e\u0301", "data": "שלום"},
    ],
)
def test_yaml_takes_a_config_there_and_back(changes, tmp_path):
    config = Config(**changes)
    given = from_yaml(tmp_path, settings.to_yaml(config))
    assert checks.resolve(given) == config
    assert {"config", "run_name", "resume", "dry_run", "profile"} == {f.name for f in dataclasses.fields(Config)} - set(
        given
    )


def test_yaml_leaves_out_where_a_run_is_kept(tmp_path):
    config = Config(config="x.yaml", run_name="a", resume=True, epochs=7)
    assert checks.resolve(from_yaml(tmp_path, settings.to_yaml(config))) == Config(epochs=7)
