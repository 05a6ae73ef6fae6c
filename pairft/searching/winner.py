"""Whether the best recipe of a search is better than the defaults. It was picked for its high score in the search,
which is therefore too high on average (the winner's curse); fresh seeds tell."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pairft import checks, disk
from pairft.checks import SEEDS
from pairft.config import to_yaml
from pairft.errors import EXIT_DIVERGED, EXIT_SIGNAL
from pairft.output import say
from pairft.reporting.ending import reported
from pairft.runs import directory, seeds
from pairft.runs.signals import StopRequest
from pairft.searching import figure, records
from pairft.searching.space import as_flags, described, settings_of
from pairft.searching.trials import Search

LEVEL = 0.05  # of significance
TIED = 1e-12  # a smaller spread of differences is rounding


def fresh_seeds(seed: int, number: int) -> tuple[int, ...]:
    """Seeds that no trial has trained with: those after the search's own."""
    return tuple((seed + k) % SEEDS for k in range(1, number + 1))


def train_both(
    search: Search, best: Mapping[str, Any], number: int, stop: StopRequest
) -> tuple[int, dict[str, dict[int, float]]]:
    """Train the best recipe and the baseline with the same fresh seeds, as --seeds does. Runs that have finished are
    not repeated. Returns 0 or the exit code of a signal; and the scores of both by seed, of each seed that has not
    diverged. `best`: the record of the best trial."""
    fresh = fresh_seeds(search.config.seed, number)
    recipes = {"winner": settings_of(search.base, best["settings"]), "defaults": dict(search.base)}
    names = {"winner": f"{best['run']}-on-{number}-seeds", "defaults": f"defaults-on-{number}-seeds"}
    scores: dict[str, dict[int, float]] = {}
    for which, settings in recipes.items():
        own = {**settings, "seeds": fresh, "run_name": names[which], "runs_dir": str(search.directory)}
        config, place = checks.resolve(own), search.directory / names[which]
        if stop.signal is not None:
            return EXIT_SIGNAL + stop.signal, {}
        if not directory.is_finished(place):
            say(f"{names[which]}: {'the best recipe' if which == 'winner' else 'the defaults'} on fresh seeds")
            run_dir = place if place.exists() else None
            with directory.locked(run_dir):
                code = seeds.train_all(config, run_dir, as_flags(own), search.train, reported)
            if code not in (0, EXIT_DIVERGED):
                return code, {}
        scores[which] = scores_of(place, best["metric"])
    return 0, scores


def scores_of(group: Path, metric: str) -> dict[int, float]:
    """The score of the best model of each run of a group, by seed."""
    try:
        runs = json.loads((group / "summary.json").read_text(encoding="utf-8"))["runs"]
    except FileNotFoundError:  # all have diverged
        return {}
    return {int(seed): run["best"]["validation"][metric] for seed, run in runs.items()}


def compared(best: Mapping[str, Any], scores: Mapping[str, Mapping[int, float]]) -> dict[str, Any]:
    """The best recipe's score in the search, beside those of both recipes on fresh seeds: means, 95 % confidence
    intervals of the means, and the paired t-test of the difference by seed (SciPy's ttest_rel). "better" is whether the
    difference is above 0 with a p-value below LEVEL."""
    import numpy
    from scipy.stats import ttest_rel

    found: dict[str, Any] = {"trial": best["trial"], "metric": best["metric"], "in_search": best["score"]}
    for which in ("winner", "defaults"):
        values = list(scores[which].values())
        about = seeds.spread(values) if values else {"mean": None, "interval": None}
        found[which] = {"seeds": list(scores[which]), "scores": values, **about}
    both = [seed for seed in scores["winner"] if seed in scores["defaults"]]
    ours, theirs = ([scores[which][seed] for seed in both] for which in ("winner", "defaults"))
    differences = numpy.subtract(ours, theirs).tolist()
    found["difference"] = seeds.spread(differences) if both else None
    found["p"] = None
    if len(both) > 1 and numpy.ptp(differences) > TIED:  # without any spread there is no test
        found["p"] = float(ttest_rel(ours, theirs).pvalue)
    found["better"] = found["p"] is not None and found["p"] < LEVEL and found["difference"]["mean"] > 0
    return found


def sentence(found: Mapping[str, Any]) -> str:
    """The comparison in words."""
    parts = [f"{found['metric']} of the best recipe: {found['in_search']:.4f} in the search"]
    for which, name in (("winner", f"on {len(found['winner']['seeds'])} fresh seeds"), ("defaults", "of the defaults")):
        about = found[which]
        text = "no score: all runs diverged" if about["mean"] is None else f"{about['mean']:.4f}"
        if about["interval"]:
            text += " ({:.4f} to {:.4f})".format(*about["interval"])
        parts.append(f"{name} {text}")
    return f"{'; '.join(parts)}: {verdict(found)}"


def verdict(found: Mapping[str, Any]) -> str:
    """Whether the best recipe is better, in words."""
    p = "" if found["p"] is None else f" (p = {found['p']:.2g}, paired by seed)"
    if found["better"]:
        return f"the best recipe is better than the defaults{p}"
    if found["p"] is not None and found["p"] < LEVEL:
        return f"the best recipe is worse than the defaults{p}"
    return f"no evidence that the best recipe is better than the defaults{p}"


def write_record(search: Search, comparison: Mapping[str, Any] | None = None) -> None:
    """Write sweep.json: what was searched, the trials so far, the best one and, after the search, the comparison."""
    done = records.records(search.study)
    content = {
        "space": described(search.space),
        "base": dict(search.base),
        "seed": search.config.seed,
        "trials": done,
        "best": records.best_of(done),
        "comparison": comparison,
        "conclusion": sentence(comparison) if comparison else None,
    }
    directory.write_json(search.directory / "sweep.json", content)


def concluded(search: Search, best: Mapping[str, Any], scores: Mapping[str, Mapping[int, float]]) -> str:
    """Write best.yaml, sweep.json and winner.svg. Returns the text for the terminal. `scores`: from `train_both`, {}
    without fresh seeds."""
    done = records.records(search.study)
    found = compared(best, scores) if scores else None
    told = (
        sentence(found) if found else "not compared with the defaults; a score by which a recipe was picked is too high"
    )
    comment = f"# The best of {len(done)} trials: {search.directory / best['run']}\n# {told}\n"
    recipe = checks.resolve(settings_of(search.base, best["settings"]))
    disk.write_text(search.directory / "best.yaml", comment + to_yaml(recipe))
    lines = [records.table(done), told]
    if found:
        figure.draw(search.directory / "winner.svg", found, done, f"Best of {len(done)} trials: {verdict(found)}")
        lines.append(f"figure: {search.directory / 'winner.svg'}")
    write_record(search, found)
    return "\n".join([*lines, f"best: {search.directory / 'best.yaml'}  (python train.py --config takes it)"])
