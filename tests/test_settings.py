"""Every setting arrives where it acts: each test runs the real entry point and fails if train.py drops the setting."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from conftest import read_lines, some_pairs, write_rows, write_tiny_model
from safetensors.torch import load_file

from pairft.config import FIELDS
from pairft.runs import checkpoint

OF_RUNS = ("seed", "seeds", "folds", "fold", "group_column", "runs_dir", "run_name", "resume")
OF_LABELS = ("label_column", "regression", "classification", "positive_class", "class_weights", "label_smoothing")
ELSEWHERE = {
    **dict.fromkeys(("data_config", "revision"), ("data/test_hub_datasets.py", "test_configurations_and_revisions")),
    "validation_share": ("data/test_splits.py", "test_validation_share_arrives"),
    **{name: ("test_run_settings.py", f"test_{name}_arrives") for name in OF_RUNS},
    **{name: ("distributed/test_failures.py", f"test_{name}_arrives") for name in ("timeout", "processes")},
    "shard": ("distributed/test_shard_full.py", "test_shard_arrives"),
    "fallback": ("data/test_hub.py", "test_the_defaults_fall_back_with_one_warning"),
    **{name: ("test_label_settings.py", f"test_{name}_arrives") for name in OF_LABELS},
    "limit": ("data/test_limit.py", "test_limit_arrives"),
    "new_head": ("model/test_head.py", "test_a_head_for_something_else_is_refused_unless_a_new_one_is_asked_for"),
}


@pytest.fixture
def words(pairs_folder, tmp_path):
    """The pairs with other column names and the labels as words."""
    for split, number in (("train", 16), ("validation", 8)):
        rows = [
            {"first": row["sentence1"], "second": row["sentence2"], "verdict": "yes" if row["label"] else "no"}
            for row in some_pairs(split, number)
        ]
        write_rows(tmp_path / "words" / f"{split}.jsonl", rows)
    return tmp_path / "words"


def about(run: Path) -> dict:
    return json.loads((run / "last" / "pairft.json").read_text())


def config_of(run: Path) -> dict:
    return yaml.safe_load((run / "config.yaml").read_text())


def losses(run: Path) -> list[float]:
    return [line["loss"] for line in read_lines(run, "train")]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "last" / "model.safetensors")


def moments(run: Path) -> dict[str, torch.Tensor]:
    """Adam's first moments: after one step, a tenth of the clipped gradient."""
    folder = checkpoint.whole_checkpoints(run / "checkpoints")[-1]
    tensors = load_file(folder / "optimizer.safetensors")
    return {name.removeprefix("exp_avg/"): value for name, value in tensors.items() if name.startswith("exp_avg/")}


def test_no_setting_is_without_a_test():
    for name in FIELDS:
        file, test = ELSEWHERE.get(name, ("test_*.py", f"test_{name}_arrives"))
        files = Path(__file__).parent.rglob(file)
        assert any(f"def {test}(" in path.read_text(encoding="utf-8") for path in files), name


def test_config_arrives(made, tmp_path):
    (tmp_path / "a.yaml").write_text("lr: 3e-4\nlog_every: 1\n")
    [line] = read_lines(made("--config", tmp_path / "a.yaml", "--max-steps", 1), "train")
    assert line["lr"] == 3e-4


def test_model_arrives(made, tmp_path):
    model = write_tiny_model(tmp_path / "small", hidden_size=16)
    run = made("--model", model, "--max-steps", 1)
    assert weights(run)["classifier.weight"].shape == (2, 16)
    assert json.loads((run / "results.json").read_text())["model"] == str(model)


def test_task_arrives(made):
    run = made("--task", "custom", "--text-columns", "sentence1,sentence2", "--max-steps", 1)
    assert about(run)["task"] == "custom" and about(run)["label_names"] == ["0", "1"]
    assert about(made("--max-steps", 1, name="b"))["label_names"] == ["not_equivalent", "equivalent"]


def test_data_arrives(made, tmp_path):
    for split in ("train", "validation"):
        write_rows(tmp_path / "few" / f"{split}.jsonl", some_pairs(split, 10))
    run = made("--data", tmp_path / "few", "--epochs", 1)
    assert json.loads((run / "results.json").read_text())["train"]["steps"] == 2


def test_text_columns_arrives(made, words):
    flags = ("--task", "custom", "--data", words, "--label-column", "verdict", "--max-steps", 1, "--log-every", 1)
    both, swapped, one = (
        made(*flags, "--text-columns", columns, name=columns) for columns in ("first,second", "second,first", "first")
    )
    assert about(swapped)["text_columns"] == ["second", "first"]
    assert len({losses(run)[0] for run in (both, swapped, one)}) == 3


def test_epochs_arrives(made):
    assert [line["step"] for line in read_lines(made("--epochs", 2), "validation")] == [8, 16]


def test_max_steps_arrives(made):
    assert [line["step"] for line in read_lines(made("--max-steps", 3), "validation")] == [3]


def test_batch_size_arrives(made):
    assert [line["epoch"] for line in read_lines(made("--batch-size", 5, "--max-steps", 1), "train")] == [5 / 60]


def test_accumulate_arrives(made):
    run = made("--batch-size", 5, "--accumulate", 3, "--max-steps", 1)
    assert [line["epoch"] for line in read_lines(run, "train")] == [15 / 60]


def test_lr_arrives(made):
    flags = ("--max-steps", 2, "--log-every", 1)
    run, other = made(*flags, "--lr", "2e-3"), made(*flags, "--lr", "1e-3", name="b")
    assert [line["lr"] for line in read_lines(run, "train")] == [2e-3, 1e-3]
    assert not torch.equal(weights(run)["classifier.bias"], weights(other)["classifier.bias"])


def test_warmup_ratio_arrives(made):
    run = made("--lr", "1e-3", "--warmup-ratio", "0.5", "--max-steps", 4, "--log-every", 1)
    assert [line["lr"] for line in read_lines(run, "train")] == [0.0, 5e-4, 1e-3, 5e-4]


def test_weight_decay_arrives(made, tiny_model):
    """The first step's gradient is the same, and so the difference is the decay alone."""
    flags = ("--lr", "0.01", "--max-steps", 1)
    decayed, plain = (
        weights(made(*flags, "--weight-decay", "0.5")),
        weights(made(*flags, "--weight-decay", 0, name="b")),
    )
    name = "encoder.layer.0.output.dense.weight"
    start = load_file(tiny_model / "model.safetensors")[name]
    assert torch.allclose(plain[f"bert.{name}"] - decayed[f"bert.{name}"], 0.01 * 0.5 * start, rtol=1e-3, atol=1e-7)
    assert torch.equal(plain["classifier.bias"], decayed["classifier.bias"])


def test_max_grad_norm_arrives(made):
    for norm in (0.25, 0.125):
        found = moments(made("--max-grad-norm", norm, "--max-steps", 1, name=str(norm)))
        total = torch.stack([moment.norm() for moment in found.values()]).norm()
        assert total.item() == pytest.approx(0.1 * norm, rel=1e-4)


def test_max_length_arrives(made):
    """Positions from 16 on are never used, and so have no gradient."""
    run = made("--max-length", 16, "--max-steps", 1)
    rows = moments(run)["bert.embeddings.position_embeddings.weight"].abs().sum(1)
    assert (rows[:16] > 0).all() and (rows[16:] == 0).all()
    assert about(run)["max_length"] == 16


def test_precision_arrives(made):
    flags = ("--max-steps", 1, "--log-every", 1)
    half, single = losses(made(*flags, "--precision", "bf16")), losses(made(*flags, "--precision", "fp32", name="b"))
    assert half != single and half == pytest.approx(single, abs=0.02)


def test_preset_arrives(made):
    """Its hyperparameters, and its random draws: the same hyperparameters without it give other dropout masks."""
    flags = ("--max-steps", 2, "--log-every", 1)
    run = made(*flags, "--preset", "trainer")
    config = config_of(run)
    assert (config["weight_decay"], config["unpad"]) == (0.0, "never")
    assert losses(run) != losses(made(*flags, "--weight-decay", 0, "--unpad", "never", "--precision", "fp32", name="b"))


def test_device_arrives(go, capsys):
    kind = "cpu" if torch.cuda.is_available() else "cuda"
    assert go("--device", kind, "--max-steps", 1) == (0 if kind == "cpu" else 2)
    assert ("on cpu" if kind == "cpu" else "--device cuda") in capsys.readouterr().err


def test_unpad_arrives(made, capsys):
    flags = ("--max-steps", 2, "--log-every", 1)
    padded = losses(made(*flags, "--unpad", "never"))
    assert "with padding" in capsys.readouterr().err
    assert losses(made(*flags, name="b")) != padded
    assert "with padding" not in capsys.readouterr().err


def test_unpad_always_is_that_or_an_error(go, tmp_path, capsys):
    assert go("--unpad", "always", "--max-steps", 1) == 0
    assert "padding-free" in capsys.readouterr().err
    model = write_tiny_model(tmp_path / "mpnet", "mpnet")
    assert go("--model", model, "--max-steps", 1) == 0
    assert go("--model", model, "--unpad", "always", "--max-steps", 1) == 2
    assert "--unpad always: with padding: for mpnet on cpu" in capsys.readouterr().err
    assert go("--capture", "always", "--deterministic", "--max-steps", 1) == 2
    assert "exclude each other" in capsys.readouterr().err


def test_capture_arrives(go, capsys):
    """On a CPU it is said to have no effect; tests/speed/test_gpu.py has the rest."""
    assert go("--capture", "never", "--max-steps", 1) == 0
    assert "--capture has no effect on cpu" in capsys.readouterr().err


def test_deterministic_arrives(made):
    try:
        made("--deterministic", "--max-steps", 1)
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


def test_tf32_arrives(made):
    for flag, wanted in (("--tf32", True), ("--no-tf32", False)):
        made(flag, "--max-steps", 1, name=flag.strip("-"))
        assert torch.backends.cuda.matmul.allow_tf32 is wanted
        assert torch.backends.cudnn.allow_tf32 is wanted


def test_eval_every_arrives(made):
    assert [line["step"] for line in read_lines(made("--eval-every", 3, "--max-steps", 7), "validation")] == [3, 6, 7]


def test_save_every_arrives(made):
    run = made("--save-every", 3, "--max-steps", 7)
    kept = [path.name for path in checkpoint.whole_checkpoints(run / "checkpoints")]
    assert kept == ["step-00000006", "step-00000007"]


def test_log_every_arrives(made):
    assert [line["step"] for line in read_lines(made("--log-every", 3, "--max-steps", 7), "train")] == [3, 6, 7]
