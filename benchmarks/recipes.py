"""Recipes held against each other: groups of runs that `train.py --seeds` made, and, with --test, what their last
models score on the test split, which no training scores.

    python train.py --seeds 1,2,3,4,5 --run-name trainer --preset trainer …
    python train.py --seeds 1,2,3,4,5 --run-name default …
    python benchmarks/recipes.py --test TEST.parquet --json FILE runs/trainer runs/default

Groups of an earlier call stay in FILE.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

SETTINGS = ("lr", "warmup_ratio", "weight_decay", "batch_size", "epochs", "unpad")


def test_scores(model: Path, test: Path) -> dict[str, float]:
    """Of a model folder on a file with labels, by the program that users have for it."""
    import numpy
    import pyarrow.parquet

    from pairft import predict
    from pairft.tasks import positive_class
    from pairft.training.metrics import compute

    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "answers.parquet"
        assert predict.main(["--model", str(model), "--data", str(test), "--output", str(output)]) == 0
        answers = pyarrow.parquet.read_table(output).column("label").to_numpy()
    names = json.loads((model / "pairft.json").read_text(encoding="utf-8"))["label_names"]
    wanted = pyarrow.parquet.read_table(test).column("label").to_numpy()
    return compute(
        ("accuracy", "f1"), numpy.array([names.index(answer) for answer in answers]), wanted, positive_class(names)
    )


def result_of(group: Path, test: Path | None) -> dict[str, Any]:
    """A group's summary.json, its settings, and the spread of its last models' scores on the test split, if given."""
    from pairft.flags import read_file
    from pairft.runs.seeds import spread

    summary = json.loads((group / "summary.json").read_text(encoding="utf-8"))
    config = read_file(group / "config.yaml")
    scores = [test_scores(group / f"seed-{seed}" / "last", test) for seed in summary["seeds"]] if test else []
    return {
        "date": time.strftime("%Y-%m-%d"),
        "settings": {"preset": config["preset"], **{name: config[name] for name in SETTINGS}},
        "summary": summary,
        "test": {name: spread([score[name] for score in scores]) for name in scores[0]} if scores else None,
    }


def table(content: dict[str, Any]) -> str:
    """As Markdown: mean and standard deviation of each metric, and the 95 % interval of the mean F1."""
    lines = [
        "| recipe | validation accuracy | validation F1 | F1, minimum to maximum | 95 % interval of mean F1 "
        "| best epoch's F1 | test accuracy | test F1 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, group in content["groups"].items():
        last, best, test = group["summary"]["last"], group["summary"]["best"], group["test"]
        cells = [
            *(f"{last[metric]['mean']:.4f} ± {last[metric]['sd']:.4f}" for metric in ("accuracy", "f1")),
            f"{last['f1']['min']:.4f} to {last['f1']['max']:.4f}",
            "{:.4f} to {:.4f}".format(*last["f1"]["interval"]),
            f"{best['f1']['mean']:.4f} ± {best['f1']['sd']:.4f}",
            *(f"{test[name]['mean']:.4f} ± {test[name]['sd']:.4f}" if test else "" for name in ("accuracy", "f1")),
        ]
        settings = ", ".join(f"{key} {value}" for key, value in group["settings"].items() if value is not None)
        lines.append(f"| {name}: {settings} | {' | '.join(cells)} |")
    some = next(iter(content["groups"].values()))["summary"]
    seeds = ", ".join(map(str, some["seeds"]))
    collapsed = {name: group["summary"]["collapsed"] for name, group in content["groups"].items()}
    none = "no run predicted one class" if not any(collapsed.values()) else f"one class predicted: {collapsed}"
    dates = ", ".join(f"{name} {group['date']}" for name, group in content["groups"].items())
    return "\n".join([*lines, "", f"Mean ± standard deviation over the seeds {seeds}; {none}. {dates}.", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("groups", nargs="+", type=Path, help="folders with a summary.json")
    parser.add_argument("--test", type=Path, help="parquet file with labels")
    parser.add_argument("--json", required=True, type=Path)
    args = parser.parse_args()
    content = json.loads(args.json.read_text(encoding="utf-8")) if args.json.exists() else {"groups": {}}
    content["groups"].update({group.name: result_of(group, args.test) for group in args.groups})
    args.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(table(content))


if __name__ == "__main__":
    main()
