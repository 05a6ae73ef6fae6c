"""Settings from the command line and from a YAML file."""

import argparse
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from pairft.config import FIELDS, TYPES, parse_value
from pairft.errors import UserError
from pairft.parsing import closest, flag_of


class _Formatter(argparse.HelpFormatter):
    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(text, width, break_on_hyphens=False)  # names such as google-bert stay on one line


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; python {self.prog} --help lists the flags")


def flag_rows() -> list[tuple[str, str, str]]:
    """(flag, default, meaning) of each flag, for the help and for docs/flags.md."""
    rows = []
    for name, f in FIELDS.items():
        if f.metadata["flag"]:
            default = {"False": "off", "True": "on", "None": "none"}.get(str(f.default), str(f.default))
            choices = " [" + ", ".join(f.metadata["choices"]) + "]" if f.metadata["choices"] else ""
            rows.append((flag_of(name), default, f.metadata["help"] + choices))
    return rows


def add_settings(parser: argparse.ArgumentParser, without: Sequence[str] = (), shown: bool = True) -> None:
    """Add a flag for each setting but those of `without`. `shown`: in the help."""
    parser._negative_number_matcher = re.compile(r"-(\.?\d|inf|nan)")  # -5e-5 is a value, though a wrong one
    for flag, default, text in flag_rows():
        name = flag[2:].replace("-", "_")
        if name in without:
            continue
        help_text = f"{text} (default: {default})".replace("%", "%%") if shown else argparse.SUPPRESS
        if TYPES[name] is bool:
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, help=help_text)
        else:
            parser.add_argument(flag, metavar=name.split("_")[-1].upper(), help=help_text)


def read_flags(argv: Sequence[str]) -> dict[str, Any]:
    """The settings given on the command line, parsed. Exits after --help; raises UserError for anything unknown."""
    parser = _Parser(
        prog="train.py",
        usage="python train.py [flags]",
        formatter_class=_Formatter,
        description="Fine-tune an encoder on pairs of sentences.",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    add_settings(parser)
    given, unknown = parser.parse_known_args(argv)
    if unknown and not unknown[0].startswith("-"):
        raise UserError(f"unexpected argument {unknown[0]!r}: settings are given as flags, for example --epochs 3")
    flags = list(parser._option_string_actions)
    names = [text.split("=")[0] for text in unknown if text.startswith("-")]
    problems = [f"unknown flag {name}{closest(name, flags)} (python train.py --help lists them)" for name in names]
    return parse_all(vars(given), problems)


def parse_all(given: dict[str, Any], problems: list[str]) -> dict[str, Any]:
    """The parsed values. Raises one UserError that lists `problems` and every value that can't be parsed."""
    values = {}
    for name, value in given.items():
        try:
            values[name] = parse_value(name, value)
        except UserError as error:
            problems.append(str(error))
    if problems:
        raise UserError("\n  ".join(problems))
    return values


def read_file(path: str | Path) -> dict[str, Any]:
    """The settings of a YAML file, parsed. Keys may be spelled batch_size or batch-size."""
    return parse_keys(read_yaml(path), str(path))


def read_yaml(path: str | Path) -> dict[Any, Any]:
    """The keys of a YAML file and their values, {} if it is empty. Raises UserError if it holds anything else."""
    import yaml

    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"can't read the config file {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise UserError(f"the config file {path} is not UTF-8 text: save it as UTF-8") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: an impossible date
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"the config file {path} is not YAML{where}: write one 'key: value' per line") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UserError(f"the config file {path} has no settings: write one 'key: value' per line")
    return content


def parse_keys(content: dict[Any, Any], where: str) -> dict[str, Any]:
    """The settings in `content`, parsed. Raises UserError, which names `where` they are from."""
    names = [name for name in FIELDS if name != "config"]
    spelled = {str(key).replace("-", "_"): key for key in content}
    unknown = [f"unknown key {key!r}{closest(name, names)}" for name, key in spelled.items() if name not in names]
    try:
        return parse_all({name: content[key] for name, key in spelled.items() if name in names}, unknown)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
