"""By which names a split is found, which of several wins, and that no validation split is passed over."""

import datasets
import pytest
from test_sources import TEST, TRAIN, VALIDATION, put, read, sentences

from pairft.errors import UserError


@pytest.mark.parametrize("name", ["dev", "valid", "val", "eval"])
def test_other_names_of_the_validation_split(name, tmp_path):
    put(tmp_path / "train.tsv", TRAIN)
    put(tmp_path / f"{name}-00000-of-00001.tsv", VALIDATION)
    put(tmp_path / "test.tsv.gz", TEST)
    wanted = {"train": sentences(TRAIN), "validation": sentences(VALIDATION), "test": sentences(TEST)}
    assert read(tmp_path) == wanted
    paths = f"train={tmp_path / 'train.tsv'},{name}={tmp_path / f'{name}-00000-of-00001.tsv'}"
    assert read(paths) == {split: wanted[split] for split in ("train", "validation")}


@pytest.mark.parametrize("saved", [False, True])
def test_the_tasks_own_name_of_a_split_comes_first(saved, tmp_path, capsys):
    splits = {"dev": VALIDATION[:4], "train": TRAIN, "validation": VALIDATION}
    if saved:
        made = {split: datasets.Dataset.from_list(rows) for split, rows in splits.items()}
        datasets.DatasetDict(made).save_to_disk(tmp_path)
    else:
        for split, rows in splits.items():
            put(tmp_path / f"{split}.csv", rows)
    assert read(tmp_path) == {"train": sentences(TRAIN), "validation": sentences(VALIDATION)}
    assert f"{tmp_path} has more than one validation split: validation is used, not dev" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["validation_easy", "dev-set", "Valid", "eval2"])
def test_a_validation_split_under_another_name_is_not_passed_over(name, tmp_path):
    put(tmp_path / "train.csv", TRAIN)
    put(tmp_path / f"{name}.csv.gz", VALIDATION)
    with pytest.raises(UserError) as raised:
        read(tmp_path)
    message = str(raised.value)
    assert f"no split named validation, but {name}.csv.gz: name the one to use" in message
    assert "--data train=FILE,validation=FILE" in message
    made = {"train": datasets.Dataset.from_list(TRAIN), name: datasets.Dataset.from_list(VALIDATION)}
    datasets.DatasetDict(made).save_to_disk(tmp_path / "saved")
    with pytest.raises(UserError, match=f"but {name}: save the splits to files and name them with --data train=FILE"):
        read(tmp_path / "saved")
    put(tmp_path / "dev.csv", VALIDATION)
    assert read(tmp_path) == {"train": sentences(TRAIN), "validation": sentences(VALIDATION)}
