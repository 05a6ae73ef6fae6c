"""--output FOLDER/: answers in files of about 100,000 rows. A command that was stopped resumes there."""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pairft import disk
from pairft.errors import UserError
from pairft.prediction.sinks import Block, Column, Write, opened_output

if TYPE_CHECKING:
    from torch import nn

BLOCKS_OF_A_FILE = 25
KEY_FILE = ".pairft-predict.json"  # says what the files are made from


def digest_of(model: "nn.Module", *settings: Any) -> str:
    """A sha256 of the weights and of all else that the answers depend on."""
    import torch

    digest = hashlib.sha256(repr((BLOCKS_OF_A_FILE, *settings)).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def path_of(folder: Path, number: int, suffix: str) -> Path:
    return folder / f"part-{number:05d}{suffix}"


def files_done(folder: Path, key: str, suffix: str) -> int:
    """How many files an earlier command has written. Creates the folder and its key file if there are none. Raises
    UserError if the folder holds anything else."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not any(folder.iterdir()):
            disk.write_text(folder / KEY_FILE, json.dumps({"key": key}) + "\n")
            return 0
        held = json.loads((folder / KEY_FILE).read_text(encoding="utf-8"))["key"]
    except OSError as error:
        if not isinstance(error, FileNotFoundError):
            raise UserError(f"can't write --output {folder}: {error.strerror}") from None
        raise UserError(f"--output {folder} holds other files: name a new folder") from None
    except (ValueError, KeyError, TypeError):
        held = None
    if held != key:
        raise UserError(
            f"--output {folder} holds the answers for other rows, by another model or with other flags: name a new "
            "folder, or remove it"
        )
    number = 0
    while path_of(folder, number, suffix).exists():
        number += 1
    return number


@contextlib.contextmanager
def opened_folder(folder: Path, suffix: str, columns: Sequence[Column], first: int) -> Iterator[Write]:
    """Within the context, the function that writes a block to the next file, from number `first` on. Each file is
    written when all of its blocks are there."""
    held: list[Block] = []
    number = first

    def finish() -> None:
        nonlocal number
        with opened_output(path_of(folder, number, suffix), columns) as write:
            for block in held:
                write(block)
        held.clear()
        number += 1

    def write_block(block: Block) -> None:
        held.append(block)
        if len(held) == BLOCKS_OF_A_FILE:
            finish()

    yield write_block
    if held:
        finish()
