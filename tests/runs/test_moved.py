"""A resume goes by the content of the data and of the base model, wherever they are."""

import json
import shutil
from pathlib import Path

from conftest import FLAGS, comparable, same_weights, some_pairs, undone, write_rows
from safetensors.torch import load_file, save_file

import train


def test_another_base_model_is_an_error_on_resume(go, tiny_model, tmp_path, capsys):
    """A row of the embedding that isn't trained would come from it."""
    model, runs = Path(shutil.copytree(tiny_model, tmp_path / "model")), tmp_path / "runs"
    assert go(*FLAGS, "--model", model, "--save-every", 11, "--run-name", "whole") == 0
    undone(runs / "whole", runs / "killed", 11)
    weights = load_file(model / "model.safetensors")
    weights["embeddings.word_embeddings.weight"][-1] += 1
    model.rename(tmp_path / "moved")
    Path(shutil.copytree(tmp_path / "moved", model))
    save_file(weights, model / "model.safetensors", {"format": "pt"})
    capsys.readouterr()
    command = ["--resume", "--run-name", "killed", "--model", model]
    assert go(*command) == 2
    message = capsys.readouterr().err
    assert "base model" in message and "--model" in message
    command[-1] = tmp_path / "moved"  # the same weights in another place
    assert go(*command) == 0
    assert same_weights(runs / "whole", runs / "killed")
    assert json.loads((runs / "killed" / "results.json").read_text())["model"] == str(tmp_path / "moved")


def test_another_tokenizer_is_an_error_on_resume(go, tiny_model, tmp_path, capsys):
    model, runs = Path(shutil.copytree(tiny_model, tmp_path / "model")), tmp_path / "runs"
    assert go(*FLAGS, "--model", model, "--save-every", 8, "--run-name", "whole") == 0
    undone(runs / "whole", runs / "killed", 8)
    rules = json.loads((model / "tokenizer.json").read_text())
    words = rules["model"]["vocab"]
    words["a"], words["the"] = words["the"], words["a"]
    (model / "tokenizer.json").write_text(json.dumps(rules))
    capsys.readouterr()
    assert go("--resume", "--run-name", "killed", "--model", model) == 2
    assert "the base model's tokens are not those" in capsys.readouterr().err


def test_data_that_was_moved_resumes(go, pairs_folder, tmp_path, capsys):
    data, runs = Path(shutil.copytree(pairs_folder, tmp_path / "data")), tmp_path / "runs"
    assert go(*FLAGS, "--data", data, "--save-every", 11, "--run-name", "whole") == 0
    undone(runs / "whole", runs / "killed", 11)
    data.rename(tmp_path / "moved here")
    command = ["--resume", "--run-name", "killed", "--data", tmp_path / "moved here"]
    assert go(*command) == 0
    assert same_weights(runs / "whole", runs / "killed")
    assert comparable(runs / "whole", "train") == comparable(runs / "killed", "train")
    (runs / "killed" / "results.json").unlink()
    write_rows(tmp_path / "moved here" / "train.jsonl", some_pairs("train", 61))
    assert go(*command) == 2
    assert "the train split of the data is not the one" in capsys.readouterr().err


def test_settings_of_a_hub_dataset_may_change_if_the_content_is_the_same(go, pairs_folder, tmp_path, capsys):
    """The dataset was on the Hub and is in files now, say; here, both times in files."""
    runs = tmp_path / "runs"
    more = ("--data-config", "rte", "--revision", "v1")
    assert go(*FLAGS, "--save-every", 11, *more, "--run-name", "whole") == 0
    undone(runs / "whole", runs / "killed", 11)
    assert go("--resume", "--run-name", "killed", "--data-config", "sst2", "--revision", "v2") == 0
    assert same_weights(runs / "whole", runs / "killed")
    assert "revision: v2" in (runs / "killed" / "config.yaml").read_text()


def test_the_new_place_of_several_seeds_data_is_kept(go, pairs_folder, tmp_path):
    data, run = Path(shutil.copytree(pairs_folder, tmp_path / "data")), tmp_path / "runs" / "s"
    assert go("--data", data, "--seeds", "1,2", "--max-steps", 1, "--run-name", "s") == 0
    data.rename(tmp_path / "moved")
    command = ["--resume", "--run-name", "s", "--runs-dir", tmp_path / "runs"]
    write_rows(tmp_path / "other" / "train.jsonl", some_pairs("train", 61))
    shutil.copy(tmp_path / "moved" / "validation.jsonl", tmp_path / "other")
    for more, code in ((["--data", tmp_path / "moved"], 0), (["--data", tmp_path / "other"], 2), ([], 0)):
        shutil.rmtree(run / "seed-2", ignore_errors=True)
        (run / "summary.json").unlink(missing_ok=True)
        assert train.main([str(part) for part in [*command, *more]]) == code
