"""Archives are pinned, checked at every read, and read in place; no test reaches the network."""

import dataclasses
import hashlib
import os
import subprocess
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from preceptor.data import package_download, packages, telling
from preceptor.data.folders import scratch_folder
from preceptor.data.package_terms import PACKAGES, Package, Pin
from preceptor.errors import DataError


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny archive that looks like a wheel, pinned and in the cache under its right name."""
    made = tmp_path / "made.whl"
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("toy/data.txt", "one\ntwo\n")
        archive.writestr("toy/__init__.py", "raise RuntimeError('imported')\n")
        about = "Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n"
        archive.writestr("toy-1.0.dist-info/METADATA", about)
        archive.writestr("toy-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("toy-1.0.dist-info/RECORD", "")
    pin = Pin("toy", "1.0", hashlib.sha256(made.read_bytes()).hexdigest())
    monkeypatch.setattr(packages, "pins", lambda: {"toy": pin})
    gives = Package("toys", "our own", "MIT", "https://opensource.org/license/mit", 1000)
    monkeypatch.setitem(PACKAGES, "toy", gives)
    monkeypatch.setenv("PRECEPTOR_CACHE", str(tmp_path / "cache"))
    place = packages._archive(pin, None)
    place.parent.mkdir(parents=True)
    made.rename(place)
    return place


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """pip fails as it does without an index; the commands that were tried are kept."""
    tried: list[list[str]] = []

    def fail(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        tried.append(command)
        return subprocess.CompletedProcess(command, 1, "", "ERROR: No matching distribution found")

    monkeypatch.setattr(subprocess, "run", fail)
    return tried


def test_a_member_is_read_from_the_cache_without_pip(wheel: Path, no_network: list[list[str]]):
    assert packages.read_member("toy", "toy/data.txt", 100) == b"one\ntwo\n"
    assert no_network == []


def test_a_changed_archive_is_refused_with_both_hashes(wheel: Path):
    pinned = packages.pins()["toy"].sha256
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr("toy/more.txt", "more")
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    with pytest.raises(DataError) as error:
        packages.read_member("toy", "toy/data.txt", 100)
    assert pinned in str(error.value) and found in str(error.value)


def test_a_member_larger_than_expected_is_refused(wheel: Path):
    with pytest.raises(DataError, match="8 bytes, at most 7"):
        packages.read_member("toy", "toy/data.txt", 7)


def test_a_member_is_named_exactly(wheel: Path):
    with pytest.raises(DataError, match="no member toy/other.txt"):
        packages.read_member("toy", "toy/other.txt", 100)


def test_an_unknown_package_names_the_known_ones(wheel: Path):
    with pytest.raises(DataError, match="Pinned are toy"):
        packages.fetch_package("tyo")


def test_without_an_index_the_message_says_what_is_missing_and_how_to_go_on(
    wheel: Path, no_network: list[list[str]]
):
    wheel.unlink()
    with pytest.raises(DataError) as error:
        packages.fetch_package("toy")
    told, *more = str(error.value).splitlines()
    for part in ("toy 1.0", "No matching distribution", "given toys", "find"):
        assert part in told
    assert len(more) == 3 and "miniature needs no package" in more[-1]
    (command,) = no_network
    for option in ("--no-deps", "--require-hashes", "--only-binary"):
        assert option in command
    assert list(wheel.parent.iterdir()) == []  # nothing half downloaded is left


def test_a_download_that_brings_something_else_is_refused(
    wheel: Path, monkeypatch: pytest.MonkeyPatch
):
    wheel.unlink()

    def bring_other(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        Path(command[-1], "toy-1.0-py3-none-any.whl").write_bytes(b"other")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", bring_other)
    with pytest.raises(DataError, match="pinned is"):
        packages.fetch_package("toy")
    assert packages.cached_package("toy") is None


def test_what_a_killed_download_left_goes_with_the_next(
    wheel: Path, monkeypatch: pytest.MonkeyPatch
):
    """Pip's own files too: they are where ours are."""
    content = wheel.read_bytes()
    wheel.unlink()
    work = wheel.with_name(f"{wheel.name}.partial")
    for left in ("pip/pip-unpack-x/toy.whl", "brought/other.whl", "requirement.txt"):
        (work / left).parent.mkdir(parents=True, exist_ok=True)
        (work / left).write_text("half")

    def bring(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        own = Path(options["env"]["TMPDIR"])
        assert own.is_relative_to(work) and list(own.iterdir()) == []
        Path(command[-1], "toy-1.0-py3-none-any.whl").write_bytes(content)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", bring)
    assert packages.fetch_package("toy").read_bytes() == content
    assert list(wheel.parent.iterdir()) == [wheel]


def test_who_waited_for_another_s_download_does_not_load_it_again(
    wheel: Path, no_network: list[list[str]]
):
    kept = wheel.rename(wheel.with_name("kept"))
    found: list[Path] = []
    work = wheel.with_name(f"{wheel.name}.partial")
    with scratch_folder(work):
        waiting = threading.Thread(target=lambda: found.append(packages.fetch_package("toy")))
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()
        kept.rename(wheel)
    waiting.join(20)
    assert found == [wheel] and no_network == []
    assert list(wheel.parent.iterdir()) == [wheel]


def test_pip_is_told_to_go_on_after_a_break_unless_its_user_says_otherwise(
    wheel: Path, monkeypatch: pytest.MonkeyPatch
):
    wheel.unlink()
    told: list[str] = []

    def fail(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        told.append(options["env"]["PIP_RESUME_RETRIES"])
        return subprocess.CompletedProcess(command, 1, "", "")

    monkeypatch.setattr(subprocess, "run", fail)
    monkeypatch.delenv("PIP_RESUME_RETRIES", raising=False)
    for own in ("", "9"):
        if own:
            monkeypatch.setenv("PIP_RESUME_RETRIES", own)
        with pytest.raises(DataError):
            packages.fetch_package("toy")
    assert told == ["5", "9"]


class Breaking(BaseHTTPRequestHandler):
    """An index of one package, which breaks off each answer after a third of the archive."""

    content = b""
    asked: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        if not self.path.endswith(".whl"):
            page = b'<a href="/toy-1.0-py3-none-any.whl">toy</a>'
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)
            return
        begin = self.headers.get("Range")
        self.asked.append(begin)
        start = int(begin.removeprefix("bytes=").partition("-")[0]) if begin else 0
        self.send_response(206 if start else 200)
        if start:
            told = f"bytes {start}-{len(self.content) - 1}/{len(self.content)}"
            self.send_header("Content-Range", told)
        self.send_header("ETag", '"one"')
        self.send_header("Content-Length", str(len(self.content) - start))
        self.end_headers()
        self.wfile.write(self.content[start : start + len(self.content) // 3 + 1])
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


def test_a_broken_download_goes_on_where_it_broke_or_says_which_pip_can(
    wheel: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """The user's own pip, with an index on this machine."""
    content = wheel.read_bytes()
    wheel.unlink()
    monkeypatch.setattr(Breaking, "content", content)
    monkeypatch.setattr(Breaking, "asked", [])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Breaking)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name, value in {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": f"http://127.0.0.1:{server.server_port}/simple",
        "PIP_EXTRA_INDEX_URL": "",
        "PIP_NO_INDEX": "0",
        "PIP_FIND_LINKS": "",
        "PIP_CACHE_DIR": str(tmp_path / "pip-cache"),
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }.items():
        monkeypatch.setenv(name, value)
    try:
        if package_download.goes_on():
            assert packages.fetch_package("toy").read_bytes() == content
            third = len(content) // 3 + 1
            assert Breaking.asked == [None, f"bytes={third}-", f"bytes={2 * third}-"]
        else:
            with pytest.raises(DataError, match=r"cut off.*, and this pip begins anew"):
                packages.fetch_package("toy")
    finally:
        server.shutdown()
        server.server_close()


def test_a_long_download_says_how_far_it_is(
    wheel: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    wheel.unlink()
    monkeypatch.setattr(telling, "EVERY_SECONDS", 0.01)
    said = ""

    def load_slowly(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        nonlocal said
        Path(options["env"]["TMPDIR"], "toy.whl").write_bytes(b"x" * 600)
        for _ in range(1000):
            time.sleep(0.01)
            said += capfd.readouterr().err
            if " of " in said:
                break
        return subprocess.CompletedProcess(command, 1, "", "")

    gives = dataclasses.replace(PACKAGES["toy"], num_bytes=2_000_000)
    monkeypatch.setitem(PACKAGES, "toy", gives)
    monkeypatch.setattr(subprocess, "run", load_slowly)
    with pytest.raises(DataError):
        packages.fetch_package("toy")
    assert said.splitlines()[:2] == [
        "fetching toy 1.0: toys (2.0 MB)", "fetching toy: 0.0 of 2.0 MB"
    ]  # fmt: skip


def test_what_is_told_of_a_download_fits_a_terminal():
    assert max(len(package_download.fetching(pin)) for pin in packages.pins().values()) <= 80


def test_a_cache_that_cannot_be_written_is_told(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_network: list[list[str]]
):
    monkeypatch.setenv("PRECEPTOR_CACHE", str(wheel / "folder"))  # a file stands in its way
    with pytest.raises(DataError, match="cannot be made or written .* PRECEPTOR_CACHE names"):
        packages.fetch_package("toy")
    assert no_network == []


NO_VERSION = "ERROR: No matching distribution found for toy==1.0\n"
POOL = "HTTPSConnectionPool(host='index.example', port=443)"
REFUSED = "Failed to establish a new connection: [Errno 111] Connection refused"
RETRIED = f"WARNING: Retrying (Retry(total=0)) after connection broken by 'ProxyError('{REFUSED}')'"
SKIPPED = "Could not fetch URL https://index.example/simple/toy/: {} - skipping\n"
TRACE = "ERROR: Exception:\nTraceback (most recent call last):\n"
CUT = "ProtocolError: ('Connection broken: IncompleteRead(1 bytes read, 29 more expected)')\n"
OTHER = f"""ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE. If you have
    toy==1.0:
        Expected sha256 {"a" * 64}
             Got        {"b" * 64}
"""


@pytest.mark.parametrize(
    ("errors", "said", "reason"),
    [
        (f"{RETRIED}: /simple/toy/\n{NO_VERSION}", "", "not reach its index ([Errno 111] Connect"),
        (  # with no retries pip warns of nothing
            NO_VERSION,
            SKIPPED.format(f"connection error: {POOL}: Max retries exceeded ({REFUSED}')))"),
            "pip did not reach its index ([Errno 111] Connection refused)",
        ),
        (
            NO_VERSION,
            SKIPPED.format("403 Client Error: Forbidden for url: https://index.example/"),
            "pip did not reach its index (403 Client Error: Forbidden)",
        ),
        (
            NO_VERSION,
            SKIPPED.format("OSError('Tunnel connection failed: 407 Proxy Authentication')"),
            "pip did not reach its index (Tunnel connection failed: 407 Proxy Authentication)",
        ),
        (  # it was reached, and has no such package
            NO_VERSION,
            SKIPPED.format("404 Client Error: Not Found for url: https://index.example/"),
            NO_VERSION.strip(),
        ),
        (f"{TRACE}ReadTimeoutError: {POOL}: Read timed out.\n", "", "broke off (Read timed out)"),
        (f"{TRACE}{CUT}", "", "the download broke off (1 bytes read, 29 more expected)"),
        (OTHER, "", f"cut off, or another archive of this name (sha256 {'b' * 64})"),
        ("", "", "pip said nothing"),
    ],
)
def test_why_pip_brought_nothing_is_told_by_what_it_met(errors: str, said: str, reason: str):
    """Pip itself ends with "no matching distribution", as if the version were not there."""
    told = package_download.reason_of(errors, said)
    assert reason in told
    assert ("No matching" in told) == ("No matching" in reason)


def test_of_a_source_archive_no_other_is_built(
    wheel: Path, no_network: list[list[str]], monkeypatch: pytest.MonkeyPatch
):
    """`--no-binary :all:` would build the back end from its source too, and all that it needs."""
    monkeypatch.setitem(PACKAGES, "toy", dataclasses.replace(PACKAGES["toy"], is_source=True))
    with pytest.raises(DataError):
        packages.fetch_package("toy")
    (command,) = no_network
    assert command[command.index("--no-binary") + 1] == "toy"
    assert "--only-binary" not in command and "--require-hashes" in command


def test_every_pinned_package_has_terms_and_a_whole_hash():
    assert packages.pins().keys() == PACKAGES.keys()
    for pin in packages.pins().values():
        assert len(pin.sha256) == 64


def test_a_malformed_requirement_is_named_by_line(tmp_path: Path):
    file = tmp_path / "requirements.txt"
    file.write_text("toy==1.0\n")
    with pytest.raises(DataError, match=r"requirements.txt:1: 'toy==1.0'"):
        packages.pins.__wrapped__(file)


def test_the_cache_is_where_the_user_says(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("PRECEPTOR_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert packages.cache_folder() == Path("/somewhere/preceptor")
    monkeypatch.setenv("PRECEPTOR_CACHE", "/elsewhere")
    assert packages.cache_folder() == Path("/elsewhere")
