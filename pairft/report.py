"""python -m pairft.report: write the report of a run again, for example of one that older code has trained."""

import functools
import sys
from collections.abc import Sequence

from pairft import disk
from pairft.command import Parser, exit_code
from pairft.errors import UserError


def main(argv: Sequence[str] | None = None) -> int:
    """Write the report as the command line says. Returns the exit code."""
    return exit_code(
        functools.partial(start, sys.argv[1:] if argv is None else argv), "make room or choose another --output"
    )


def parser() -> Parser:
    flags = Parser(
        prog="python -m pairft.report", description="Write report.html of a finished run.", allow_abbrev=False
    )
    flags.add_argument("run", metavar="RUN", help="the run directory, for example runs/mrpc")
    flags.add_argument("--output", metavar="FILE", help="the file to write (default: report.html in the run directory)")
    return flags


def start(argv: Sequence[str]) -> int:
    args = parser().parse_args(argv)
    run_dir = disk.expanded(args.run)
    output = None if args.output is None else disk.expanded(args.output)
    if output is not None and (output.is_dir() or not output.parent.is_dir()):
        raise UserError(f"--output {output}: name a file, in a folder that exists")
    from pairft.reporting import page  # imports numpy and more

    path, left_out = page.write(run_dir, output)
    print("\n".join([f"wrote {path}", *(f"left out: {line}" for line in left_out)]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
