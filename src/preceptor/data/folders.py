"""The folder that a command is to write into: made, or refused before any work is done."""

import contextlib
import errno
import tempfile
from collections.abc import Iterator
from pathlib import Path

from preceptor.errors import DataError


def make_folder(out: Path) -> list[Path]:
    """Make a folder and see that files can be written there; the folders that were missing.

    Raises:
        DataError: it cannot be; a full disk stays what it is, an `OSError`.
    """
    made: list[Path] = []
    try:
        for folder in (*reversed(out.parents), out):
            if not folder.is_dir():
                folder.mkdir()
                made.insert(0, folder)
        with tempfile.TemporaryFile(dir=out):
            pass
    except (FileExistsError, NotADirectoryError):
        raise DataError(f"{out}: a file stands in its way. Name another folder by --out.") from None
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise
        raise DataError(
            f"{out}: cannot be made or written ({error.strerror}). Name another folder by --out."
        ) from None
    return made


@contextlib.contextmanager
def folder_to_fill(out: Path) -> Iterator[None]:
    """A folder for what is written in the block; if that fails, no empty folder stays behind.

    Raises:
        DataError: it cannot be made or written.
    """
    made = make_folder(out)
    try:
        yield
    except BaseException:
        for folder in made:
            with contextlib.suppress(OSError):  # something is in it, and stays
                folder.rmdir()
        raise


def try_folder(out: Path) -> None:
    """The same, for a command that may still find that it has nothing to write.

    Raises:
        DataError: it cannot be made or written.
    """
    for folder in make_folder(out):
        folder.rmdir()


def try_file(out: Path) -> None:
    """See that a file of this name can be written.

    Raises:
        DataError: it cannot be, or it is a folder.
    """
    try_folder(out.parent)
    if out.is_dir():
        raise DataError(f"{out}: a folder. Name a file by --out.")
