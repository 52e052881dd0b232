"""The folder that a command is to write into: made, or refused before any work is done."""

import contextlib
import errno
import fcntl
import os
import shutil
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
def folder_to_fill(out: Path, *, must_be_empty: bool = False) -> Iterator[None]:
    """A folder for what is written in the block; if that fails, no empty folder stays behind.

    Raises:
        DataError: it cannot be made or written, or must be empty and is not.
    """
    made = make_folder(out)
    try:
        if must_be_empty and any(out.iterdir()):
            raise DataError(f"{out}: there is something in it. Name another folder by --out.")
        yield
    except BaseException:
        for folder in made:
            with contextlib.suppress(OSError):  # something is in it, and stays
                folder.rmdir()
        raise


@contextlib.contextmanager
def scratch_folder(path: Path) -> Iterator[int]:
    """An empty folder to make something in, for one process at a time; it goes in the end.

    Who comes second waits, and then looks whether all is done. What a process left in it that was
    killed goes when the next one comes.

    Yields:
        the open lock: a process that is begun with it holds the folder for as long as it lives.
    """
    sign = path / ".lock"  # a file: NFS locks no folder
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with contextlib.suppress(FileExistsError):
            path.mkdir()
        with contextlib.suppress(FileNotFoundError):  # the one before has just removed it
            lock = os.open(sign, os.O_WRONLY | os.O_CREAT)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if _is_still(sign, lock):
                break
            os.close(lock)
    try:
        _empty(path, sign)
        yield lock
    finally:
        with contextlib.suppress(OSError):
            _empty(path, sign)
            sign.unlink()
        os.close(lock)
        with contextlib.suppress(OSError):  # somebody waited, and has it now
            path.rmdir()


def _is_still(path: Path, opened: int) -> bool:
    """Whether an open file has its name yet."""
    try:
        return os.path.samestat(os.fstat(opened), path.stat())
    except FileNotFoundError:
        return False


def _empty(folder: Path, but: Path) -> None:
    for left in folder.iterdir():
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left)
        elif left != but:
            left.unlink()


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
