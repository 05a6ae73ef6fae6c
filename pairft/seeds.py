"""Several runs of one config that differ by their seed alone, and what they say together."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pairft.config import Config

RESAMPLES = 9999
CONFIDENCE = 0.95


def one_seed(config: Config, group: Path, seed: int) -> Config:
    """The config of one of the runs; its folder is `group`/seed-<seed>."""
    return replace(config, seed=seed, seeds=None, runs_dir=str(group), run_name=f"seed-{seed}")


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean, standard deviation of the sample, least, greatest, and the 95 % interval of the mean: the percentiles of
    means of resampled values (Efron 1979), from a fixed seed. A single value has neither deviation nor interval."""
    import numpy
    from scipy.stats import bootstrap

    found: dict[str, Any] = {"mean": float(numpy.mean(values)), "sd": None, "min": min(values), "max": max(values)}
    found["interval"] = None
    if len(values) > 1:
        found["sd"] = float(numpy.std(values, ddof=1))
        drawn = bootstrap(
            (values,), numpy.mean, n_resamples=RESAMPLES, confidence_level=CONFIDENCE, method="percentile", rng=0
        )
        found["interval"] = [float(drawn.confidence_interval.low), float(drawn.confidence_interval.high)]
    return found


def summarise(group: Path, seeds: Sequence[int], diverged: Sequence[int] = ()) -> dict[str, Any]:
    """The content of summary.json, from the results.json of each run: the spread of each metric on the validation part,
    of the last and of the best model, and the seeds whose last model predicts one class for all. `diverged`: the seeds
    whose training diverged, of which there are no results."""
    runs = {seed: json.loads((group / f"seed-{seed}" / "results.json").read_text(encoding="utf-8")) for seed in seeds}
    names = list(runs[seeds[0]]["last"]["validation"])
    return {
        "seeds": list(seeds),
        **{
            which: {name: spread([run[which]["validation"][name] for run in runs.values()]) for name in names}
            for which in ("last", "best")
        },
        "collapsed": [seed for seed, run in runs.items() if run["last"]["collapsed"]],
        "diverged": list(diverged),
        "runs": {str(seed): {which: run[which] for which in ("last", "best")} for seed, run in runs.items()},
    }


def table(summary: Mapping[str, Any]) -> str:
    """For the terminal: a line for each metric, of the last and of the best model."""
    lines = [f"{'model':<6} {'metric':<10} {'mean':>8} {'sd':>8} {'min':>8} {'max':>8}   95 % interval of the mean"]
    for which in ("last", "best"):
        for name, found in summary[which].items():
            sd, interval = ("-", "-")
            if found["sd"] is not None:
                sd, interval = f"{found['sd']:.4f}", "{:.4f} to {:.4f}".format(*found["interval"])
            low, high = found["min"], found["max"]
            lines.append(f"{which:<6} {name:<10} {found['mean']:8.4f} {sd:>8} {low:8.4f} {high:8.4f}   {interval}")
    seeds = ", ".join(map(str, summary["seeds"]))
    lines.append(f"seeds: {seeds}; their last model predicts one class: {summary['collapsed'] or 'none'}")
    if summary["diverged"]:
        lines.append(f"diverged, and not counted: {', '.join(map(str, summary['diverged']))}")
    return "\n".join(lines)
