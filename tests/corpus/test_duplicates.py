"""MinHash against brute force: the overlap of every pair of documents, counted exactly."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from corpora import built, changed, document, reasons, recipe_of, write_lines

from preceptor.corpus.duplicates import (
    candidates,
    hash_functions,
    removed,
    shingles,
    signature,
    signed,
)
from preceptor.corpus.recipe import DuplicatesConfig
from preceptor.corpus.texts import Text
from preceptor.corpus.words import words_of

CONFIG = DuplicatesConfig()
NUM_HASHES = CONFIG.num_bands * CONFIG.band_rows


def sets_of(text: str) -> set[tuple[str, ...]]:
    words = words_of(text)
    return {tuple(words[at : at + 5]) for at in range(len(words) - 4)}


def overlap(a: str, b: str) -> float:
    one, other = sets_of(a), sets_of(b)
    return len(one & other) / len(one | other)


@pytest.fixture(scope="module")
def family() -> list[str]:
    """Documents and their copies with 0 to 20 % of the words changed: overlaps from 1 to 0.3."""
    texts = []
    for seed in range(60):
        text = document(seed, 20)
        texts += [text, *(changed(text, seed, share) for share in (0, 0.01, 0.03, 0.06, 0.2))]
    return texts


def test_signatures_agree_as_the_sets_overlap(family):
    """Over 900 pairs the mean error is zero, and each is within five standard deviations."""
    functions = hash_functions(NUM_HASHES)
    signatures = [signature(shingles(text, 5), functions) for text in family]
    errors = []
    for start in range(0, len(family), 6):
        for a, b in itertools.combinations(range(start, start + 6), 2):
            true = overlap(family[a], family[b])
            found = np.mean(signatures[a] == signatures[b])
            assert abs(found - true) < 5 * np.sqrt(max(true * (1 - true), 0.01) / NUM_HASHES)
            errors.append(found - true)
    assert abs(np.mean(errors)) < 0.005


def test_a_signature_in_pieces_is_the_signature(family, monkeypatch):
    functions = hash_functions(NUM_HASHES)
    found = shingles(" ".join(family), 5)
    whole = signature(found, functions)
    monkeypatch.setattr("preceptor.corpus.duplicates.SHINGLES_AT_ONCE", 7)
    assert (signature(found, functions) == whole).all()


def test_case_punctuation_and_blanks_make_no_difference():
    functions = hash_functions(NUM_HASHES)
    text = document(3)
    loud = text.upper().replace(" ", "\n\n").replace(".", " !!")
    assert (
        signature(shingles(text, 5), functions) == signature(shingles(loud, 5), functions)
    ).all()


@pytest.mark.parametrize("at_once", [2**22, 7])
def test_candidates_are_those_with_an_equal_band(tmp_path, monkeypatch, family, at_once):
    """Against the numbers of every two documents, over three pieces, in ranges and at once."""
    monkeypatch.setattr("preceptor.corpus.duplicates.BANDS_AT_ONCE", at_once)
    texts = [[*family[:60], "", "..."], [], [*family[:30:3], *family[60:90]]]
    for piece, own in enumerate(texts):
        named = [Text(text, "p", n) for n, text in enumerate(own)]
        assert list(signed(named, tmp_path, piece, CONFIG)) == named
    functions, rows = hash_functions(NUM_HASHES), CONFIG.band_rows
    for band in (0, CONFIG.num_bands - 1):
        homes: dict[tuple[int, ...], list[int]] = {}
        for piece, own in enumerate(texts):
            for at, text in enumerate(own):
                if words_of(text):  # without a word there is no shingle
                    numbers = signature(shingles(text, 5), functions)
                    key = tuple(numbers[band * rows : (band + 1) * rows].tolist())
                    homes.setdefault(key, []).append(piece << 32 | at)
        wanted = {pair for own in homes.values() for pair in itertools.pairwise(own)}
        found = candidates(tmp_path, len(texts), band, CONFIG).tolist()
        assert len(found) == len(wanted) > 20
        assert set(map(tuple, found)) == wanted


def test_what_goes_is_what_brute_force_would_drop(tmp_path: Path, family):
    """Every pair over 0.9 is found, none under 0.65 is; between the two the sketch decides.

    P(no equal band) at 0.9 is (1 - 0.9^8)^14 = 0.0003, and the sketch's standard deviation is 0.03.
    """
    write_lines(tmp_path / "a.jsonl", family)
    recipe = recipe_of(
        tmp_path,
        sources=[{"name": "a", "files": str(tmp_path / "a.jsonl")}],
        duplicates={},
    )
    card = built(recipe, tmp_path / "out")
    assert card["steps"][-1]["entered"] == len(family)
    kept = card["steps"][-1]["kept"]

    def left(limit: float) -> int:
        """Documents that stay if all pairs over a limit hang together, by trying every pair."""
        home = list(range(len(family)))
        for a, b in itertools.combinations(range(len(family)), 2):
            if abs(a - b) < 6 and overlap(family[a], family[b]) >= limit:
                home = [home[a] if h == home[b] else h for h in home]
        return len(set(home))

    assert left(0.65) <= kept <= left(0.9)
    assert left(0.65) > 60  # a fifth of the words changed is another document
    far = itertools.combinations(range(0, len(family), 6), 2)
    assert max(overlap(family[a], family[b]) for a, b in far) < 0.1  # so only families count


def test_the_earliest_source_keeps_its_document(tmp_path):
    """As WebText stayed and its copies left Common Crawl; the reason names where the other is."""
    texts = [document(seed, 20) for seed in range(30)]
    write_lines(tmp_path / "web" / "0.jsonl", [*texts, *(document(n, 20) for n in range(90, 99))])
    write_lines(
        tmp_path / "books" / "0.jsonl",
        [*(changed(t, 1, 0.01) for t in texts[:10]), document(80, 20)],
    )
    for order, expected in ((("books", "web"), {"near-duplicate in books": 10}),
                            (("web", "books"), {"near-duplicate in web": 10})):  # fmt: skip
        recipe = recipe_of(
            tmp_path,
            sources=[{"name": name, "files": str(tmp_path / name)} for name in order],
            duplicates={},
        )
        card = built(recipe, tmp_path / "-".join(order))
        assert reasons(card, "duplicates") == expected
        counts = {source["name"]: source["train_documents"] for source in card["sources"]}
        held_out = card["documents"]["valid"]
        assert sum(counts.values()) + held_out == 40
        pair = card["duplicate_pairs"]["examples"][0]
        assert order[1] in pair["dropped_place"] and order[0] in pair["kept_place"]


def test_chains_hang_together_and_the_first_stays():
    pairs = np.array([[1, 2], [2, 3], [7, 9], [3, 4]], dtype=np.uint64)
    [(piece, rows)] = removed(pairs).items()
    assert piece == 0
    assert rows[["at", "of"]].tolist() == [(2, 1), (3, 1), (4, 1), (9, 7)]


def test_pieces_are_kept_apart():
    pairs = np.array([[5, 2 << 32 | 5], [1 << 32, 2 << 32 | 6]], dtype=np.uint64)
    found = removed(pairs)
    assert list(found) == [2]
    assert found[2].tolist() == [(5, 0, 5), (6, 1, 0)]
    assert removed(np.empty((0, 2), dtype=np.uint64)) == {}
