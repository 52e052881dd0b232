"""Fuzzy deduplication: MinHash signatures, bands, and agreement (GPT-3 appendix A has 10 hashes).

A signature is the least of 112 hashes over a document's shingles, runs of 5 words without case and
punctuation (Broder 1997): two agree in as many numbers as the sets of shingles overlap (Jaccard).
Documents with one equal band of 8 numbers are candidates (datatrove finds them by sorting, bounded
in memory and over many machines); they are duplicates if `near` of all numbers agree. Of all that
hang together the earliest stays: of the earliest source in the recipe, then in its files.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy.sparse
import scipy.sparse.csgraph

from preceptor.corpus.recipe import DuplicatesConfig
from preceptor.corpus.texts import Text, whole_file
from preceptor.corpus.words import Numbers, hashed, runs, words_of
from preceptor.randomness import numpy_generator

SHINGLES_AT_ONCE = 512
"""A signature is made in pieces: all shingles times all hashes are 150 times the text."""
PAIRS_AT_ONCE = 20_000
Signature = npt.NDArray[np.uint32]
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


def band_dtype(config: DuplicatesConfig) -> np.dtype[np.void]:
    """A record of datatrove's signature files: the numbers of a band, then the document's."""
    fields = [(f"row{at}", "<u4") for at in range(config.band_rows)]
    return np.dtype([*fields, ("at", "<u4")])


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
    for band in range(config.num_bands):
        records = np.empty(len(numbers), dtype=band_dtype(config))
        for row in range(config.band_rows):
            records[f"row{row}"] = rows[numbers, band * config.band_rows + row]
        records["at"] = numbers
        names = records.dtype.names
        assert names is not None
        order = np.lexsort([records[name] for name in reversed(names)])
        with whole_file(folder / "bands" / f"bucket_{band:03d}" / f"{piece:05d}.minhash.sig") as f:
            f.write(records[order].tobytes())


def open_signatures(folder: Path, piece: int, config: DuplicatesConfig) -> Signature:
    """All signatures of a piece [N, num_bands * band_rows], mapped from its file."""
    path = folder / "signatures" / f"{piece:05d}.bin"
    width = config.num_bands * config.band_rows
    if path.stat().st_size == 0:
        return np.empty((0, width), dtype=np.uint32)
    return np.memmap(path, dtype=np.uint32, mode="r").reshape(-1, width)


def read_pairs(paths: Iterable[Path]) -> Numbers:
    """Candidates out of datatrove's files [M, 2]: piece and number in one, the earlier first."""
    found = []
    for path in paths:
        pairs = np.fromfile(path, dtype="<u4").reshape(-1, 4).astype(np.uint64)
        ids = np.stack([pairs[:, 0] << 32 | pairs[:, 1], pairs[:, 2] << 32 | pairs[:, 3]], axis=1)
        found.append(np.unique(np.sort(ids, axis=1), axis=0))
    if not found:
        return np.empty((0, 2), dtype=np.uint64)
    return np.unique(np.concatenate(found), axis=0)


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


def band_files(folder: Path) -> Sequence[Path]:
    """Where datatrove leaves the candidates."""
    return sorted((folder / "candidates").glob("*.dups"))
