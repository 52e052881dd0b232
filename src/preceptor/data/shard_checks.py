"""Whether a built corpus is what its card says: every byte, every length, every count.

A byte that a disk or a copy has turned changes no length, and would be trained on as another word.
"""

import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ValidationError

from preceptor.data.records import file_hash
from preceptor.data.shards import CARD, PARTS, SHARD_INDEX, index_name, read_card, shard_name
from preceptor.data.telling import EVERY_SECONDS
from preceptor.errors import DataError

TOKENS_AT_ONCE = 2**23
Say = Callable[[str], None]
Numbers = npt.NDArray[Any]


class ShardFacts(BaseModel):
    """What a card says of a shard."""

    file: str
    tokens: int
    documents: int
    documents_by_source: list[int]
    tokens_by_source: list[int]
    sha256: str
    index_sha256: str


class TokenizerFacts(BaseModel):
    """What it says of the ids."""

    vocabulary_size: int
    separator: int
    dtype: str


class SourceFacts(BaseModel):
    """What it says of a source."""

    name: str
    seen_documents: int
    seen_tokens: int


class CardFacts(BaseModel):
    """What it says that the files can be held to."""

    sha256: str
    tokenizer: TokenizerFacts
    tokens: dict[str, int]
    documents: dict[str, int]
    shards: dict[str, list[ShardFacts]]
    sources: list[SourceFacts]


def require_undamaged(folder: str | Path, say: Say) -> None:
    """Hash every file of the stream and compare, in about the time that reading them takes.

    Raises:
        DataError: a shard or an index is missing, or has other bytes than were written.
    """
    folder = Path(folder)
    for part, number, shard in _shards(folder, read_facts(folder), say):
        _open_shard(folder, part, number, shard)


def check_corpus(folder: str | Path, say: Say) -> dict[str, int]:
    """The same, and whether ids, documents and sums are what the card says; what was counted.

    Raises:
        DataError: the first thing that is wrong.
    """
    folder = Path(folder)
    card = read_facts(folder)
    digest, counted = hashlib.sha256(), {"shards": 0, "tokens": 0, "documents": 0}
    for part, number, shard in _shards(folder, card, say):
        tokens, index = _open_shard(folder, part, number, shard)
        _require_tokens(folder / shard.file, tokens, card.tokenizer)
        _require_documents(folder / index_name(part, number), index, tokens, card, shard)
        digest.update(f"{shard.sha256} {shard.index_sha256}\n".encode())
        counted["shards"] += 1
        counted["tokens"] += len(tokens)
        counted["documents"] += len(index)
    _require_sums(folder, card)
    _same(folder / CARD, "sha256 over all shards", digest.hexdigest(), card.sha256)
    named = {name for part in PARTS for n in range(len(card.shards[part]))
             for name in (shard_name(part, n), index_name(part, n))}  # fmt: skip
    for path in sorted(path for part in PARTS for path in folder.glob(f"{part}-*.npy")):
        if path.name not in named:
            raise DataError(f"{path}: {CARD} does not name it, so nobody trains on it. Move it.")
    return counted


def read_facts(folder: Path) -> CardFacts:
    """The part of the card that the files are held to.

    Raises:
        DataError: no corpus is built there, or its card is damaged.
    """
    path = folder / CARD
    if not path.is_file():
        raise DataError(f"{folder}: no {CARD}, so no corpus is built there to its end.")
    try:
        card = CardFacts.model_validate(read_card(folder))
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"]))
        raise _damaged(path, f"{place}: {problem['msg'].lower()}") from None
    for part in PARTS:
        for kept in (card.tokens, card.documents, card.shards):
            if part not in kept:
                raise _damaged(path, f"it says nothing of {part}")
    return card


def _shards(folder: Path, card: CardFacts, say: Say) -> Iterator[tuple[str, int, ShardFacts]]:
    """All shards in order; now and then a line says how far it is."""
    everything = [(part, n, one) for part in PARTS for n, one in enumerate(card.shards[part])]
    told = time.monotonic()
    for done, shard in enumerate(everything):
        if time.monotonic() - told >= EVERY_SECONDS:
            told = time.monotonic()
            say(f"{folder}: {done}/{len(everything)} shards hashed")
        yield shard


def _open_shard(folder: Path, part: str, number: int, shard: ShardFacts) -> tuple[Numbers, Numbers]:
    """A shard's tokens and documents, mapped, once length and hash are right."""
    path, index_path = folder / shard_name(part, number), folder / index_name(part, number)
    _same(folder / CARD, f"file of shard {number} of {part}", shard.file, path.name)
    tokens, index = _mapped(path), _mapped(index_path)
    _same(path, "tokens", len(tokens), shard.tokens)
    _same(path, "sha256", file_hash(path), shard.sha256)
    _same(index_path, "documents", len(index), shard.documents)
    _same(index_path, "type of a row", index.dtype, SHARD_INDEX)
    # Of the rows alone; what stands before them says that they are such rows.
    _same(index_path, "sha256", hashlib.sha256(index.tobytes()).hexdigest(), shard.index_sha256)
    return tokens, index


def _mapped(path: Path) -> Numbers:
    try:
        found: Numbers = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _damaged(path, f"it cannot be read ({error})") from None
    return found


def _require_tokens(path: Path, tokens: Numbers, tokenizer: TokenizerFacts) -> None:
    """Every id is one of the tokenizer's."""
    _same(path, "type of a token", tokens.dtype, np.dtype(tokenizer.dtype))
    for start in range(0, len(tokens), TOKENS_AT_ONCE):
        block = tokens[start : start + TOKENS_AT_ONCE]
        if (largest := int(block.max())) >= tokenizer.vocabulary_size:
            at = start + int(np.argmax(block))
            told = f"token {at:,} has id {largest:,}"
            raise _damaged(
                path, f"{told}, the vocabulary ends at {tokenizer.vocabulary_size - 1:,}"
            )


def _require_documents(
    path: Path, index: Numbers, tokens: Numbers, card: CardFacts, shard: ShardFacts
) -> None:
    """Documents fill the shard one behind the other, and each source has what the card says."""
    starts = np.ascontiguousarray(index["start"]).astype(np.int64)
    ends = np.append(starts[1:], len(tokens))
    if len(starts) == 0:
        _same(path, "tokens of no document", len(tokens), 0)
    elif starts[0] != 0 or not (ends > starts).all():
        at = 0 if starts[0] != 0 else int(np.argmin(ends > starts))
        raise _damaged(path, f"document {at:,} does not end behind where it begins")
    elif not (is_end := tokens[ends - 1] == card.tokenizer.separator).all():
        raise _damaged(path, f"document {int(np.argmin(is_end)):,} does not end in the separator")
    count = len(card.sources)
    if len(index) and int(index["source"].max()) >= count:
        raise _damaged(path, f"a document is of source {int(index['source'].max())} of {count}")
    documents = np.bincount(index["source"], minlength=count)
    sums = np.bincount(index["source"], weights=ends - starts, minlength=count).astype(np.int64)
    _same(path, "documents by source", documents.tolist(), shard.documents_by_source)
    _same(path, "tokens by source", sums.tolist(), shard.tokens_by_source)


def _require_sums(folder: Path, card: CardFacts) -> None:
    """The card's totals are the sums over its shards."""
    path = folder / CARD
    for part in PARTS:
        shards = card.shards[part]
        _same(path, f"tokens in {part}", card.tokens[part], sum(s.tokens for s in shards))
        _same(path, f"documents in {part}", card.documents[part], sum(s.documents for s in shards))
    for number, source in enumerate(card.sources):
        train = card.shards["train"]
        for what, said, found in (
            ("tokens", source.seen_tokens, sum(s.tokens_by_source[number] for s in train)),
            ("documents", source.seen_documents, sum(s.documents_by_source[number] for s in train)),
        ):
            _same(path, f"{what} of source {source.name}", said, found)


def _same(path: Path, what: str, found: Any, right: Any) -> None:
    if found != right:
        raise _damaged(path, f"{what}: {found}, and it should be {right}")


def _damaged(path: Path, what: str) -> DataError:
    return DataError(
        f"{path}: {what}. The file was changed or damaged since the corpus was built. Copy the "
        f"folder again, or remove {path.parent / CARD} and build the corpus again."
    )
