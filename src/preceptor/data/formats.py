"""Which of the formats that people have a file is in, and our records out of it and into it.

The format is seen from the keys of the first row, or named; rows of another are refused after that.
"""

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from preceptor.data import conversations, exports, preferences, trees
from preceptor.data.hub import is_hub
from preceptor.data.records import (
    Demonstration,
    Document,
    Prompt,
    Ranking,
    Record,
    parse_record,
    write_records,
)
from preceptor.data.rows import Placed, Row, read_rows
from preceptor.errors import DataError

Kind = type[Document] | type[Prompt] | type[Demonstration] | type[Ranking]
OnError = Literal["refuse", "skip"]
Read = tuple[str, list[Any] | DataError]
"""Where a row stands, and its records or what is wrong with it."""

KINDS: dict[str, Kind] = {
    "documents": Document,
    "prompts": Prompt,
    "demonstrations": Demonstration,
    "rankings": Ranking,
}
MOST_BROKEN = 100
"""Rows at a file's beginning that may be broken before its format is given up."""
NONE_OF_THE_FIRST = (
    f"none of the first {MOST_BROKEN} rows can be read, so no others were looked at. "
    "Mend them first."
)
_WITHIN = re.compile(r"[,:]?(?: (?:at byte|at char|line|column) \d+)+(?: \(char \d+\))?")
ANSWERS = ("response", "responses", "ranks", "labeler")
BESIDE_ANSWERS = ("text", "messages", "chosen", "rejected", "completion")
"""Where other tools have prompt and answer once more; none of these stays with a prompt alone."""


class SeveralFormats(DataError):
    """The keys of a row fit more than one format."""


@dataclass(frozen=True)
class Format:
    """One shape of row: the keys that tell it, what it holds, how it is read and written.

    A name may have several shapes. `kinds[0]` is what it is taken for when nobody says; prompts can
    be had from every other kind.
    """

    name: str
    keys: frozenset[str]
    kinds: tuple[Kind, ...]
    read: Callable[[Row, str, type], Iterator[Row]]
    write: Callable[[Any], Iterator[Row]] | None = None

    def gives(self, kind: Kind) -> bool:
        """Whether records of this kind can be read from it."""
        return kind in self.kinds or (kind is Prompt and Document not in self.kinds)


def _own(row: Row, where: str, kind: type) -> Iterator[Row]:
    yield row


def _format(name: str, keys: str, kinds: tuple[Kind, ...], read: Any, write: Any = None) -> Format:
    return Format(name, frozenset(keys.split()), kinds, read, write)


OWN = "preceptor"
LABELED = (Ranking, Demonstration, Prompt)
FORMATS = (
    _format(OWN, "text", (Document,), _own),
    _format(OWN, "prompt", (Prompt,), _own),
    _format(OWN, "prompt response", (Demonstration, Prompt), _own),
    _format(OWN, "prompt responses ranks", (Ranking, Prompt), _own),
    _format("pairs", "chosen rejected", (Ranking,), preferences.read_pair),
    _format(
        "pairs", "prompt chosen rejected", (Ranking,), preferences.read_pair, preferences.write_pair
    ),
    _format(
        "scores",
        "prompt responses scores",
        (Ranking,),
        preferences.read_scores,
        preferences.write_scores,
    ),
    _format(
        "ultrafeedback",
        "instruction completions",
        (Ranking,),
        preferences.read_ultrafeedback,
        preferences.write_ultrafeedback,
    ),
    _format(
        "alpaca",
        "instruction output",
        (Demonstration,),
        conversations.read_alpaca,
        conversations.write_alpaca,
    ),
    _format(
        "completion",
        "prompt completion",
        (Demonstration,),
        conversations.read_completion,
        conversations.write_completion,
    ),
    _format(
        "messages",
        "messages",
        (Demonstration, Prompt),
        conversations.read_messages,
        conversations.write_messages,
    ),
    _format(
        "sharegpt",
        "conversations",
        (Demonstration, Prompt),
        conversations.read_sharegpt,
        conversations.write_sharegpt,
    ),
    _format(
        "sharegpt",
        "conversations chosen rejected",
        (Ranking,),
        preferences.read_conversation_pair,
        preferences.write_conversation_pair,
    ),
    _format("few_shot", "instruction pairs", (Demonstration,), conversations.read_few_shot),
    _format("oasst", "message_tree_id prompt", LABELED, trees.read_tree, trees.write_tree),
    _format("oasst", "message_tree_id message_id text role", LABELED, trees.read_tree),
    _format("argilla", "fields responses", LABELED, exports.read_argilla, exports.write_argilla),
    _format(
        "label_studio",
        "data annotations",
        LABELED,
        exports.read_label_studio,
        exports.write_label_studio,
    ),
)
KEEP_THEIR_OWN = ("argilla", "label_studio")
"""Formats with places of their own for labeler and meta; in others these are keys beside theirs."""


def detect(row: Row, kind: Kind | None, where: str, name: str | None = None) -> Format:
    """The format of a row, by its keys; null counts as absent, the more telling keys win.

    Raises:
        DataError: none or several fit, or it holds something else than asked for.
    """
    if name is not None and name not in format_names():
        raise DataError(f"no format {name}. Formats known: {', '.join(format_names())}.")
    named = [f for f in FORMATS if name in (None, f.name)]
    present = {key for key, value in row.items() if value is not None}
    seen = [f for f in named if f.keys <= present] or [f for f in named if f.keys <= row.keys()]
    fitting = _most_telling([f for f in seen if kind is None or f.gives(kind)])
    # A text beside another tool's keys is theirs: Alpaca's has the whole prompt again.
    fitting = [f for f in fitting if f.keys != {"text"}] or fitting
    if len({f.name for f in fitting}) == 1:
        return fitting[0]
    keys = ", ".join(row) or "none"
    if fitting:
        told = " and ".join(sorted({f.name for f in fitting}))
        raise SeveralFormats(
            f"{where}: the keys {keys} fit {told}. Name the format that is meant: --format NAME, "
            "in a recipe such as data.demonstrations_format."
        )
    only_ours = name in (None, OWN) and {f.name for f in seen} <= {OWN}
    if kind is not None and only_ours and present & {"text", "prompt"}:
        # Ours, with something missing: parsing it says what.
        return next(f for f in FORMATS if f.name == OWN and f.kinds[0] is kind)
    if seen and kind is not None:
        telling = _most_telling(seen)
        held = ", ".join(dict.fromkeys(kind_name(k) for f in telling for k in f.kinds))
        told = f"this is {telling[0].name}, which holds {held}"
        raise DataError(
            f"{where}: {told}; {kind_name(kind)} are needed. `preceptor data check` takes it with "
            f"--kind {kind_name(telling[0].kinds[0])}."
        )
    if name is not None:
        wanted = " or ".join(", ".join(sorted(f.keys)) for f in named)
        raise DataError(f"{where}: {name} needs the keys {wanted}; found are {keys}.")
    raise DataError(
        f"{where}: no known format has the keys {keys}. Formats known: "
        + "; ".join(f"{n} ({k})" for n, k in _known(kind))
        + "."
    )


def read_file(
    path: str | Path, kind: type[Record], *, format: str | None = None
) -> Iterator[tuple[str, list[Record] | DataError]]:
    """Every row's records, or what is wrong with it; a row may hold several, or none of this kind.

    Raises:
        DataError: the file or its format cannot be told.
    """
    rows = read_rows(path)
    broken: list[Placed] = []
    untold: DataError | None = None
    for where, row in rows:
        found = _detect_or_error(row, kind, where, format)
        if isinstance(found, DataError):
            if isinstance(row, dict):
                untold = untold or found
            broken.append((where, found))
            if len(broken) == MOST_BROKEN:
                if untold is not None:
                    raise untold
                yield from broken
                raise DataError(f"{path}: {NONE_OF_THE_FIRST}")
            continue
        rows = itertools.chain(broken, [(where, row)], rows)
        if "message_id" in found.keys:
            rows = trees.trees_of_messages(rows)
            found = next(f for f in FORMATS if f.write is trees.write_tree)
        for where, row in rows:
            yield where, _try_row(row, kind, found, where)
        return
    if untold is not None:
        raise untold
    yield from broken


def tell_format(
    path: str | Path, kind: Kind | None = None, *, format: str | None = None
) -> tuple[str, Kind]:
    """A file's format, and its kind, which is what it was asked for or what the format holds first.

    Raises:
        DataError: no row can be read, or its format or kind cannot be told.
    """
    first: DataError | None = None
    for where, row in itertools.islice(read_rows(path), MOST_BROKEN):
        found = _detect_or_error(row, kind, where, format)
        if not isinstance(found, DataError):
            return found.name, kind or _kind_in(path, found, format)
        first = first or found
    raise first or DataError(f"{path}: there is nothing in it.")


def _detect_or_error(
    row: Any, kind: Kind | None, where: str, format: str | None
) -> Format | DataError:
    if isinstance(row, DataError):
        return row
    if not isinstance(row, dict):
        return _no_object(kind or Document, where, row)
    if format is not None and format not in format_names():
        detect(row, kind, where, format)  # no other row would have it
    try:
        return detect(row, kind, where, format)
    except DataError as error:
        return error


def _kind_in(path: str | Path, found: Format, format: str | None) -> Kind:
    """Of what a format can hold the first that one of the first rows does hold."""
    if found.name == OWN or len(found.kinds) == 1:
        return found.kinds[0]
    for kind in found.kinds:
        read: Iterator[Any] = read_file(path, kind, format=format)
        for _, records in itertools.islice(read, MOST_BROKEN):
            if records and not isinstance(records, DataError):
                return kind
    return found.kinds[0]


@dataclass
class LeftOut:
    """What of a file was left out: reasons and their counts."""

    skipped: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)  # reason -> where it was met first

    def note(self, reason: str, where: str) -> None:
        """Count what was left out at a place."""
        reason = general(reason.removeprefix(f"{where}: "))
        self.skipped[reason] += 1
        self.first.setdefault(reason, where)

    def lines(self, path: str | Path) -> Iterator[str]:
        """What was left out, for people."""
        for reason, count in self.skipped.most_common():
            yield f"{path}: {count} left out, the first at {self.first[reason]}: {reason}"


def stream_records(
    path: str | Path,
    kind: type[Record],
    *,
    format: str | None = None,
    on_error: OnError = "refuse",
    left_out: LeftOut,
) -> Iterator[Record]:
    """A file's records of one kind, of any known format; what is not read `left_out` counts.

    Raises:
        DataError: a row is broken and `on_error` is "refuse".
    """
    for where, found in read_file(path, kind, format=format):
        if not isinstance(found, DataError) and found:
            yield from found
            continue
        if isinstance(found, DataError) and on_error == "refuse":
            raise found
        left_out.note(str(found) if isinstance(found, DataError) else _none_of(kind), where)


def _none_of(kind: Kind) -> str:
    return f"it has none of the {kind_name(kind)}."


def general(reason: str) -> str:
    """A reason without the column or byte, which are of one row alone: for counting rows by it."""
    return _WITHIN.sub("", reason)


def nothing_in(path: str | Path, kind: type, left_out: LeftOut) -> DataError:
    """The error for a file of which nothing is left, and why."""
    told = next(left_out.lines(path), "")
    return DataError(f"{path}: no {kind_name(kind)} in it." + (f"\n{told}" if told else ""))


def write_format(path: str | Path, records: Iterable[Any], format: str) -> str:
    """Write records as JSON Lines in a format of other tools; returns the file's sha256.

    Raises:
        DataError: the format cannot hold such a record.
    """
    return write_records(path, (row for r in records for row in rows_of(r, format)))


def convert(
    path: str | Path,
    out: Path,
    to: str,
    *,
    kind: Kind | None = None,
    format: str | None = None,
    on_error: OnError = "refuse",
) -> tuple[int, LeftOut]:
    """Write a file's records in another format, one after another; their number, what was left out.

    Raises:
        DataError: a row is broken, or the new format cannot hold a record, with its place; then
            nothing is written. "skip" leaves such records out. Also where `out` is the file itself.
    """
    refuse_own_input([path], [out])
    if to not in format_names():
        raise DataError(f"no format {to}. Formats known: {', '.join(format_names())}.")
    format, kind = tell_format(path, kind, format=format)
    left_out = LeftOut()
    written = 0

    def rows() -> Iterator[Row]:
        nonlocal written
        chosen: Any = kind
        for where, found in read_file(path, chosen, format=format):
            try:
                if isinstance(found, DataError):
                    raise found
                if not found:
                    left_out.note(_none_of(chosen), where)
                    continue
                made = [row for record in found for row in _rows_at(record, to, where)]
            except DataError as error:
                if on_error == "refuse":
                    raise
                left_out.note(str(error), where)
                continue
            written += len(made)
            yield from made

    write_records(out, rows())
    return written, left_out


def refuse_own_input(inputs: Sequence[str | Path], outputs: Sequence[Path]) -> None:
    """Refuse to write over what is read: it would be gone.

    Raises:
        DataError: one of the inputs is one of the outputs, by whatever path.
    """
    written = {path.resolve() for path in outputs}
    for path in inputs:
        if not is_hub(path) and Path(path).resolve() in written:
            raise DataError(
                f"{path}: it is read, and would be written over. Nothing was written. Give another "
                "--out."
            )


def _rows_at(record: Any, to: str, where: str) -> Iterator[Row]:
    try:
        yield from rows_of(record, to)
    except DataError as error:
        raise DataError(f"{where}: {error}") from None


def rows_of(record: Any, format: str) -> Iterator[Row]:
    """One record in a format of other tools, with what else we know of it in keys beside theirs."""
    if format == OWN:
        yield {k: v for k, v in vars(record).items() if v not in ("", {})} | _needed(record)
        return
    fitting = [
        f for f in FORMATS if f.name == format and f.write is not None and type(record) in f.kinds
    ]
    if not fitting:
        known = sorted({f.name for f in FORMATS if f.write and type(record) in f.kinds})
        raise DataError(
            f"{format}: {kind_name(type(record))} are not written in it. Formats that take them: "
            f"{', '.join([OWN, *known])}."
        )
    beside = {key: getattr(record, key, None) for key in ("user", "use_case", "labeler", "meta")}
    if format in KEEP_THEIR_OWN:
        del beside["labeler"], beside["meta"]
    write = fitting[0].write
    assert write is not None
    for row in write(record):
        yield {key: value for key, value in beside.items() if value} | row


def format_names() -> list[str]:
    """Every format's name, ours first."""
    return list(dict.fromkeys(f.name for f in FORMATS))


def kind_name(kind: type) -> str:
    """What records of a kind are called, in the plural."""
    return next(name for name, known in KINDS.items() if known is kind)


def _try_row(row: Any, kind: type[Record], found: Format, where: str) -> list[Record] | DataError:
    if isinstance(row, DataError):
        return row
    try:
        if not isinstance(row, dict):
            return _no_object(kind, where, row)
        if found.name == OWN:
            if kind is Prompt:
                row = {key: value for key, value in row.items() if key not in ANSWERS}
            return [parse_record(row, kind, where)]
        missing = sorted(key for key in found.keys if row.get(key) is None)
        if missing:
            raise DataError(
                f'{where}: "{missing[0]}" is missing; rows of {found.name} have '
                f"{', '.join(sorted(found.keys))}."
            )
        if kind in found.kinds or kind is not Prompt:
            made: Iterable[Row] = found.read(row, where, kind)
        else:
            read = found.read(row, where, found.kinds[0])
            answers = {*ANSWERS, *BESIDE_ANSWERS}
            made = ({k: v for k, v in r.items() if k not in answers} for r in read)
        return [parse_record(r, kind, where) for r in made]
    except DataError as error:
        return error
    except (
        AttributeError,
        IndexError,
        KeyError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        # Somebody else's file may hold anything anywhere; what a reader trips over is the file's.
        told = f"{type(error).__name__}: {error}".split("\n")[0][:200]
        return DataError(f"{where}: not laid out as rows of {found.name} are ({told}).")


def _most_telling(formats: list[Format]) -> list[Format]:
    return [f for f in formats if not any(f.keys < other.keys for other in formats)]


def _no_object(kind: Kind, where: str, row: Any) -> DataError:
    name = "record" if kind is Document else kind.__name__.lower()
    return DataError(f"{where}: a {name} is a JSON object, this is {type(row).__name__}.")


def _needed(record: Any) -> Row:
    keys = {"text", "prompt", "response", "responses", "ranks"}
    return {key: value for key, value in vars(record).items() if key in keys}


def _known(kind: Kind | None) -> Iterator[tuple[str, str]]:
    for name in format_names():
        shapes = [f for f in FORMATS if f.name == name and (kind is None or f.gives(kind))]
        if shapes:
            told = shapes if name == OWN else shapes[:1]
            yield name, " or ".join(", ".join(sorted(f.keys)) for f in told)
