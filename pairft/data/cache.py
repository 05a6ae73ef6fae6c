"""Checks that the cache of `datasets`, which keeps rows and tokens as Arrow files, is writable."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pairft.errors import UserError


def check_cache() -> None:
    """Raise UserError if the cache of `datasets` can't be written."""
    import datasets

    folder = Path(datasets.config.HF_DATASETS_CACHE)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise unwritable(folder, error) from None


@contextlib.contextmanager
def cache_errors() -> Iterator[None]:
    """Within the context, an OSError in the cache folder becomes a UserError: other users may own files there."""
    try:
        yield
    except OSError as error:
        if not of_cache(error):
            raise
        raise unwritable(Path(error.filename), error) from None


def of_cache(error: BaseException) -> bool:
    """Whether the error is about a file in the cache of `datasets`."""
    import datasets

    name = error.filename if isinstance(error, OSError) else None
    return name is not None and Path(name).is_relative_to(datasets.config.HF_DATASETS_CACHE)


def unwritable(path: Path, error: OSError) -> UserError:
    return UserError(
        f"can't write to the cache folder {path}: {error.strerror}; set HF_DATASETS_CACHE (or HF_HOME, for all caches) "
        "to a writable folder"
    )
