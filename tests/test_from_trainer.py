"""docs/from-trainer.md: each of TrainingArguments has a flag or a reason, and the links lead to the lines they show."""

import ast
import dataclasses
import inspect
import re
import sys

import pytest
from conftest import ROOT

from pairft.config import FIELDS
from pairft.parsing import flag_of

sys.path.insert(0, str(ROOT / "docs"))

import training_arguments as table

REASONS = [*table.ALWAYS.values(), *table.ABSENT.values()]
MAPPED = [*table.FLAGS, *(name for names in REASONS for name in names)]
DOCUMENT = (ROOT / "docs" / "from-trainer.md").read_text(encoding="utf-8")


def trainers_fields():
    from transformers import TrainingArguments

    return {field.name: field for field in dataclasses.fields(TrainingArguments)}


def test_every_training_argument_is_mapped_once():
    fields = trainers_fields()
    assert len(MAPPED) == len(set(MAPPED))
    assert not set(fields) - set(MAPPED)
    assert not set(MAPPED) - set(fields) - set(table.NEWER)  # of a version older than the table


def test_defaults_of_training_arguments():
    fields = trainers_fields()
    for name, (default, _, _) in table.FLAGS.items():
        if name in fields:
            found = fields[name].default
            assert getattr(found, "value", found) in (default, table.OLDER_DEFAULTS.get(name, default)), name


@pytest.mark.parametrize("name", table.FLAGS)
def test_a_mapped_flag_is_one_of_train(name):
    known = {flag_of(field) for field, f in FIELDS.items() if f.metadata["flag"]}
    assert set(table.FLAGS[name][1].split()) <= known


@pytest.mark.parametrize(
    ("argument", "setting"),
    [
        ("learning_rate", "lr"),
        ("per_device_train_batch_size", "batch_size"),
        ("gradient_accumulation_steps", "accumulate"),
        ("num_train_epochs", "epochs"),
        ("max_grad_norm", "max_grad_norm"),
        ("label_smoothing_factor", "label_smoothing"),
        ("lr_scheduler_type", "schedule"),
        ("seed", "seed"),
    ],
)
def test_equal_defaults_are_equal(argument, setting):
    """Where the table shows the same default on both sides, it is so in both."""
    assert FIELDS[setting].default == table.FLAGS[argument][0]


def test_the_document_names_every_argument_in_a_table():
    for name in MAPPED:
        assert re.search(rf"^\|.*`{name}`", DOCUMENT, re.MULTILINE), name


def test_links_of_the_cells_show_their_lines():
    links = re.findall(r"^- \[([\w/.]+):(\d+)\]\(\.\./([\w/.]+)#L(\d+)\): `(.+)`$", DOCUMENT, re.MULTILINE)
    assert len(links) > 15
    for name, number, path, anchor, statement in links:
        assert (name, number) == (path, anchor)
        line = (ROOT / path).read_text(encoding="utf-8").splitlines()[int(number) - 1]
        assert line.strip().startswith(statement), (path, number)


def test_each_cell_has_its_lines():
    cells = re.split(r"^### ", DOCUMENT.split("## What comes out")[0], flags=re.MULTILINE)[1:]
    assert len(cells) == 8
    wanted = (
        "load_dataset",
        "AutoTokenizer",
        "encode_batch",
        "numpy.full",
        "AutoModel",
        "metrics",
        "update(",
        "answers",
    )
    for cell, statement in zip(cells, wanted, strict=True):
        code, links = cell.split("Here:")
        ast.parse(re.findall(r"```python\n(.*?)```", code, re.DOTALL)[0])
        assert any(statement in line for line in links.splitlines() if line.startswith("- [")), cell


def test_the_renamed_arguments_are_gone():
    from transformers import Trainer, TrainingArguments

    with pytest.raises(TypeError, match="evaluation_strategy"):
        TrainingArguments("out", evaluation_strategy="epoch")
    names = inspect.signature(Trainer.__init__).parameters
    assert "processing_class" in names and "tokenizer" not in names
    assert "eval_strategy" in trainers_fields()
