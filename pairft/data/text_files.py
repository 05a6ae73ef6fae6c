"""Rows of json and jsonl files as text."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pairft.data.encodings import opened
from pairft.data.json_files import as_text, json_rows
from pairft.errors import UserError


def rows(path: Path, names: Sequence[str], label_column: str | None) -> Iterator[dict[str, Any]]:
    """The named columns of each row of one file, as text. Raises UserError with file and row."""
    number = 0
    with opened(path) as file:
        try:
            for item in json_rows(file, [name for name in names if name != label_column]):
                yield {name: as_text(item.get(name), name, name == label_column) for name in names}
                number += 1
        except (UserError, UnicodeDecodeError):
            raise
        except json.JSONDecodeError as error:  # the file is a list
            raise UserError(f"{path} is not JSON: {error}") from None
        except ValueError as error:
            raise UserError(f"{path}, row {number + 1}: {error}") from None


def header(path: Path) -> list[str]:
    """Every key in the objects of a JSON file."""
    with opened(path) as file:
        return list(dict.fromkeys(name for item in json_rows(file) for name in item))
