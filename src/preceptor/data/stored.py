"""Records and token ids that stay on disk behind a sequence, so that files of any size can be used.

What is asked for is read, and nothing else. Of a record or a row of ids the place stays in memory,
8 bytes, however long it is.
"""

import json
import os
import tempfile
import weakref
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TypeVar, overload

import numpy as np
import numpy.typing as npt

from preceptor.data.records import (
    Record,
    json_line,
    no_records_in,
    parse_line,
    parse_record,
    require_records_file,
)

Item = TypeVar("Item", covariant=True)
Numbers = npt.NDArray[np.int64]


class Chosen(Sequence[Item]):
    """Some items of a sequence, in the order of their `numbers` [N]; the items stay where they are.

    A slice is such a choice too. Two choices out of one sequence can be added.
    """

    def __init__(self, items: Sequence[Item], numbers: Numbers) -> None:
        self.items, self.numbers = items, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, at: int) -> Item: ...
    @overload
    def __getitem__(self, at: slice) -> "Chosen[Item]": ...
    def __getitem__(self, at: int | slice) -> "Item | Chosen[Item]":
        if isinstance(at, slice):
            return Chosen(self.items, self.numbers[at])
        return self.items[int(self.numbers[at])]

    def __add__(self, other: "Chosen[Any]") -> "Chosen[Item]":
        if self.items is not other.items:
            raise ValueError("only choices out of one sequence can be added.")
        return Chosen(self.items, np.concatenate([self.numbers, other.numbers]))


class Lazy(Sequence[Item]):
    """Items that are made when one is asked for, each of its number."""

    def __init__(self, count: int, make: Callable[[int], Item]) -> None:
        self._count, self._make = count, make

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, at: int) -> Item: ...
    @overload
    def __getitem__(self, at: slice) -> Chosen[Item]: ...
    def __getitem__(self, at: int | slice) -> Item | Chosen[Item]:
        if isinstance(at, slice):
            return Chosen(self, np.arange(*at.indices(self._count), dtype=np.int64))
        return self._make(range(self._count)[at])


def store_records(
    records: Iterable[Record], kind: type[Record], folder: Path | None
) -> Lazy[Record]:
    """Write records into a file of the folder that has no name there, and is gone after its use.

    Without a folder it lies where the system has temporary files.

    Raises:
        OSError: it cannot be written; the error names the folder.
    """
    # What was read and checked before is not checked again.
    lines = (json_line(record) for record in records)
    return _stored(lines, folder, lambda line, _: kind(**json.loads(line)))


def open_records(path: Path, kind: type[Record]) -> Lazy[Record]:
    """The records of a JSONL file that a step of the run wrote.

    Raises:
        DataError: no such file, or nothing in it; of a broken line when that one is read.
    """
    require_records_file(path, kind)
    starts, at = array("q"), 0
    with ExitStack() as unless_read:
        file = unless_read.enter_context(path.open("rb"))
        for line in file:
            if line.strip():
                starts.append(at)
            at += len(line)
        if not starts:
            raise no_records_in(path, kind)
        starts.append(at)
        unless_read.pop_all()  # it stays open as long as it is used

    def parse(line: bytes, number: int) -> Record:
        where = f"{path}:{number + 1}"  # the line, as no step writes blank ones
        return parse_record(parse_line(line, where), kind, where)

    return _in_file(file, np.frombuffer(starts, dtype=np.int64), parse)


def store_ids(rows: Iterable[Sequence[int]], folder: Path | None) -> Lazy[list[int]]:
    """Write rows of token ids, 4 bytes an id, into a file as `store_records` has it."""
    pieces = (np.asarray(row, dtype=np.int32).tobytes() for row in rows)
    return _stored(pieces, folder, lambda found, _: np.frombuffer(found, np.int32).tolist())


def _stored(
    pieces: Iterable[bytes], folder: Path | None, parse: Callable[[bytes, int], Item]
) -> Lazy[Item]:
    starts, at = array("q", [0]), 0
    file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - it stays open while it is used
    with ExitStack() as unless_written:
        unless_written.callback(_close, file)
        for piece in pieces:
            with _named(folder):
                file.write(piece)
            at += len(piece)
            starts.append(at)
        with _named(folder):
            file.flush()
        unless_written.pop_all()
    return _in_file(file, np.frombuffer(starts, dtype=np.int64), parse)


def _in_file(file: IO[bytes], starts: Numbers, parse: Callable[[bytes, int], Item]) -> Lazy[Item]:
    """Items of an open file, which is closed with their last use.

    `starts` [N + 1] says where each begins, and at last where they end; `parse` makes an item of
    its bytes and its number.
    """

    def read(number: int) -> Item:
        start, end = starts[number : number + 2].tolist()
        return parse(os.pread(file.fileno(), end - start, start), number)

    found = Lazy(len(starts) - 1, read)
    weakref.finalize(found, file.close)
    return found


def _close(file: IO[bytes]) -> None:
    """Of a file that could not be written, without writing the rest, which would fail again."""
    with suppress(OSError):
        file.close()


@contextmanager
def _named(folder: Path | None) -> Iterator[None]:
    """The file has no name, so an error in writing it tells where it lies."""
    try:
        yield
    except OSError as error:
        place = str(folder or tempfile.gettempdir())
        raise OSError(error.errno, error.strerror, place) from None
