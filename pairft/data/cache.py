"""The cache of `datasets`, which keeps rows and tokens as Arrow files: rows of our readers, and errors in writing."""

import contextlib
import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pairft import disk
from pairft.errors import UserError

if TYPE_CHECKING:
    import pyarrow
    from datasets import Dataset


ROWS_OF_A_BATCH = 10_000  # of the Arrow files in the cache: the metadata of each batch is in memory


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


def kept_rows(key: str, schema: "pyarrow.Schema", batches: Iterator["pyarrow.RecordBatch"]) -> "Dataset":
    """The rows that the cache keeps under `key`, as a memory-mapped Dataset with that fingerprint. If there are none,
    they are written first, one batch at a time. The file appears in the cache only when it is complete, so several
    processes may write it at once. Raises UserError if the cache can't be written; errors of `batches` pass through."""
    import datasets
    from datasets.table import MemoryMappedTable

    # A folder for each key: Dataset.map writes its own files beside the rows.
    path = Path(datasets.config.HF_DATASETS_CACHE) / "pairft" / key / "rows.arrow"
    if not path.exists():
        write_rows(path, schema, batches)
    return datasets.Dataset(MemoryMappedTable.from_file(str(path)), fingerprint=key)


def write_rows(path: Path, schema: "pyarrow.Schema", batches: Iterator["pyarrow.RecordBatch"]) -> None:
    """Write record batches as an Arrow stream file, completely or not at all."""
    import pyarrow

    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("xb") as file, pyarrow.ipc.new_stream(file, schema) as stream:
            for batch in batches:
                stream.write_batch(batch)
        disk.flush(part)  # or a power failure may leave an empty file under the name
        os.replace(part, path)
    except OSError as error:  # readers raise UserError instead
        raise unwritable(path.parent, error) from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink()
