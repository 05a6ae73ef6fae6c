"""The settings of a run: from the command line, a YAML file and, with --resume, the run itself."""

from collections.abc import Sequence
from pathlib import Path

from pairft import checks, effects, flags
from pairft.config import Config
from pairft.data import hub
from pairft.errors import UserError
from pairft.output import say
from pairft.runs import directory, push, resume
from pairft.training import distributed


def read_settings(argv: Sequence[str]) -> tuple[Config | None, Path | None]:
    """The settings, and the directory of the run to resume. The settings are None if that run has finished."""
    given = on_command_line = flags.read_flags(argv)
    if "config" in given:
        given = {**flags.read_file(given["config"]), **given}
    if given.get("dry_run") and given.get("resume"):
        raise UserError("--dry-run tries a run from its start, so it excludes --resume: leave one out")
    given, run_dir = given if given.get("dry_run") else resume.restarted(given), None
    if given.get("resume"):
        run_dir, given = resume.settings_to_resume(given)
        if not given:
            return None, run_dir
    else:  # a resume keeps the number, and so the size of a step
        given = {"processes": distributed.world_size(), **given}
    config = checks.resolve(given)
    check_processes(config, distributed.world_size())
    for line in effects.without_effect(on_command_line, config):
        say(line)
    if run_dir is None:
        directory.check_new(config)
    push.check_config(config)
    return hub.resolve_sources(config, given), run_dir


def check_processes(config: Config, world_size: int) -> None:
    """Raise UserError for settings that several processes can't have. Prints a line if the run was started with
    another number of processes, whose steps it keeps."""
    if world_size != config.processes:
        number = config.accumulate * config.processes
        before = "1 process" if config.processes == 1 else f"{config.processes} processes"
        say(f"note: {world_size} instead of {before}: a step keeps its {number} micro-batches, and so its examples")
    if world_size == 1:
        if config.shard == "full":
            say("note: --shard full: a single process holds the whole model")
        return
    excluded = {
        "--seeds": config.seeds,
        "--folds": config.folds,
        "--capture always": config.capture == "always",
        "--dry-run": config.dry_run,
        "--device mps": config.device == "mps",
    }
    for flag, given in excluded.items():
        if given:
            raise UserError(f"{flag} is for one process, but torchrun has started {world_size}: leave it out")
