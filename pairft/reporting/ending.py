"""The report at the end of a training. This file imports nothing heavy, so that train.py can import it."""

import shlex
from pathlib import Path

from pairft.config import Config
from pairft.output import say
from pairft.training import distributed


def reported(code: int, config: Config, run_dir: Path) -> int:
    """Write the report of a run, or of a group of runs, that has finished. Returns `code`, the exit code of the
    training: what fails here costs the report, not the training."""
    if code != 0 or not config.report or config.dry_run or not distributed.is_main():
        return code
    try:
        from pairft.reporting.page import write

        path, _ = write(run_dir)
    except (Exception, KeyboardInterrupt) as error:
        reason = str(error) or type(error).__name__
        say(f"warning: no report.html ({reason}); make it with: python -m pairft.report {shlex.quote(str(run_dir))}")
    else:
        say(f"report: {path}")
    return code
