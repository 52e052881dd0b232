"""Sources as pieces of work: which files are read, and which are passed over and said so."""

import glob
import os
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from preceptor.corpus.recipe import CorpusRecipe, Source
from preceptor.corpus.wet import SUFFIXES as WET
from preceptor.data import rows
from preceptor.data.compressed import suffix_of
from preceptor.data.hub import is_hub
from preceptor.data.records import is_text
from preceptor.errors import RecipeError

PIECE_BYTES = 64 * 2**20
"""Small files are read together up to this; a larger one is a piece of its own."""
KNOWN = (*rows.SUFFIXES, *WET)
NAMES_SHOWN = 3
LONGEST_ENDING = 12
"""Characters; what is longer, or has a blank, is a part of the name that follows a dot."""
LONGEST_NAME = 60
"""Characters of a name in the terminal; the card has it whole."""
NO_ENDING, NO_NAME = "without an ending", "with a name that is not UTF-8"
FOLDER, CLOSED, FOLDER_LINK, NO_FILE = (
    "folders that a pattern names",
    "folders that may not be read",
    "links to folders",
    "links to nothing, pipes and the like",
)


@dataclass(frozen=True)
class Piece:
    """What one task reads: some files of one source, or its package."""

    source: Source
    paths: tuple[str, ...]


@dataclass(frozen=True)
class PassedOver:
    """Files of one kind that a source's folders and patterns hold, and that are not read."""

    source: str
    kind: str
    count: int
    names: tuple[str, ...]  # the first few

    def __str__(self) -> str:
        more = ", ..." if self.count > len(self.names) else ""
        return f"{self.count:,} {self.kind} ({', '.join(self.names)}{more})"


@dataclass
class _Found:
    """The files of a source, each once and in order, and what was seen beside them."""

    paths: dict[str, None] = field(default_factory=dict)
    others: dict[str, list[str]] = field(default_factory=dict)

    def pass_over(self, kind: str, name: str) -> None:
        self.others.setdefault(kind, []).append(printable(name))

    def passed_over(self, source: str) -> list[PassedOver]:
        return [
            PassedOver(source, kind, len(names), tuple(sorted(names)[:NAMES_SHOWN]))
            for kind, names in sorted(self.others.items(), key=lambda i: (-len(i[1]), i[0]))
        ]


def plan_pieces(recipe: CorpusRecipe) -> tuple[list[Piece], list[PassedOver]]:
    """All sources cut into pieces, in the recipe's order and by file name; and what is not read.

    How many there are depends on the files alone, so that another machine makes the same ones.

    Raises:
        RecipeError: a pattern matches no file, and `on_error` is "refuse"; or none at all does.
            A source left without files is said in the card's notes, as any that is empty.
    """
    pieces: list[Piece] = []
    passed_over: list[PassedOver] = []
    for source in recipe.sources:
        if source.package is not None:
            pieces.append(Piece(source, ()))
            continue
        found = _files_of(source, on_error=recipe.on_error)
        passed_over += found.passed_over(source.name)
        held: list[str] = []
        size = 0
        for path in found.paths:
            bytes_of = PIECE_BYTES if is_hub(path) else Path(path).stat().st_size
            if held and size + bytes_of > PIECE_BYTES:
                pieces.append(Piece(source, tuple(held)))
                held, size = [], 0
            held.append(path)
            size += bytes_of
        if held:
            pieces.append(Piece(source, tuple(held)))
    if not pieces:
        told = f"no source has a file that can be read{_seen(passed_over)}"
        raise RecipeError(f"{told}. Paths are taken from the working folder.")
    return pieces, passed_over


def _files_of(source: Source, *, on_error: str) -> _Found:
    found = _Found()
    for pattern in source.files:
        if is_hub(pattern) or Path(pattern).is_file():
            found.paths[pattern] = None
            continue
        here = _in_folder(pattern) if Path(pattern).is_dir() else _by_pattern(pattern)
        for kind in (CLOSED, NO_NAME):
            if kind in here.others and on_error == "refuse":
                told = f"{kind}: {here.others[kind][0]}"
                raise RecipeError(
                    f"source {source.name}: {pattern}: {told}. Mend it, or set on_error: skip."
                )
        if not here.paths and on_error == "refuse":
            told = "no such file. Paths are taken from the working folder"
            if Path(pattern).is_dir():
                told = f"no file in it ends in {', '.join(KNOWN)}, compressed or not"
            told += _seen(here.passed_over(source.name))
            raise RecipeError(f"source {source.name}: {pattern}: {told}.")
        found.paths |= here.paths
        for kind, names in here.others.items():
            own = found.others.setdefault(kind, [])
            own += [name for name in names if name not in own]
    return found


def _in_folder(folder: str) -> _Found:
    """Files of a kind that is read, however deep; what else lies there counts by its ending."""
    found = _Found()
    inside: list[Path] = []
    # os.walk says which folder it may not open; a glob would leave it out in silence.
    for place, folders, names in os.walk(
        folder, onerror=lambda error: found.pass_over(CLOSED, error.filename)
    ):
        inside += [Path(place, name) for name in (*folders, *names)]
    for path in sorted(inside):
        if path.is_symlink() or not path.is_dir():
            kind = _kind_of(path, KNOWN)
            if kind is None:
                found.paths[str(path)] = None
            else:
                found.pass_over(kind, str(path.relative_to(folder)))
    return found


def _by_pattern(pattern: str) -> _Found:
    """Every file that a pattern names, of whatever kind; a folder is not looked into.

    Two stars go through links to folders too, in a circle forty times: of one file's many paths
    the shortest counts.
    """
    found = _Found()
    by_file: dict[str, str] = {}
    for name in sorted(glob.glob(pattern, recursive=True), key=lambda name: (len(name), name)):
        by_file.setdefault(os.path.realpath(name) if "**" in pattern else name, name)
    for name in sorted(by_file.values()):
        kind = _kind_of(Path(name))
        if kind is None:
            found.paths[name] = None
        elif kind != FOLDER_LINK:
            found.pass_over(kind, name)
        elif "**" not in pattern:  # two stars name every folder, and what is in it too
            found.pass_over(FOLDER, name)
    return found


def _kind_of(path: Path, known: Sequence[str] | None = None) -> str | None:
    """What kind of thing it is that nobody reads; None for a file that is read."""
    if path.is_dir():
        return FOLDER_LINK
    if not path.is_file():
        return NO_FILE
    if known is not None and suffix_of(path) not in known:
        ending = suffix_of(path)
        is_one = 0 < len(ending) <= LONGEST_ENDING and " " not in ending
        return printable(ending) if is_one else NO_ENDING
    return None if is_text(str(path)) else NO_NAME


def printable(name: str) -> str:
    """A file's name as it can be shown: it may hold line ends, and bytes that are no UTF-8."""
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in name)


def lines_of(passed_over: Iterable[PassedOver]) -> Iterator[str]:
    """Lines for a terminal of 80 columns: by source, and under it a kind of files a line or two."""
    source = None
    for one in passed_over:
        if one.source != source:
            source = one.source
            yield f"corpus source {source}: passed over, not read"
        names = [_shortened(name) for name in one.names]
        more = ", ..." if one.count > len(names) else ""
        yield from textwrap.wrap(
            f"{one.count:,} {one.kind}: {', '.join(names)}{more}",
            80,
            initial_indent="    ",
            subsequent_indent="        ",
            break_on_hyphens=False,
        )


def _shortened(name: str) -> str:
    """Its beginning and its end, where it is too long for a line."""
    return name if len(name) <= LONGEST_NAME else f"{name[:20]}…{name[21 - LONGEST_NAME :]}"


def _seen(passed_over: Iterable[PassedOver]) -> str:
    told = "; ".join(map(str, passed_over))
    return f". There are: {told}" if told else ""
