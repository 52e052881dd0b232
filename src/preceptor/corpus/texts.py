"""A document on its way through the steps, and the files that it waits in between two of them."""

import io
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import zstandard


@dataclass(frozen=True, slots=True)
class Text:
    """A document: where it was read, the hash of what it was then, and which piece of it this is.

    Whatever is drawn for a document is drawn from `origin`: pieces of one stay on one side.
    """

    text: str
    place: str
    origin: int
    part: int = 0

    def with_text(self, text: str, part: int | None = None) -> "Text":
        return replace(self, text=text, part=self.part if part is None else part)


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears whole or not at all.

    What is unfinished has the process's number in its name: a worker that outlived a killed build
    must not write into what its successor writes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with partial.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A folder of files that appears whole or not at all, in the place of one that is there."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    for old in (path, partial):
        shutil.rmtree(old, ignore_errors=True)
    partial.mkdir(parents=True)
    yield partial
    for inside in partial.iterdir():
        with inside.open("rb") as file:
            os.fsync(file.fileno())
    partial.rename(path)


def write_json(path: Path, value: Any) -> None:
    """A small file of JSON, whole or not at all; the same value gives the same bytes."""
    with whole_file(path) as file:
        text = json.dumps(value, ensure_ascii=False, sort_keys=True, indent=1)
        file.write(text.encode() + b"\n")


def read_json(path: Path) -> Any:
    """What `write_json` wrote."""
    return json.loads(path.read_text(encoding="utf-8"))


def written(path: Path, texts: Iterable[Text]) -> Iterator[Text]:
    """The same texts, each written to the file before it goes on; whole when they end."""
    with (
        whole_file(path) as file,
        zstandard.ZstdCompressor(level=1).stream_writer(file, closefd=False) as compressed,
    ):
        for text in texts:
            row = [text.text, text.place, text.origin, text.part]
            compressed.write((json.dumps(row, ensure_ascii=False) + "\n").encode())
            yield text


def read_texts(path: Path) -> Iterator[Text]:
    """What `written` wrote; nothing of it is held."""
    with path.open("rb") as file:
        reader = zstandard.ZstdDecompressor().stream_reader(file)
        for line in io.TextIOWrapper(io.BufferedReader(reader, 2**20), "utf-8", newline="\n"):
            yield Text(*json.loads(line))
