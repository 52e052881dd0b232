"""Fuzzy deduplication: MinHash signatures, bands, and agreement (GPT-3 appendix A has 10 hashes).

A signature is the least of 112 hashes over a document's shingles, runs of 5 words without case and
punctuation (Broder 1997): two agree in as many numbers as the sets of shingles overlap (Jaccard).
Documents with one equal band of 8 numbers are candidates; they are duplicates if `near` of all
numbers agree. Of all that hang together the earliest stays: of the earliest source in the recipe,
then in its files.

A band is kept as a hash of its numbers, sorted within each piece. A task finds the equal ones of
one band: it takes a range of hashes at a time, of every piece its part, and opens one piece after
another. So neither memory nor open files grow with the corpus.
"""

import bisect
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy.sparse
import scipy.sparse.csgraph

from preceptor.corpus.recipe import DuplicatesConfig
from preceptor.corpus.texts import Text, whole_file
from preceptor.corpus.words import Numbers, hashed, mixed, runs, words_of
from preceptor.randomness import numpy_generator

SHINGLES_AT_ONCE = 512
"""A signature is made in pieces: all shingles times all hashes are 150 times the text."""
PAIRS_AT_ONCE = 20_000
BANDS_AT_ONCE = 2**22
"""Of one band so many documents are sorted at a time, about; some 40 bytes each."""
Signature = npt.NDArray[np.uint32]
BAND = np.dtype([("band", "<u8"), ("at", "<u4")])
"""A hash of a band's numbers, and the document's number within its piece."""
REMOVED = np.dtype([("at", "<u4"), ("piece", "<u4"), ("of", "<u4")])
"""A document that goes, and which one stays: number within its piece, piece and number of that."""


def hash_functions(count: int) -> tuple[Numbers, Numbers]:
    """So many hash functions x -> (a x + b) mod 2^64, upper half; the same for every corpus."""
    random = numpy_generator(0, "corpus/minhash")
    factors = random.integers(0, 2**64, count, dtype=np.uint64) | np.uint64(1)
    return factors, random.integers(0, 2**64, count, dtype=np.uint64)


def shingles(text: str, run: int) -> Numbers:
    """A number for each run of words; a text of fewer words is one shingle, of none has none."""
    numbers = hashed(words_of(text))
    return runs(numbers, min(run, max(1, len(numbers))))


def signature(found: Numbers, functions: tuple[Numbers, Numbers]) -> Signature:
    """The least of each hash over the shingles [num_bands * band_rows]."""
    factors, shifts = functions
    least = np.full(len(factors), 2**32 - 1, dtype=np.uint64)
    for at in range(0, len(found), SHINGLES_AT_ONCE):
        part = found[at : at + SHINGLES_AT_ONCE, None] * factors
        part += shifts
        part >>= np.uint64(32)
        np.minimum(least, part.min(axis=0), out=least)
    return least.astype(np.uint32)


def signed(
    texts: Iterable[Text], folder: Path, piece: int, config: DuplicatesConfig
) -> Iterator[Text]:
    """The same texts; when they end, their signatures and sorted bands are on the disk.

    A document without a word has no shingle, and is nobody's duplicate.
    """
    functions = hash_functions(config.num_bands * config.band_rows)
    numbers: list[int] = []
    count = 0
    with whole_file(folder / "signatures" / f"{piece:05d}.bin") as file:
        for at, text in enumerate(texts):
            if len(found := shingles(text.text, config.run)):
                numbers.append(at)
            file.write(signature(found, functions).tobytes())
            count += 1
            yield text
    rows = open_signatures(folder, piece, config)
    with whole_file(_bands_path(folder, piece)) as file:
        for band in range(config.num_bands):
            own = slice(band * config.band_rows, (band + 1) * config.band_rows)
            records = np.empty(len(numbers), dtype=BAND)
            records["band"] = _band_hashes(rows[numbers, own])
            records["at"] = numbers
            # Stable: of equal ones the earlier document stays the first.
            file.write(records[np.argsort(records["band"], kind="stable")].tobytes())


def _band_hashes(numbers: Signature) -> Numbers:
    """A hash of 64 bits for each row of numbers [N, band_rows]."""
    found = np.zeros(len(numbers), dtype=np.uint64)
    for column in numbers.T:
        found = mixed(found ^ column)
    return found


def _bands_path(folder: Path, piece: int) -> Path:
    return folder / "bands" / f"{piece:05d}.bin"


def candidates(folder: Path, num_pieces: int, band: int, config: DuplicatesConfig) -> Numbers:
    """Documents next to each other in one band, which are equal there [M, 2]; the earlier first."""
    width = BAND.itemsize * config.num_bands
    sizes = [_bands_path(folder, piece).stat().st_size // width for piece in range(num_pieces)]
    count = max(1, math.ceil(sum(sizes) / BANDS_AT_ONCE))
    edges = [number * 2**64 // count for number in range(count + 1)]
    found = [np.empty((0, 2), dtype=np.uint64)]
    for low, high in itertools.pairwise(edges):
        parts = [
            _part(_bands_path(folder, piece), size, band, low, high, piece)
            for piece, size in enumerate(sizes)
            if size
        ]
        if parts:
            hashes, documents = (np.concatenate(columns) for columns in zip(*parts, strict=True))
            order = np.argsort(hashes, kind="stable")
            hashes, documents = hashes[order], documents[order]
            equal = np.flatnonzero(hashes[1:] == hashes[:-1])
            found.append(np.stack([documents[equal], documents[equal + 1]], axis=1))
    return np.concatenate(found)


def _part(
    path: Path, size: int, band: int, low: int, high: int, piece: int
) -> tuple[Numbers, Numbers]:
    """A piece's documents whose hash of this band is in a range: the hashes, and who they are."""
    start = band * size * BAND.itemsize
    rows = np.memmap(path, dtype=BAND, mode="r", offset=start, shape=(size,))
    ends = [
        bisect.bisect_left(rows, edge, key=lambda row: int(row["band"])) for edge in (low, high)
    ]
    mine = rows[ends[0] : ends[1]]
    return np.array(mine["band"]), np.uint64(piece << 32) | mine["at"].astype(np.uint64)


def open_signatures(folder: Path, piece: int, config: DuplicatesConfig) -> Signature:
    """All signatures of a piece [N, num_bands * band_rows], mapped from its file."""
    path = folder / "signatures" / f"{piece:05d}.bin"
    width = config.num_bands * config.band_rows
    if path.stat().st_size == 0:
        return np.empty((0, width), dtype=np.uint32)
    return np.memmap(path, dtype=np.uint32, mode="r").reshape(-1, width)


def read_pairs(paths: Iterable[Path]) -> Numbers:
    """The candidates of all bands, each pair once [M, 2]."""
    found = [np.load(path, allow_pickle=False) for path in paths]
    return np.unique(np.concatenate([np.empty((0, 2), dtype=np.uint64), *found]), axis=0)


def agreeing(pairs: Numbers, folder: Path, config: DuplicatesConfig) -> Numbers:
    """Those pairs whose signatures agree in `near` of their numbers."""
    kept = [np.empty((0, 2), dtype=np.uint64)]
    for at in range(0, len(pairs), PAIRS_AT_ONCE):
        some = pairs[at : at + PAIRS_AT_ONCE]
        first, second = (_signatures_of(some[:, side], folder, config) for side in (0, 1))
        kept.append(some[(first == second).mean(axis=1) >= config.near - 1e-9])
    return np.concatenate(kept)


def _signatures_of(documents: Numbers, folder: Path, config: DuplicatesConfig) -> Signature:
    found = np.empty((len(documents), config.num_bands * config.band_rows), dtype=np.uint32)
    pieces, numbers = documents >> np.uint64(32), documents & np.uint64(0xFFFFFFFF)
    for piece in np.unique(pieces).tolist():
        mine = pieces == piece
        found[mine] = open_signatures(folder, piece, config)[numbers[mine]]
    return found


def removed(pairs: Numbers) -> dict[int, npt.NDArray[np.void]]:
    """By piece, which documents go: all but the earliest of those that hang together."""
    if len(pairs) == 0:
        return {}
    documents, ends = np.unique(pairs, return_inverse=True)
    ends = ends.reshape(-1, 2)
    graph = scipy.sparse.coo_matrix(
        (np.ones(len(ends), dtype=np.int8), (ends[:, 0], ends[:, 1])),
        shape=(len(documents), len(documents)),
    )
    labels = scipy.sparse.csgraph.connected_components(graph, directed=False)[1]
    # Documents are sorted, so the first of each component is the earliest.
    first = np.unique(labels, return_index=True)[1]
    stays = documents[first[labels]]
    gone = documents != stays
    documents, stays = documents[gone], stays[gone]
    found: dict[int, npt.NDArray[np.void]] = {}
    pieces, starts = np.unique(documents >> np.uint64(32), return_index=True)
    for piece, mine in zip(pieces.tolist(), np.split(np.arange(len(documents)), starts[1:]),
                           strict=True):  # fmt: skip
        rows = np.empty(len(mine), dtype=REMOVED)
        rows["at"] = documents[mine] & np.uint64(0xFFFFFFFF)
        rows["piece"] = stays[mine] >> np.uint64(32)
        rows["of"] = stays[mine] & np.uint64(0xFFFFFFFF)
        found[piece] = rows
    return found


def candidate_files(folder: Path) -> Sequence[Path]:
    """Where each band's candidates are."""
    return sorted((folder / "candidates").glob("*.npy"))
