"""The mixture: how often each document is seen, and the shards in the order of training.

GPT-3 Table 2.2: a source of weight w has w T of the T tokens that are trained on, so it is seen
w T / (its tokens) times, some less than once and some three times. A document that is seen 2.3
times in the mean stands in the shards twice, or three times if it is among the 30 % of smallest
draw. The stream of tokens is all copies by their draws: it does not depend on how it is cut.
"""

import hashlib
import io
import math
from collections.abc import Iterator, Sequence
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
MANY_EPOCHS = 4
"""Seen more often than that, text teaches hardly more (Muennighoff et al. 2023)."""
_COPY = 0xD1B54A32D192ED03
_REST = np.uint64(0x2545F4914F6CDD1D)
Index = npt.NDArray[np.void]


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


@dataclass(frozen=True)
class Piece:
    """The tokens of one piece of work, mapped from the disk."""

    number: int
    source: int
    index: Index
    tokens: npt.NDArray[Any]
    is_valid: npt.NDArray[np.bool_]  # for each document


def write_shards(
    out: Path,
    pieces: Sequence[Piece],
    part_shares: dict[str, Sequence[Share]],
    counts: dict[str, int],
    mine: Sequence[tuple[str, int]],
) -> list[dict[str, Any]]:
    """Write the shards that are named, by part and number; one entry of the card for each.

    Args:
        out: the corpus's folder.
        pieces: all pieces, in order.
        part_shares: for "train" and "valid", each source's share.
        counts: for each part, how many shards it has.
        mine: which of them to write.
    """
    written = []
    for part in PARTS:
        numbers = sorted(number for name, number in mine if name == part)
        if not numbers:
            continue
        entries = _entries(pieces, part_shares[part], part == "valid", counts[part], numbers)
        for number in numbers:
            own = entries[entries["shard"] == number]
            own = own[np.lexsort((own["at"], own["piece"], own["place"]))]
            written.append(_write_shard(out, part, number, own, pieces, len(part_shares[part])))
    return written


_ENTRY = np.dtype([("shard", "<u4"), ("place", "<u8"), ("piece", "<u4"), ("at", "<u8")])


def _entries(
    pieces: Sequence[Piece], of: Sequence[Share], is_valid: bool, count: int, numbers: list[int]
) -> Index:
    """Every copy of every document that belongs into one of these shards."""
    found = [np.empty(0, dtype=_ENTRY)]
    for order_number, piece in enumerate(pieces):
        documents = np.flatnonzero(piece.is_valid == is_valid)
        order = np.ascontiguousarray(piece.index["order"][documents])
        for chosen, place in of[piece.source].copies(order):
            # The place's upper half times the count, so that nothing overflows.
            shard = ((place >> np.uint64(32)) * np.uint64(count)) >> np.uint64(32)
            here = np.isin(shard, np.array(numbers, dtype=np.uint64))
            rows = np.empty(int(here.sum()), dtype=_ENTRY)
            rows["shard"], rows["place"] = shard[here], place[here]
            rows["piece"], rows["at"] = order_number, documents[chosen[here]]
            found.append(rows)
    return np.concatenate(found)


def _write_shard(
    out: Path, part: str, number: int, entries: Index, pieces: Sequence[Piece], num_sources: int
) -> dict[str, Any]:
    """The tokens of a shard and its index; both are files of numpy that anybody can open."""
    index = np.empty(len(entries), dtype=SHARD_INDEX)
    lengths = np.zeros(len(entries), dtype=np.uint64)
    for order_number, piece in enumerate(pieces):
        own = entries["piece"] == order_number
        documents = piece.index[entries["at"][own]]
        lengths[own] = documents["length"]
        index["origin"][own] = documents["origin"]
        index["source"][own] = piece.source
    ends = np.cumsum(lengths)
    index["start"] = ends - lengths
    num_tokens = int(ends[-1]) if len(ends) else 0
    path = out / shard_name(part, number)
    header = io.BytesIO()
    write_header(header, num_tokens, pieces[0].tokens.dtype.str)
    digest = hashlib.sha256(header.getvalue())
    with whole_file(path) as file:
        file.write(header.getvalue())
        for entry in entries:
            piece = pieces[entry["piece"]]
            document = piece.index[entry["at"]]
            start = int(document["start"])
            content = piece.tokens[start : start + int(document["length"])].tobytes()
            digest.update(content)
            file.write(content)
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
        "documents": len(entries),
        "documents_by_source": by_source.tolist(),
        "tokens_by_source": tokens_of.astype(np.int64).tolist(),
        "sha256": digest.hexdigest(),
        "index_sha256": hashlib.sha256(index.tobytes()).hexdigest(),
    }
