"""Lines that somebody sent, as the file that the store reads."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from preceptor.errors import DataError, StoreError
from preceptor.store.database import Busy

UPLOADED = Path("upload.jsonl")
"""What such a file is called, whatever its name was elsewhere."""


@contextmanager
def uploaded(body: bytes) -> Iterator[Path]:
    """What was sent as a file, which errors call by its name alone."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / UPLOADED
        path.write_bytes(body)
        try:
            yield path
        except Busy:
            raise
        except (DataError, StoreError) as error:
            raise StoreError(str(error).replace(f"{folder}/", "")) from None
