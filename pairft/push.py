"""python -m pairft.push: upload a run's model folder to the Hub."""

import functools
import sys
from collections.abc import Sequence

from pairft.checks import repository_problem
from pairft.command import Parser, exit_code
from pairft.errors import UserError
from pairft.runs import push


def main(argv: Sequence[str] | None = None) -> int:
    """Upload as the command line says. Returns the exit code."""
    return exit_code(functools.partial(start, sys.argv[1:] if argv is None else argv), "check permissions")


def parser() -> Parser:
    flags = Parser(prog="python -m pairft.push", description="Upload a model folder to the Hub.", allow_abbrev=False)
    flags.add_argument("--model", required=True, metavar="FOLDER", help="a run's best/ or last/")
    flags.add_argument("--name", required=True, help="repository on the Hub: NAME or ORGANISATION/NAME")
    flags.add_argument("--public", action="store_true", help="a new repository is public; without it, private")
    return flags


def start(argv: Sequence[str]) -> int:
    args = parser().parse_args(argv)
    folder = push.check_folder(args.model)
    if problem := repository_problem(args.name):
        raise UserError(f"--name is {args.name!r}, but {problem}")
    try:
        print(f"uploaded: {push.upload(folder, args.name, args.public)}")
    except UserError as error:
        raise UserError(f"can't upload {args.model}: {error}") from error
    return 0


if __name__ == "__main__":
    sys.exit(main())
