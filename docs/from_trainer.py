"""A course's notebook on MRPC with Trainer, cell by cell, and the lines of pairft that do the same. `python
docs/generate.py` makes the part of docs/from-trainer.md from this, and finds the line numbers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Cell:
    title: str
    code: str  # of the notebook
    here: str  # what does it in pairft
    lines: tuple[tuple[Callable[..., Any], str], ...]  # functions, and a statement in each


def cells() -> list[Cell]:
    import train
    from pairft.data import batches, pairs, sources, tokens
    from pairft.model import classifier
    from pairft.prediction.predictor import predictions_of
    from pairft.speed.packing import pack
    from pairft.training import evaluation, loop, step

    return [
        Cell(
            "The data set",
            'from datasets import load_dataset\n\nraw = load_dataset("glue", "mrpc")',
            "`--task mrpc` and `--data nyu-mll/glue`, both the defaults. Files of your own are checked before training "
            "([data.md](data.md)). With datasets 5.2 and huggingface_hub 2.4 this cell is an error (`HfUriError`): "
            "its name is too short. `--data glue` works.",
            ((pairs.load_pairs, "read_splits(config"), (sources.load_from_hub, "datasets.load_dataset")),
        ),
        Cell(
            "The tokenizer",
            "from transformers import AutoTokenizer\n\n"
            'checkpoint = "bert-base-uncased"\ntokenizer = AutoTokenizer.from_pretrained(checkpoint)',
            "`--model google-bert/bert-base-uncased`, the default.",
            ((classifier.load_tokenizer, "AutoTokenizer.from_pretrained"),),
        ),
        Cell(
            "`tokenize` and `map(batched=True)`",
            "def tokenize(batch):\n"
            '    return tokenizer(batch["sentence1"], batch["sentence2"], truncation=True)\n\n\n'
            "tokenized = raw.map(tokenize, batched=True)",
            "`--text-columns`, which the task names, `--max-length` and `--truncation`. A message says how many pairs "
            "are cut; the notebook cuts in silence.",
            (
                (tokens.tokenise, '.with_format("arrow").map('),
                (tokens.encode_sentences, "encode_batch_fast(some)"),
                (tokens.encode_sentences, "left_out = gaps("),
            ),
        ),
        Cell(
            "`DataCollatorWithPadding`",
            "from transformers import DataCollatorWithPadding\n\ncollator = DataCollatorWithPadding(tokenizer)",
            "`--unpad never` pads each batch to its longest pair, as the collator does. On the CPU the default is to "
            "pack them, without padding.",
            ((batches.collate, "numpy.full(shape, padding"), (pack, "input_ids=batch.input_ids[mask]")),
        ),
        Cell(
            "The model",
            "from transformers import AutoModelForSequenceClassification\n\n"
            "model = AutoModelForSequenceClassification.from_pretrained(checkpoint, num_labels=2)",
            "no flag. The data's classes decide the head, and `config.json` gets their names. The seed is set before, "
            "so that the new head is the same in each run.",
            (
                (train.train, "seed_everything(config.seed)"),
                (classifier.from_source, "AutoModelForSequenceClassification.from_pretrained,"),
            ),
        ),
        Cell(
            "`compute_metrics`",
            "import evaluate\nimport numpy as np\n\n\n"
            "def compute_metrics(answers):\n"
            '    metric = evaluate.load("glue", "mrpc")\n'
            "    predictions = np.argmax(answers.predictions, axis=-1)\n"
            "    return metric.compute(predictions=predictions, references=answers.label_ids)",
            "`--task` names the metrics. They are part of the package: `evaluate.load` downloads a script and runs it, "
            "and fails offline.",
            (
                (evaluation.predictions_of, "logits.argmax(axis=1)"),
                (evaluation.compute_metrics, "**compute(metrics, predictions"),
            ),
        ),
        Cell(
            "`TrainingArguments` and `Trainer`",
            "from transformers import Trainer, TrainingArguments\n\n"
            'arguments = TrainingArguments("out", evaluation_strategy="epoch")  # TypeError: now eval_strategy\n'
            "trainer = Trainer(\n"
            "    model=model,\n"
            "    args=arguments,\n"
            '    train_dataset=tokenized["train"],\n'
            '    eval_dataset=tokenized["validation"],\n'
            "    data_collator=collator,\n"
            "    tokenizer=tokenizer,  # TypeError: now processing_class\n"
            "    compute_metrics=compute_metrics,\n"
            ")\n"
            "trainer.train()",
            "`python train.py --epochs 3`. `train` in `train.py` puts the parts together; the loop calls the update.",
            (
                (loop.fit, "loss_sum, grad_norm = update("),
                (step.update, "logits = model(**batch.inputs()).logits"),
                (step.update, "scaler.scale(share).backward()"),
                (step.update, "clip_grad_norm_(model.parameters()"),
                (step.update, "scaler.step(optimizer)"),
            ),
        ),
        Cell(
            "`predict`",
            'answers = trainer.predict(tokenized["test"])\nlabels = np.argmax(answers.predictions, axis=-1)',
            "`python -m pairft.predict --model runs/RUN/best --data FILE --output FILE`, or in Python "
            "`pairft.load(folder).predict(pairs)`.",
            ((predictions_of, "columns = answers_of(logits"),),
        ),
    ]


def markdown() -> str:
    """The cells as Markdown, each with links to its lines."""
    from pairft.explaining.places import place

    parts = []
    for number, cell in enumerate(cells(), 1):
        links = [link(place(function, statement)) for function, statement in cell.lines]
        parts += [f"### {number}. {cell.title}", f"```python\n{cell.code}\n```", f"Here: {cell.here}", "\n".join(links)]
    return "\n\n".join(parts) + "\n"


def link(place: str) -> str:
    """A line of a list: the statement at `place`, which is PATH:NUMBER, as a link to it."""
    from pairft.explaining.places import ROOT

    path, _, number = place.rpartition(":")
    statement = (ROOT / path).read_text(encoding="utf-8").splitlines()[int(number) - 1].split("  # ")[0].strip()
    return f"- [{path}:{number}](../{path}#L{number}): `{statement}`"
