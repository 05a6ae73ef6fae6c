"""The settings of a resumed run, what --resume does to a finished run, and the command that resumes a run."""

import contextlib
import itertools
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from pairft import disk, flags
from pairft.config import FIELDS, MAY_CHANGE
from pairft.errors import UserError
from pairft.output import say
from pairft.parsing import flag_of
from pairft.runs import directory, push
from pairft.runs.directory import read_json
from pairft.runs.manifest import command, torchrun_id
from pairft.training.distributed import world_size

LENGTH = ("epochs", "max_steps", "patience")  # the settings that say when a run ends


def settings_to_resume(given: dict[str, Any]) -> tuple[Path, dict[str, Any]]:
    """The directory of the run to resume, and its settings, overridden by the given ones. The settings are {} if the
    run has finished. Raises UserError if there is no such run, or if a given setting may not change."""
    run_dir = directory.find(disk.expanded(given.get("runs_dir", "runs")), given.get("run_name"))
    original = flags.read_file(run_dir / "config.yaml")
    check_resumed(original, given, run_dir)
    if directory.is_finished(run_dir):
        check_finished(run_dir, original, given)
        return run_dir, {}
    return run_dir, {**with_new_length(original, given), **given, "run_name": run_dir.name}


def restarted(given: dict[str, Any]) -> dict[str, Any]:
    """The given settings; with --resume and the run's name, if an earlier attempt of this torchrun job has begun a run
    that is unfinished; or one that it has finished, if a process failed after that and all were started again."""
    job, runs = torchrun_id(), disk.expanded(given.get("runs_dir", "runs"))
    if job is None or given.get("resume"):
        return given
    finished = None
    for path in sorted(runs.glob("*/manifest.json")):
        run_dir = path.parent
        if run_dir.name.startswith(".") or given.get("run_name") not in (None, run_dir.name):
            continue
        about: Any = {}
        with contextlib.suppress(UserError):  # another run's manifest may be damaged
            about = read_json(path)
        if not isinstance(about, dict) or about.get("torchrun") != job:
            continue
        if not directory.is_finished(run_dir):
            say(f"note: resuming {run_dir}, which this torchrun job (id {job}) started")
            return {**given, "resume": True, "run_name": run_dir.name}
        if is_restart() and about.get("command") == command(sys.argv[1:]):  # not of an earlier job with this id
            finished = run_dir.name
    return {**given, "resume": True, "run_name": finished} if finished else given


def is_restart() -> bool:
    """Whether torchrun has started these processes again, or Slurm this job."""
    counts = (os.environ.get(name) or "0" for name in ("TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT"))
    return any(count != "0" for count in counts)


def check_resumed(original: dict[str, Any], given: dict[str, Any], run_dir: Path) -> None:
    """Raise UserError if a setting given with --resume differs from the run's own and may not change. Of several
    runs, one per seed or fold, the length may not change either, since some of them may have finished."""
    may_change = [n for n in MAY_CHANGE if not (is_group(original) and n in LENGTH)]
    for name, value in given.items():
        own = original.get(name, FIELDS[name].default)  # a run of an older version lacks the newer settings
        if FIELDS[name].metadata["kept"] and name not in may_change and value != own:
            raise UserError(
                f"{flag_of(name)} is {value!r}, but {run_dir} was started with {own!r}: leave it out, or "
                f"start a new run; these may change: {', '.join(map(flag_of, may_change))}"
            )


def is_group(settings: dict[str, Any]) -> bool:
    """Whether these are the settings of several runs, as `Config.is_group` says."""
    return bool(settings.get("seeds") or (settings.get("folds") and not settings.get("fold")))


def with_new_length(original: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """The run's own settings; without --max-steps, which would take precedence, if --epochs is given with --resume.
    Raises UserError for several runs, one per seed or fold, whose length may not change."""
    if "epochs" not in given or "max_steps" in given or original.get("max_steps") is None:
        return original
    if is_group(original):
        raise UserError(
            f"--epochs {given['epochs']} has no effect: the runs were started with --max-steps "
            f"{original['max_steps']}, which they share; leave it out"
        )
    say(f"note: --epochs {given['epochs']} replaces the run's --max-steps {original['max_steps']}")
    return {**original, "max_steps": None}


def check_finished(run_dir: Path, original: dict[str, Any], given: dict[str, Any]) -> None:
    """Report that a run is finished, and which settings given with --resume have no effect. Raises UserError if they
    ask for another length: the learning rate has reached zero, so that no uninterrupted run would equal the longer
    one; or the run has stopped early, and stays so."""
    summary = run_dir / "summary.json"
    results = read_json(summary if summary.exists() else run_dir / "results.json")
    try:
        number, result = next(iter(results["runs"].items())) if "runs" in results else (None, results)
        kind = "fold" if "folds" in results else "seed"
        last, model = result["last"], run_dir / ("last" if number is None else f"{kind}-{number}/last")
        lengths, early = {"max_steps": last["step"], "epochs": last["epoch"]}, result.get("stopped_early")
        if early:  # its length is the one it was started with
            lengths = {"max_steps": original.get("max_steps")}
            lengths |= {} if lengths["max_steps"] else {"epochs": original.get("epochs")}
    except (KeyError, TypeError, AttributeError, StopIteration):
        raise UserError(f"the results of {run_dir} are not what was written: remove them to resume the run") from None
    name = "max_steps" if given.get("max_steps") is not None else "epochs"
    name = "patience" if early and given.get("patience") not in (None, original.get("patience")) else name
    if given.get(name) not in (None, lengths.get(name)):
        reached = "" if original.get("schedule") == "constant" else ", at which its learning rate reached zero"
        reached = f": {early['reason']}" if early else reached
        raise UserError(
            f"{flag_of(name)} is {given[name]}, but {run_dir} has finished after {last['step']} steps "
            f"({last['epoch']:g} epochs){reached}; leave it out, or start a new run from its weights with "
            f"--model {shlex.quote(str(model))}"
        )
    say(f"{run_dir} is finished: nothing to do")
    names = [name for name in (*MAY_CHANGE, "profile") if name not in ("runs_dir", "epochs", "max_steps")]
    unused = [name for name in names if given.get(name) is not None]
    unused = [flag_of(name) for name in unused if given[name] != original.get(name)]
    if unused:
        say(f"note: without effect: {', '.join(unused)}")
    repository = given.get("push_to_hub") or original.get("push_to_hub")  # it may have ended while it uploaded
    if repository and (run_dir / "best").is_dir():
        say(f"if it is not on the Hub yet, upload its model with: {push.command(run_dir / 'best', repository)}")


def resume_command(run_dir: Path) -> str:
    """The shell command that resumes the run from the same working directory."""
    script = sys.argv[0] if Path(sys.argv[0]).name == "train.py" else "train.py"
    given = {"--run-name": run_dir.name, "--runs-dir": str(run_dir.parent)}
    if given["--runs-dir"] == "runs":
        del given["--runs-dir"]
    # A value that begins with a dash would be read as a flag.
    words = [[f"{flag}={value}"] if value.startswith("-") else [flag, value] for flag, value in given.items()]
    start = "python" if world_size() == 1 else "torchrun …"  # its own flags aren't known here
    return f"{start} {shlex.join([script, '--resume', *itertools.chain(*words)])}"
