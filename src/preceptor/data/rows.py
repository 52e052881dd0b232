"""Rows out of any file that people have: JSON Lines, JSON, CSV, Parquet, compressed or not, a hub.

A file is read in pieces and never held whole (a compressed Parquet file is the exception). A row
that cannot be read comes as the `DataError` that says why, so that the caller chooses between
stopping and counting it.
"""

import contextlib
import csv
import datetime
import io
import itertools
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from preceptor.data.compressed import COMPRESSED, DAMAGE, open_bytes, suffix_of, what_stopped
from preceptor.data.hub import HUB, is_hub, read_hub
from preceptor.data.records import DECODER, checked_value, parse_line
from preceptor.errors import DataError

Row = dict[str, Any]
Placed = tuple[str, Any]
"""Where it stands ("file:line"), and the row, or the `DataError` of what stands there."""

LONGEST_ROW = 64 * 2**20
"""Bytes of one row; a longer one is no record, and would not leave memory for others."""

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""What Windows puts before UTF-8."""
SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".txt")
READ_BYTES = 2**20
ESCAPE = "surrogateescape"
"""Bytes that are no UTF-8 become half surrogates, so that only their own row is lost to them."""
NOT_UTF8 = "not UTF-8. Save it as UTF-8."
_GAP = re.compile(r"[ \t\r\n,]*")
# Cells of a table that hold a list are JSON; only these keys can hold one.
LISTS = ("messages", "conversations", "responses", "ranks", "scores", "completions", "pairs")

TURNS = ("prompt", "chosen", "rejected")
"""What may be a text or turns."""


def read_rows(path: str | Path) -> Iterator[Placed]:
    """The rows of a file, or of `hf:NAME[:CONFIG][@SPLIT]`, each with its place.

    Raises:
        DataError: no such file, or nothing of it can be read.
    """
    if is_hub(path):
        for place, row in read_hub(str(path)):
            yield place, _json_row(row, place)
        return
    path = Path(path)
    if path.is_dir():
        raise DataError(f"{path}: a folder. Name the files in it.")
    if not path.is_file():
        raise DataError(f"{path}: no such file. It must be {', '.join(SUFFIXES)} or {HUB}NAME.")
    place = f"{path}"
    try:
        for place, row in READERS.get(suffix_of(path), _read_lines)(path):
            yield place, row
    except DAMAGE as error:
        yield place, DataError(f"{place}: {what_stopped(error)}")


def _read_lines(path: Path) -> Iterator[Placed]:
    with open_bytes(path) as file:
        number = 0
        while line := file.readline(LONGEST_ROW + 1):
            number += 1
            where = f"{path}:{number}"
            if len(line) > LONGEST_ROW:
                while line and not line.endswith(b"\n"):
                    line = file.readline(READ_BYTES)
                yield where, DataError(f"{where}: {_too_long()}")
                continue
            if number == 1:
                line = line.removeprefix(BYTE_ORDER_MARK)
            if line.strip():
                yield where, _try(parse_line, line, where)


def _read_text(path: Path) -> Iterator[Placed]:
    """Documents of plain text, a blank line between two; one with a bad line is not read at all."""
    with open_bytes(path) as file:
        lines: list[str] = []
        broken: Placed | None = None
        first, size, number = 1, 0, 0
        while True:
            line = file.readline(LONGEST_ROW + 1)
            number += 1
            if number == 1:
                line = line.removeprefix(BYTE_ORDER_MARK)
            if line.strip():
                first = number if size == 0 else first
                size += len(line)
                if size > LONGEST_ROW:
                    while line and not line.endswith(b"\n"):
                        line = file.readline(READ_BYTES)
                    where = f"{path}:{first}"
                    broken, lines = broken or (where, DataError(f"{where}: {_endless()}")), []
                elif broken is None:
                    try:
                        lines.append(line.decode())
                    except UnicodeDecodeError as error:
                        where = f"{path}:{number}"
                        told = f"{where}: not UTF-8 at byte {error.start}. Save it as UTF-8."
                        broken, lines = (where, DataError(told)), []
                continue
            if broken is not None:
                yield broken
            elif text := "".join(lines).replace("\r\n", "\n").strip():
                yield f"{path}:{first}", {"text": text, "source": path.name}
            lines, size, broken = [], 0, None
            if not line:
                return


def _read_json(path: Path) -> Iterator[Placed]:
    """The elements of one array or several, or JSON values one after another, piece by piece."""
    with open_bytes(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8-sig", errors=ESCAPE)
        rest, at, number, whole = "", 0, 1, False
        opened = closed = False
        while True:
            gap = _GAP.match(rest, at)
            assert gap is not None  # it matches nothing, too
            number += gap[0].count("\n")
            at = gap.end()
            next_one = rest[at : at + 1]
            if next_one == "[" and not opened:
                opened, at = True, at + 1
                continue
            if next_one == "]" and opened:
                opened, closed, at = False, True, at + 1
                continue
            where = f"{path}:{number}"
            if next_one and closed and not opened:
                told = f"{next_one!r} stands after the end of the list, where only another may"
                yield where, _stopped(told, where)
                return
            if not _is_utf8(next_one):
                yield where, _stopped("not UTF-8 between values", where)
                return
            if next_one:
                try:
                    row, end = DECODER.raw_decode(rest, at)
                    if whole or end < len(rest):  # a number at the end may go on
                        yield where, _try(_decoded, (row, rest[at:end]), where)
                        number, at = number + rest.count("\n", at, end), end
                        continue
                except RecursionError:
                    yield where, _stopped("JSON that is nested too deep", where)
                    return
                except ValueError as error:
                    if whole:
                        yield where, _stopped(f"not JSON from here on ({error})", where)
                        return
            if whole:
                if opened:
                    yield where, DataError(f"{where}: the list is not closed; the file is cut off.")
                return
            if _num_bytes(rest, at) > LONGEST_ROW:
                yield where, _stopped(_too_long().removesuffix("."), where)
                return
            # Twice as much each time: a long element is not parsed again for every piece.
            held = len(rest) - at
            piece = text.read(max(READ_BYTES // 4, min(held, LONGEST_ROW + 1 - held)))
            rest, at, whole = rest[at:] + piece, 0, not piece


def _read_table(path: Path) -> Iterator[Placed]:
    """Rows of a table with a header; quoted cells may hold line breaks."""
    csv.field_size_limit(LONGEST_ROW)
    with open_bytes(path) as file:
        lines = _TableLines(file)
        where = f"{path}:1"
        try:
            first = next(lines, "")
            # In half of Europe the comma is taken by numbers, and tables have semicolons.
            delimiter = next((d for d in ("\t", ",", ";") if d in first), ",")
            reader = csv.reader(itertools.chain([first], lines), delimiter=delimiter, strict=True)
            header = next(reader, [])
            if not _is_utf8("".join(header)):
                yield where, _stopped("not UTF-8 in the names of the columns", where)
                return
            if len(set(header)) < len(header):
                told = f"two columns have one name in {', '.join(header)}"
                yield where, _stopped(told, where)
                return
            last = reader.line_num
            for cells in reader:
                where, last, lines.held = f"{path}:{last + 1}", reader.line_num, 0
                if not cells:
                    continue
                if lines.escaped and not _is_utf8("".join(cells)):
                    yield where, DataError(f"{where}: {NOT_UTF8}")
                    continue
                if len(cells) != len(header):
                    told = f"{len(cells)} cells, the header has {len(header)}"
                    yield where, DataError(f"{where}: {told}. Quote cells that hold a comma.")
                    continue
                row = dict(zip(header, cells, strict=True))
                yield where, _try(_with_lists, row, where)
        except csv.Error as error:
            yield where, _stopped(f"not CSV after this ({error})", where)


class _TableLines:
    """Lines for a reader of tables, with their ends; `held` is how many bytes its row has so far.

    A row may be of many lines, for a quoted cell may. `escaped` says that bytes were no UTF-8 in
    some line so far.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self.held = 0
        self.escaped = False
        self._file = file
        self._parts: Iterator[str] = iter(())
        self._start = BYTE_ORDER_MARK

    def __iter__(self) -> "_TableLines":
        return self

    def __next__(self) -> str:
        for part in self._parts:
            return part
        line = self._file.readline(LONGEST_ROW + 1).removeprefix(self._start)
        self._start = b""
        if not line:
            raise StopIteration
        self.held += len(line)
        if self.held > LONGEST_ROW:
            raise csv.Error(_too_long().removesuffix("."))
        try:
            text = line.decode()
        except UnicodeDecodeError:
            text, self.escaped = line.decode(errors=ESCAPE), True
        if text.find("\r", 0, len(text) - 2) < 0:
            return text
        self._parts = io.StringIO(text, newline="")  # a carriage return alone ends a line, too
        return next(self._parts)


def _num_bytes(text: str, start: int) -> int:
    """Bytes of the text from there on, in UTF-8; counted piece by piece, not to hold it twice."""
    return sum(len(piece.encode(errors=ESCAPE)) for piece in _pieces(text, start))


def _pieces(text: str, start: int = 0) -> Iterator[str]:
    return (text[at : at + READ_BYTES] for at in range(start, len(text), READ_BYTES))


def _is_utf8(text: str) -> bool:
    """Whether no byte of it was escaped in decoding."""
    try:
        return text.isascii() or all(piece.encode() for piece in _pieces(text))
    except UnicodeEncodeError:
        return False


def _decoded(found: tuple[Any, str], where: str) -> Any:
    """A checked value, unless a byte of its text is no UTF-8."""
    if not _is_utf8(found[1]):
        raise DataError(f"{where}: {NOT_UTF8}")
    return checked_value(found, where)


def _with_lists(row: dict[str, str], where: str) -> Row:
    found: Row = {key: value if value != "" else None for key, value in row.items()}
    for key, value in row.items():
        if key in LISTS and value.lstrip().startswith(("[", "{")):
            found[key] = _cell(value, key, where)
        elif key in TURNS and value.startswith(("[{'role'", "[{'content'", "[{'from'")):
            told = f'"{key}" has turns as Python prints them, which is not JSON'
            raise DataError(f"{where}: {told}. Write the column with json.dumps.")
        elif key in TURNS and value.startswith('[{"'):
            # Turns as a rule; but a text may begin like that too, and be about JSON.
            with contextlib.suppress(DataError):
                turns = _cell(value, key, where)
                if all(isinstance(t, dict) and {"role", "from"} & t.keys() for t in turns):
                    found[key] = turns
    return found


def _cell(value: str, key: str, where: str) -> Any:
    try:
        return checked_value((DECODER.decode(value), value), where)
    except RecursionError:
        raise DataError(f'{where}: "{key}" is JSON that is nested too deep.') from None
    except ValueError as error:
        raise DataError(f'{where}: "{key}" is a list that is not JSON ({error}).') from None


def _read_parquet(path: Path) -> Iterator[Placed]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise DataError(
            f"{path}: Parquet is read by pyarrow, which is not installed. "
            "Install it: pip install 'preceptor[parquet]'"
        ) from None
    with open_bytes(path) as file:
        source = file if file.seekable() and not path.name.endswith(COMPRESSED) else None
        try:
            table = pyarrow.parquet.ParquetFile(source or io.BytesIO(file.read()))
            names = table.schema_arrow.names
            if len(set(names)) < len(names):
                told = f"two columns have one name in {', '.join(names)}"
                yield f"{path}", _stopped(told, f"{path}")
                return
            number = 0
            for batch in table.iter_batches(batch_size=256):
                for row in _rows_in(batch, _times_as_text):
                    number += 1
                    where = f"{path}:{number}"
                    yield where, _json_row(row, where)
        except pyarrow.ArrowException as error:
            told = str(error).strip().split("\n")[0].rstrip(".")
            yield f"{path}", DataError(f"{path}: not Parquet that can be read ({told}).")


def _rows_in(batch: Any, other: Callable[[Any], Any] | None = None) -> list[Any]:
    """The rows of a piece of a table, or in the place of one the error of its values.

    Where Python cannot hold some value, all is tried once as `other` makes it.
    """
    try:
        return list(batch.to_pylist())
    except (ValueError, OverflowError) as error:
        if other is not None and not isinstance(error, UnicodeDecodeError):
            return _rows_in(other(batch))
        if batch.num_rows == 1:
            return [error]
        return [row for at in range(batch.num_rows) for row in _rows_in(batch.slice(at, 1), other)]


def _times_as_text(batch: Any) -> Any:
    """Of nanoseconds and of years over 9999 Python knows no time."""
    import pyarrow

    for place, column in enumerate(batch.schema):
        if pyarrow.types.is_temporal(column.type):
            is_span = pyarrow.types.is_duration(column.type)
            values = batch.column(place).cast(pyarrow.int64() if is_span else pyarrow.string())
            batch = batch.set_column(place, column.name, values)
    return batch


READERS: dict[str, Callable[[Path], Iterator[Placed]]] = {
    ".json": _read_json,
    ".csv": _read_table,
    ".tsv": _read_table,
    ".parquet": _read_parquet,
    ".txt": _read_text,
}


def _json_row(row: Any, where: str) -> Any:
    """What JSON can hold of a row; nothing is decoded by guessing, of a binary column neither."""
    try:
        if isinstance(row, Exception):
            raise row
        return _as_json(row)
    except UnicodeDecodeError:
        return DataError(f"{where}: {NOT_UTF8}")
    except (ValueError, OverflowError) as error:
        return DataError(f"{where}: a value that Python cannot hold ({error}). Save it as text.")


def _as_json(value: Any) -> Any:
    """What JSON can hold of a table's value: times as text, what is no number as null."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _as_json(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(inner) for inner in value]
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return value.decode() if isinstance(value, bytes) else str(value)


def _try(parse: Callable[[Any, str], Any], found: Any, where: str) -> Any:
    try:
        return parse(found, where)
    except DataError as error:
        return error


def _stopped(told: str, where: str) -> DataError:
    """What is wrong where nobody can tell where the next row begins."""
    return DataError(f"{where}: {told}. The rest of the file was not read.")


def _endless() -> str:
    return f"a document of over {LONGEST_ROW // 2**20} MiB. A blank line ends a document."


def _too_long() -> str:
    return f"a row of over {LONGEST_ROW // 2**20} MiB. One row holds one record."
