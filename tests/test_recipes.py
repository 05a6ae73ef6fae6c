"""docs/recipes: a file of settings for each task, which --config takes."""

import pytest
import yaml
from conftest import ROOT, write_rows
from test_glue import GLUE, glue_rows

from pairft.tasks import TASKS

RECIPES = ROOT / "docs" / "recipes"
WITH_RECIPE = sorted(name for name, row in TASKS.items() if row.text_columns is not None and row.model_of is None)


def test_every_task_has_a_recipe_that_the_documents_link():
    assert sorted(path.stem for path in RECIPES.glob("*")) == WITH_RECIPE
    text = RECIPES.with_suffix(".md").read_text(encoding="utf-8")
    assert not [name for name in WITH_RECIPE if f"(recipes/{name}.yaml)" not in text]


@pytest.mark.parametrize("task", WITH_RECIPE)
def test_each_recipe_is_read_back(task, go, tmp_path):
    """As --config, with the tiny model and fewer steps; every setting is the recipe's."""
    columns, names = GLUE.get(task, (TASKS[task].text_columns, None if task == "sts" else ["no", "yes"]))
    for split in ("train", *TASKS[task].splits.values()):
        write_rows(tmp_path / "data" / f"{split}.jsonl", glue_rows(split, 12, columns, names))
    flags = ("--data", tmp_path / "data", "--max-steps", 1, "--batch-size", 4, "--run-name", "a")
    recipe = RECIPES / f"{task}.yaml"
    assert go("--config", recipe, *flags, "--max-length", 32) == 0
    written = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    kept = yaml.safe_load((tmp_path / "runs" / "a" / "config.yaml").read_text(encoding="utf-8"))
    assert written["task"] == task
    given = ("batch_size", "max_length")
    assert {name: float(kept[name]) if name == "lr" else kept[name] for name in written if name not in given} == {
        name: float(value) if name == "lr" else value for name, value in written.items() if name not in given
    }
