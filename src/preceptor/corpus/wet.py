"""Common Crawl's WET files: WARC records of plain text. Read by hand: the format is four rules.

A record is header lines, an empty line, Content-Length bytes, two empty lines (ISO 28500). Pages
themselves (WARC `response` records) are HTML; their text is another tool's work, and the crawl
gives it away as WET.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import IO

from preceptor.data.compressed import DAMAGE, open_bytes, what_stopped
from preceptor.data.rows import LONGEST_ROW, Placed
from preceptor.errors import DataError

SUFFIXES = (".wet", ".warc")
LONGEST_HEADER = 2**16
ABOUT = ("warcinfo", "request", "metadata", "revisit")
"""Types of records that say something of others, and hold no document."""


def read_wet(path: Path, longest: int = LONGEST_ROW) -> Iterator[Placed]:
    """Each text with its address, or the `DataError` of what stands there."""
    number = 0
    try:
        with open_bytes(path) as file:
            while (header := _header(file, f"{path}:{number + 1}")) is not None:
                number += 1
                where = f"{path}:{number}"
                size = int(header["content-length"])
                content = file.read(size) if size <= longest else None
                if content is None:
                    _skip(file, size)
                elif len(content) < size:
                    raise EOFError("the last record is cut off")
                kind = header.get("warc-type", "")
                if kind == "response":
                    told = "a page as HTML. Give the crawl's WET file, which has its text"
                    yield where, DataError(f"{where}: {told}.")
                elif kind not in ("conversion", *ABOUT):
                    told = f"a record of type {kind or 'none'}; texts are read of type conversion"
                    yield where, DataError(f"{where}: {told}.")
                elif kind == "conversion" and content is None:
                    yield where, DataError(f"{where}: a record over {longest >> 20} MiB.")
                elif kind == "conversion" and content is not None:
                    try:
                        text = content.decode()
                    except UnicodeDecodeError:
                        yield where, DataError(f"{where}: not UTF-8.")
                    else:
                        yield where, {"text": text, "url": header.get("warc-target-uri", "")}
    except DataError as error:
        yield f"{path}:{number + 1}", error
    except DAMAGE as error:
        yield f"{path}:{number}", DataError(f"{path}:{number}: {what_stopped(error)}")


def _header(file: IO[bytes], where: str) -> dict[str, str] | None:
    """The next record's header, names in lower case; None at the end."""
    line = file.readline(LONGEST_HEADER)
    while line in (b"\r\n", b"\n"):
        line = file.readline(LONGEST_HEADER)
    if not line:
        return None
    if not line.startswith(b"WARC/"):
        raise DataError(f"{where}: no WARC record begins here. Is it a WET file?")
    found: dict[str, str] = {}
    while (line := file.readline(LONGEST_HEADER)).strip():
        name, _, value = line.decode("utf-8", "replace").partition(":")
        found[name.strip().lower()] = value.strip()
        if len(found) > 1000:
            break
    if not found.get("content-length", "").isdigit():
        raise DataError(f"{where}: a WARC record without Content-Length.")
    return found


def _skip(file: IO[bytes], size: int) -> None:
    while size > 0 and (piece := file.read(min(size, 2**20))):
        size -= len(piece)
