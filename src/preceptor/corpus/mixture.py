"""The mixture: how often each document is seen, and the shards in the order of training.

GPT-3 Table 2.2: a source of weight w has w T of the T tokens that are trained on, so it is seen
w T / (its tokens) times, some less than once and some three times. A document that is seen 2.3
times in the mean stands in the shards twice, or three times if it is among the 30 % of smallest
draw. The stream of tokens is all copies by their draws: it does not depend on how it is cut.
"""

import hashlib
import io
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from preceptor.corpus.recipe import CorpusRecipe, Source
from preceptor.corpus.texts import whole_file
from preceptor.corpus.words import Numbers, mixed
from preceptor.data.shards import PARTS, SHARD_INDEX, index_name, shard_name, write_header

INDEX = np.dtype([("order", "<u8"), ("split", "<u8"), ("origin", "<u8"), ("start", "<u8"),
                  ("length", "<u4")])  # fmt: skip
"""A document of a piece: draws for its order and side, the hash of its text, where it is."""
COPY = np.dtype([("place", "<u8"), ("piece", "<u4"), ("at", "<u4"), ("source", "<u2"),
                 ("start", "<u8"), ("length", "<u4"), ("origin", "<u8")])  # fmt: skip
"""A copy of a document in a shard: where in the stream, and what `INDEX` has of the document."""
COPIES_AT_ONCE = 2**20
"""So many, of 38 bytes, are held before they go to the shards' lists."""
MANY_EPOCHS = 4
"""Seen more often than that, text teaches hardly more (Muennighoff et al. 2023)."""
_COPY = 0xD1B54A32D192ED03
_REST = np.uint64(0x2545F4914F6CDD1D)
Index = npt.NDArray[np.void]
"""Documents of a piece, as INDEX has them."""
Documents = npt.NDArray[np.void]
"""Copies of documents, as COPY has them."""


@dataclass(frozen=True)
class Share:
    """How often a source's documents are seen: so many whole times, and once more below a draw."""

    whole: int
    below: int
    epochs: float  # as asked for
    weight: float | None

    def copies(self, order: Numbers) -> Iterator[tuple[npt.NDArray[np.intp], Numbers]]:
        """The documents of each time, and where each copy stands in the stream."""
        everyone = np.arange(len(order))
        for copy in range(self.whole):
            yield everyone, _at(order, copy)
        once_more = np.flatnonzero(_rest_draw(order) < np.uint64(self.below))
        yield once_more, _at(order[once_more], self.whole)


ONCE = Share(1, 0, 1.0, None)


def share_of(order: Numbers, lengths: npt.NDArray[np.int64], epochs: float,
             weight: float | None) -> Share:  # fmt: skip
    """The share that comes nearest to so many epochs in tokens; right to one document."""
    whole = math.floor(epochs)
    wanted = (epochs - whole) * int(lengths.sum())
    draws = _rest_draw(order)
    by_draw = np.argsort(draws, kind="stable")
    sums = np.cumsum(lengths[by_draw])
    count = int(np.searchsorted(sums, wanted))  # with one more it would be at least what is wanted
    before = int(sums[count - 1]) if count else 0
    if count < len(sums) and int(sums[count]) - wanted < wanted - before:
        count += 1
    below = 0 if count == 0 else int(draws[by_draw[count - 1]]) + 1
    return Share(whole, min(below, 2**64 - 1), epochs, weight)


def shares(
    recipe: CorpusRecipe, found: dict[str, tuple[Numbers, npt.NDArray[np.int64]]]
) -> tuple[dict[str, Share], list[str]]:
    """Every source's share by its weight or its epochs, and what of that a person should know.

    `found` has the draws and lengths of the training documents of each source that has any.
    """
    notes = []
    sources = [source for source in recipe.sources if source.name in found]
    tokens = {source.name: int(found[source.name][1].sum()) for source in sources}
    total_weight = math.fsum(source.weight or 0 for source in sources)
    given = math.fsum(source.weight or 0 for source in recipe.sources)
    if total_weight and abs(given - 1) > 1e-6:
        notes.append(f"The weights sum to {given:g}, not to 1; each was divided by the sum.")
    wanted = recipe.tokens or sum(tokens.values())
    result = {}
    for source in sources:
        epochs, weight = _epochs_of(source, total_weight, wanted, tokens[source.name])
        result[source.name] = share_of(*found[source.name], epochs, weight)
        if epochs > MANY_EPOCHS:
            notes.append(
                f"Source {source.name} is seen {epochs:.1f} times; over {MANY_EPOCHS} times, "
                "text teaches hardly more."
            )
    return result, notes


def _epochs_of(
    source: Source, total_weight: float, wanted: int, tokens: int
) -> tuple[float, float | None]:
    if source.weight is None:
        return source.epochs or 1.0, None
    weight = source.weight / total_weight
    return weight * wanted / tokens, weight


def _at(order: Numbers, copy: int) -> Numbers:
    """Where a copy stands in the stream, from 0 to 2^64."""
    return mixed(order + np.uint64(copy * _COPY % 2**64))


def _rest_draw(order: Numbers) -> Numbers:
    return mixed(order ^ _REST)


def num_shards(num_tokens: int, shard_tokens: int) -> int:
    """So many that a shard has at most about so many tokens."""
    return max(1, math.ceil(num_tokens / shard_tokens))


class ShardLists:
    """What each shard holds: copies of documents, in a file for each shard.

    They are made one piece after another, and a shard has some of nearly every piece. So copies are
    held until there are many, and then each shard's are appended to its file: a task that writes a
    shard reads no other's.
    """

    def __init__(self, folder: Path, counts: dict[str, int]) -> None:
        self._folder, self._counts = folder, counts
        self._held: dict[str, list[tuple[Numbers, Documents]]] = {p: [] for p in PARTS}
        self._size = 0

    def add(self, part: str, documents: Documents, order: Numbers, share: Share) -> None:
        """All copies of these documents; where each is in the stream is decided here."""
        for chosen, place in share.copies(order):
            rows = documents[chosen]
            rows["place"] = place
            # The place's upper half times the count, so that nothing overflows.
            shard = ((place >> np.uint64(32)) * np.uint64(self._counts[part])) >> np.uint64(32)
            self._held[part].append((shard, rows))
            self._size += len(rows)
            if self._size >= COPIES_AT_ONCE:
                self.flush()

    def flush(self) -> None:
        """Append what is held to the shards' files."""
        for part, held in self._held.items():
            if not sum(len(rows) for _, rows in held):
                continue  # np.split makes one of nothing
            shards = np.concatenate([shard for shard, _ in held])
            rows = np.concatenate([rows for _, rows in held])
            held.clear()
            order = np.argsort(shards, kind="stable")
            numbers, starts = np.unique(shards[order], return_index=True)
            for number, mine in zip(numbers.tolist(), np.split(order, starts[1:]), strict=True):
                with list_path(self._folder, part, number).open("ab") as file:
                    file.write(rows[mine].tobytes())
        self._size = 0


def list_path(folder: Path, part: str, number: int) -> Path:
    """Where the list of a shard is; a shard of nothing has none."""
    return folder / f"{part}-{number:05d}.bin"


def read_list(folder: Path, part: str, number: int) -> Documents:
    """The copies in a shard, in the order of training."""
    path = list_path(folder, part, number)
    found = np.fromfile(path, dtype=COPY) if path.is_file() else np.empty(0, dtype=COPY)
    return found[np.lexsort((found["at"], found["piece"], found["place"]))]


def write_shard(
    out: Path,
    part: str,
    number: int,
    copies: Documents,
    tokens_path: Callable[[int], Path],
    dtype: str,
    num_sources: int,
) -> dict[str, Any]:
    """Write the tokens of a shard and its index, files of numpy that anybody can open.

    Args:
        out: the corpus's folder.
        part: train or valid.
        number: which shard of that.
        copies: what it holds, as `read_list` has it.
        tokens_path: where the tokens of a piece are.
        dtype: of a token.
        num_sources: how many sources there are.

    Returns:
        The shard's entry of the card.
    """
    lengths = copies["length"].astype(np.uint64)
    ends = np.cumsum(lengths)
    index = np.empty(len(copies), dtype=SHARD_INDEX)
    index["start"] = ends - lengths
    index["origin"], index["source"] = copies["origin"], copies["source"]
    num_tokens = int(ends[-1]) if len(ends) else 0
    path = out / shard_name(part, number)
    header = io.BytesIO()
    write_header(header, num_tokens, np.dtype(dtype).str)
    with whole_file(path) as file:
        file.write(header.getvalue())
        file.flush()
        _copy_tokens(file.fileno(), len(header.getvalue()), copies, index, tokens_path, dtype)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    with whole_file(out / index_name(part, number)) as file:
        np.save(file, index, allow_pickle=False)
    by_source = np.bincount(index["source"], minlength=num_sources)
    tokens_of = np.bincount(
        index["source"], weights=lengths.astype(np.float64), minlength=num_sources
    )
    return {
        "file": path.name,
        "part": part,
        "number": number,
        "tokens": num_tokens,
        "documents": len(copies),
        "documents_by_source": by_source.tolist(),
        "tokens_by_source": tokens_of.astype(np.int64).tolist(),
        "sha256": digest,
        "index_sha256": hashlib.sha256(index.tobytes()).hexdigest(),
    }


def _copy_tokens(
    file: int,
    begin: int,
    copies: Documents,
    index: Documents,
    tokens_path: Callable[[int], Path],
    dtype: str,
) -> None:
    """Each piece's tokens to their places in the shard: a piece is opened once, one at a time."""
    width = np.dtype(dtype).itemsize
    if len(copies) == 0:
        return
    order = np.lexsort((copies["start"], copies["piece"]))
    pieces, starts = np.unique(copies["piece"][order], return_index=True)
    for piece, mine in zip(pieces.tolist(), np.split(order, starts[1:]), strict=True):
        with tokens_path(piece).open("rb", buffering=0) as tokens:
            for at, start, length in zip(
                index["start"][mine].tolist(),
                copies["start"][mine].tolist(),
                copies["length"][mine].tolist(),
                strict=True,
            ):
                content = os.pread(tokens.fileno(), length * width, start * width)
                written = os.pwrite(file, content, begin + at * width)
                assert written == length * width
