"""Prompts that were asked before: the same, with a long common prefix, or nearly the same.

InstructGPT section 3.2 and appendix A drop prompts that share a long common prefix, since many
customers send one template again and again; how long is not said. Near-duplicates are found by
MinHash (Broder 1997), the candidates then held to their true overlap.
"""

import os
import unicodedata
from collections import defaultdict
from dataclasses import dataclass
from typing import Literal

PREFIX_CHARS = 100
PREFIX_FRACTION = 0.5
NEAR = 0.8
SHINGLE = 5
# 25 bands of 5: a pair at 0.8 is missed once in 20,000, one at 0.5 is looked at every other time.
NUM_HASHES, BANDS, ROWS = 128, 25, 5


@dataclass(frozen=True)
class Duplicate:
    """Of which earlier text, by which rule, and how alike: 1, or a share of prefix or shingles."""

    of: str
    rule: Literal["same", "prefix", "near"]
    likeness: float


def normal_form(text: str) -> str:
    """For comparison only: composed characters, no case, one space where there was any white."""
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


class DuplicateIndex:
    """Texts seen so far; asked in the order of arrival, the earliest is the one that stays.

    Two texts share a prefix when their first `prefix_chars` characters are equal and the common
    prefix is at least `prefix_fraction` of the shorter; they are nearly the same when `near` of
    their 5-character shingles are common (Jaccard). Memory holds the texts and 128 numbers each.
    """

    def __init__(
        self,
        *,
        prefix_chars: int = PREFIX_CHARS,
        prefix_fraction: float = PREFIX_FRACTION,
        near: float = NEAR,
    ) -> None:
        from datasketch import MinHashLSH

        if not 0.5 < near <= 1:
            raise ValueError(f"near is {near}; it must be over 0.5, below which pairs are missed.")
        self._prefix_chars, self._prefix_fraction, self._near = prefix_chars, prefix_fraction, near
        self._texts: dict[str, str] = {}
        self._by_text: dict[str, str] = {}
        self._by_prefix: dict[str, list[str]] = defaultdict(list)
        self._near_index = MinHashLSH(num_perm=NUM_HASHES, params=(BANDS, ROWS))

    def __len__(self) -> int:
        return len(self._texts)

    def find(self, text: str) -> Duplicate | None:
        """What the text repeats, if anything; the surest rule first."""
        text = normal_form(text)
        if text in self._by_text:
            return Duplicate(self._by_text[text], "same", 1.0)
        if len(text) >= self._prefix_chars:
            for key in self._by_prefix.get(text[: self._prefix_chars], ()):
                other = self._texts[key]
                share = len(os.path.commonprefix([text, other])) / min(len(text), len(other))
                if share >= self._prefix_fraction:
                    return Duplicate(key, "prefix", share)
        own = shingles(text)
        candidates = sorted(self._near_index.query(_minhash(own)))
        likeness = {key: jaccard(own, shingles(self._texts[key])) for key in candidates}
        best = max(candidates, key=lambda key: likeness[key], default=None)
        if best is not None and likeness[best] >= self._near:
            return Duplicate(best, "near", likeness[best])
        return None

    def add(self, key: str, text: str) -> None:
        """Remember a text under a key of its own.

        Raises:
            ValueError: the key is taken.
        """
        if key in self._texts:
            raise ValueError(f"the key {key!r} is taken; each text has one of its own.")
        text = normal_form(text)
        self._texts[key] = text
        self._by_text.setdefault(text, key)
        if len(text) >= self._prefix_chars:
            self._by_prefix[text[: self._prefix_chars]].append(key)
        self._near_index.insert(key, _minhash(shingles(text)), check_duplication=False)


def shingles(text: str) -> set[str]:
    """Every run of five characters; a shorter text is its own."""
    return {text[at : at + SHINGLE] for at in range(max(1, len(text) - SHINGLE + 1))}


def jaccard(a: set[str], b: set[str]) -> float:
    """What two sets have in common, as a share of what they have together."""
    return len(a & b) / len(a | b)


def _minhash(found: set[str]) -> object:
    from datasketch import MinHash

    sketch = MinHash(num_perm=NUM_HASHES)
    sketch.update_batch([shingle.encode(errors="replace") for shingle in found])
    return sketch
