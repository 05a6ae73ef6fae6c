"""python -m pairft.sweep: search for better settings, and find out whether they are better."""

import argparse
import functools
import importlib.util
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pairft import checks, disk, flags
from pairft.command import Parser, exit_code
from pairft.config import FIELDS, Config
from pairft.data import hub
from pairft.errors import EXIT_DIVERGED, EXIT_USER, UserError
from pairft.output import say, unbreakable
from pairft.parsing import closest, flag_of
from pairft.runs import directory
from pairft.runs.signals import StopRequest
from pairft.searching import records, study, trials, winner
from pairft.searching import space as spaces
from pairft.searching.trials import Search
from pairft.training.distributed import world_size

DESCRIPTION = "Search a space of settings with Optuna, then train the best recipe and the defaults with fresh seeds."
REMEDY = "make room, check permissions or choose another --runs-dir; --resume continues a sweep"
OWN = ("resume", "run_name")  # settings of train.py whose place flags of this command take


def main(argv: Sequence[str] | None = None) -> int:
    """Search as the command line says. Returns the exit code."""
    with unbreakable():
        return exit_code(functools.partial(start, sys.argv[1:] if argv is None else argv), REMEDY)


def parser() -> argparse.ArgumentParser:
    made = Parser(
        prog="python -m pairft.sweep",
        usage="python -m pairft.sweep SPACE.yaml --trials N [flags] [flags of train.py]",
        description=DESCRIPTION,
        epilog="Every flag of train.py but --resume and --run-name fixes a setting of all trials and of the defaults, "
        "for example --model builtin --epochs 2; python train.py --help lists them.",
        allow_abbrev=False,
    )
    made.add_argument("space", metavar="SPACE.yaml", help="settings to search, each with a range or a list of values")
    made.add_argument("--trials", type=int, required=True, metavar="N", help="runs to train in the search")
    made.add_argument("--name", help="folder of the sweep in --runs-dir (default: generated)")
    made.add_argument(
        "--seeds-of-best",
        type=int,
        default=3,
        metavar="N",
        help="fresh seeds to train the best recipe and the defaults with after the search; 0: none (default: 3)",
    )
    made.add_argument("--hours", type=float, metavar="H", help="start no further trial after this time")
    made.add_argument("--resume", action="store_true", help="go on with the sweep --name; --trials may be greater")
    flags.add_settings(made, OWN, shown=False)
    return made


def read_arguments(argv: Sequence[str]) -> tuple[argparse.Namespace, dict[str, Any]]:
    """The checked arguments of this command, and the settings given by flags of train.py, parsed. Exits after --help;
    raises UserError."""
    known = parser()
    args, unknown = known.parse_known_args(argv)
    names = list(known._option_string_actions)
    problems = [f"unknown argument {text}{closest(text.split('=')[0], names)}" for text in unknown[:1]]
    given = {name: value for name, value in vars(args).items() if name in FIELDS and name not in OWN}
    settings = flags.parse_all({name: value for name, value in given.items() if value is not None}, problems)
    if args.trials < 1:
        raise UserError(f"--trials is {args.trials}, but should be at least 1")
    if args.seeds_of_best < 0 or args.seeds_of_best == 1:
        raise UserError(f"--seeds-of-best is {args.seeds_of_best}, but should be at least 2 for a comparison, or 0")
    if args.hours is not None and not args.hours > 0:
        raise UserError(f"--hours is {args.hours:g}, but should be above 0")
    if args.resume and args.name is None:
        raise UserError("--resume needs the --name of the sweep")
    if world_size() > 1:
        raise UserError(f"a sweep is one process, but torchrun has started {world_size()}: start it with python")
    if find_spec("optuna") is None:
        raise UserError("a sweep needs optuna: pip install 'pairft[sweep]' (or pip install optuna)")
    return args, settings


def start(argv: Sequence[str]) -> int:
    args, given = read_arguments(argv)
    space, base = spaces.read_space(disk.expanded(args.space))
    for name in [name for name in given if name in space]:
        say(f"note: {flag_of(name)} {given[name]} is for the defaults alone: {args.space} searches {name}")
    file = flags.read_file(given.pop("config")) if "config" in given else {}
    base = {**file, **base, **given}
    config = spaces.check_together(space, base)
    folder, base, config = opened(args, space, base, config)
    lock = disk.lock(folder)
    try:
        with study.storage_errors(folder):
            one = Search(folder, space, base, config, train_function(), study.open_study(folder))
            return search(one, args, argv)
    except (UserError, OSError):
        if not args.resume and not any(folder.glob("trial-*")):  # nothing has been trained yet
            shutil.rmtree(folder)
        raise
    finally:
        lock.release()


def opened(
    args: argparse.Namespace, space: Mapping[str, spaces.Values], base: dict[str, Any], config: Config
) -> tuple[Path, dict[str, Any], Config]:
    """The folder of a new sweep, or of the one to resume; the fixed settings and the config, with the builtin model and
    pairs if the Hub can't be reached. Raises UserError if a sweep to resume had others."""
    runs = disk.expanded(config.runs_dir)
    stored: dict[str, Any] = {}
    if args.resume:
        kept = runs / args.name / "space.yaml"
        if not kept.is_file():
            raise UserError(f"there is no sweep {kept.parent} to resume: leave out --resume to start it")
        stored_space, stored = spaces.read_space(kept)
        if stored.get("fallback") and not set(hub.ASKED_FOR) & set(base):
            base = {**base, **fallback()}
        for name in {**space, **base, **stored_space, **stored}:
            if space.get(name) != stored_space.get(name) or base.get(name) != stored.get(name):
                raise UserError(f"{name} is not what the sweep {kept.parent} was started with ({kept}): restore it")
        config = checks.resolve(base)
    else:
        for problem in checks.run_name_problems(args.name) if args.name is not None else ():
            raise UserError(problem.replace("--run-name", "--name"))
        if args.name is not None and (runs / args.name).exists():
            raise UserError(f"{runs / args.name} exists: choose another --name, or add --resume to resume the sweep")
        directory.check_new(replace(config, run_name=args.name))
    config = hub.resolve_sources(config, base)
    if config.fallback:
        base = {**base, **fallback()}
    models = space.get("model", ())
    for model in models if isinstance(models, tuple) else ():
        if missing := hub.unavailable({"--model": model}):
            raise UserError(f"{missing}. Restore the connection, or search local folders")
    if args.resume:
        return runs / args.name, base, config
    folder = runs / (args.name or f"sweep-{directory.generated_name(config)}")
    part = runs / f".{folder.name}-{os.getpid()}.part"
    with disk.removed_on_error(part):
        part.mkdir()
        disk.write_text(part / "space.yaml", spaces.to_yaml(space, base))
        os.rename(part, folder)
    return folder, base, config


def fallback() -> dict[str, Any]:
    return {"model": "builtin", "data": "builtin", "fallback": True}


def train_function() -> Callable[..., int]:
    """`train` of train.py, which is a script beside the package."""
    path = Path(__file__).parent.parent / "train.py"
    spec = importlib.util.spec_from_file_location("train", path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise UserError(f"{path} is missing: start a sweep from a checkout of pairft")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: Callable[..., int] = module.train
    return found


def search(one: Search, args: argparse.Namespace, argv: Sequence[str]) -> int:
    """Run the trials, then the best recipe and the defaults with fresh seeds. Returns the exit code."""
    keep = functools.partial(winner.write_record, one)
    with StopRequest() as stop:
        code = trials.run_trials(one, args.trials, args.hours, stop, ended=keep)
        done = records.records(one.study)
        best = records.best_of(done)
        scores: dict[str, dict[int, float]] = {}
        if not code and best is not None and args.seeds_of_best:
            code, scores = winner.train_both(one, best, args.seeds_of_best, stop)
    if code:
        say(f"resume the sweep with: {resume_command(argv, args, one.directory.name)}")
        return code
    if best is None:
        print(records.table(done))
        say("error: no trial has finished: narrow the space, or start from other settings")
        return EXIT_DIVERGED if any(trial["state"] == "diverged" for trial in done) else EXIT_USER
    print(winner.concluded(one, best, scores))
    return 0


def resume_command(argv: Sequence[str], args: argparse.Namespace, name: str) -> str:
    named = [] if args.name is not None else ["--name", name]
    return shlex.join(["python", "-m", "pairft.sweep", *argv, *named, *([] if args.resume else ["--resume"])])


if __name__ == "__main__":
    sys.exit(main())
