"""The documents of a piece one after another."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from preceptor.corpus.pieces import Piece, plan_pieces
from preceptor.corpus.recipe import CorpusRecipe
from preceptor.corpus.tally import Tally
from preceptor.corpus.texts import Text
from preceptor.corpus.wet import SUFFIXES as WET
from preceptor.corpus.wet import read_wet
from preceptor.corpus.words import origin_of
from preceptor.data import rows
from preceptor.data.catalogue import documents_of, text_set
from preceptor.data.compressed import DAMAGE, open_bytes, suffix_of, what_stopped
from preceptor.data.formats import general
from preceptor.data.heldout import is_heldout
from preceptor.data.hub import is_hub
from preceptor.data.rows import LONGEST_ROW, Placed, read_rows
from preceptor.errors import DataError


def read_piece(piece: Piece, tally: Tally, *, on_error: str, max_chars: int) -> Iterator[Text]:
    """Its documents; a row that cannot be read is refused or counted, as the recipe says.

    Raises:
        DataError: a broken row, and `on_error` is "refuse".
    """
    source = piece.source
    for key, (where, row) in _rows_of(piece):
        text = row if isinstance(row, DataError) else text_in(row, key, where)
        if isinstance(text, DataError):
            if on_error == "refuse":
                raise text
            tally.unreadable("read", reason_of(text, where), where)
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


def sample_texts(recipe: CorpusRecipe, size: int) -> Iterator[str]:
    """Texts of a recipe's sources as they are read, before any step: for training a tokenizer.

    Up to `size` bytes, as much of each piece, so that no source or file is left out for coming
    last.

    Raises:
        DataError: a broken row, and the recipe's `on_error` is "refuse"; or there is no text.
    """
    pieces, _ = plan_pieces(recipe)
    given = 0
    for number, piece in enumerate(pieces, 1):
        found = read_piece(piece, Tally(0), on_error=recipe.on_error, max_chars=recipe.max_chars)
        while given < size * number // len(pieces) and (text := next(found, None)) is not None:
            given += len(text.text.encode())
            yield text.text
    if not given:
        raise DataError("no text in any source of the recipe. `preceptor corpus build` says why.")


def _rows_of(piece: Piece) -> Iterator[tuple[str, Placed]]:
    """Each row, after the key of its text: what has no keys of its own comes as "text"."""
    source = piece.source
    if source.package is not None:
        yield from (("text", row) for row in package_rows(source.package))
        return
    for path in piece.paths:
        kind = "" if is_hub(path) else suffix_of(Path(path))
        if kind in WET:
            found: Iterable[Placed] = read_wet(Path(path))
        elif kind == ".txt" and source.whole_files:
            found = [_whole(Path(path))]
        else:
            found = read_rows(path)
        key = "text" if kind in (*WET, ".txt") else source.text_key
        yield from ((key, row) for row in found)


def _whole(path: Path) -> Placed:
    """A text file as one document."""
    try:
        with open_bytes(path) as file:
            content = file.read(LONGEST_ROW + 1)
    except DAMAGE as error:
        return str(path), DataError(f"{path}: {what_stopped(error)}")
    if len(content) > LONGEST_ROW:
        return str(path), DataError(f"{path}: a file over {LONGEST_ROW >> 20} MiB is no document.")
    try:
        text = content.removeprefix(rows.BYTE_ORDER_MARK).decode().replace("\r\n", "\n")
        return str(path), {"text": text.strip()}
    except UnicodeDecodeError as error:
        told = f"{path}: not UTF-8 at byte {error.start}. Save it as UTF-8."
        return str(path), DataError(told)


def text_in(row: object, key: str, where: str) -> str | DataError:
    """A row's text, or what is wrong with the row."""
    if not isinstance(row, dict):
        return DataError(f"{where}: a document is a JSON object, this is {type(row).__name__}.")
    text = row.get(key)
    if text is None and key not in row:
        return DataError(f'{where}: no "{key}". Name the key that has the text with text_key.')
    if text is not None and not isinstance(text, str):
        return DataError(f'{where}: "{key}" must be text, it is {type(text).__name__}.')
    return text or ""


def reason_of(error: DataError, where: str) -> str:
    """What is wrong, without where: for counting documents by it."""
    return general(str(error).removeprefix(f"{where}: "))


def package_rows(name: str) -> Iterator[Placed]:
    """The documents of an embedded package or of a set in one, as `preceptor data list` has them.

    Raises:
        DataError: it has none, or its package cannot be fetched.
    """
    for number, document in enumerate(documents_of(text_set(name)), 1):
        yield f"{name}:{number}", {"text": document.text, "title": document.meta["title"]}
