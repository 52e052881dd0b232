"""Prompts that were asked before: the same, with a long common prefix, or nearly the same.

InstructGPT section 3.2 and appendix A drop prompts that share a long common prefix, since many
customers send one template again and again; how long is not said. Near-duplicates are found by
MinHash (Broder 1997), the candidates then held to their true overlap.
"""

import bisect
import hashlib
import math
import os
import unicodedata
from collections import defaultdict
from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from preceptor.data.records import Messages, text_of

PREFIX_CHARS = 100
PREFIX_FRACTION = 0.5
NEAR = 0.8
SHINGLE = 5
# 25 bands of 5: a pair at 0.8 is missed once in 20,000, one at 0.5 is looked at every other time.
NUM_HASHES, BANDS, ROWS = 128, 25, 5
SKETCH_ERROR = 0.16
"""Four standard deviations and a half of what 128 hashes tell of an overlap of 0.8."""


@dataclass(frozen=True)
class Duplicate:
    """Of which earlier text, by which rule, and how alike: 1, or a share of prefix or shingles."""

    of: str
    rule: Literal["same", "prefix", "near"]
    likeness: float


def normal_form(text: str) -> str:
    """For comparison only: composed characters, no case, one space where there was any white."""
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def asked_text(prompt: str | Messages) -> str:
    """What was asked, without what a system turn says before it."""
    if isinstance(prompt, str):
        return prompt
    turns = [turn for turn in prompt if turn["role"] != "system"]
    return turns[0]["content"] if len(turns) == 1 else text_of(turns)


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
        self._by_prefix: dict[str, _Beginnings] = defaultdict(_Beginnings)
        self._near_index = MinHashLSH(num_perm=NUM_HASHES, params=(BANDS, ROWS))
        self._sketches: dict[str, npt.NDArray[np.uint32]] = {}
        self._last: tuple[str, set[str], Any] = ("", set(), None)

    def __len__(self) -> int:
        return len(self._texts)

    def __contains__(self, key: object) -> bool:
        return key in self._texts

    def find(self, text: str, *, kin: Container[str] = ()) -> Duplicate | None:
        """What the text repeats, if anything; the surest rule first.

        Keys of `kin` are of its own origin, an earlier turn of its conversation for instance: it
        goes on from them, and repeats one only if it is the same.
        """
        text = normal_form(text)
        if text in self._by_text:
            return Duplicate(self._by_text[text], "same", 1.0)
        if len(text) >= self._prefix_chars:
            earlier = self._by_prefix.get(text[: self._prefix_chars])
            for key in earlier.alike(text, self._stem(text)) if earlier else ():
                if key not in kin:
                    other = self._texts[key]
                    common = len(os.path.commonprefix([text, other]))
                    return Duplicate(key, "prefix", common / min(len(text), len(other)))
        own, sketch = self._shingled(text)
        found = (key for key in self._near_index.query(sketch) if key not in kin)
        candidates = sorted(key for key in found if self._may_be_near(sketch, key))
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
            self._by_prefix[text[: self._prefix_chars]].add(key, text, self._stem(text))
        sketch = self._shingled(text)[1]
        self._sketches[key] = sketch.hashvalues.astype(np.uint32)
        self._near_index.insert(key, sketch, check_duplication=False)

    def _stem(self, text: str) -> str:
        """As much of its beginning as another must have to share a prefix with it."""
        share = math.ceil(self._prefix_fraction * len(text) - 1e-9)
        return text[: max(self._prefix_chars, share)]

    def _shingled(self, text: str) -> tuple[set[str], Any]:
        """Its shingles and their MinHash; what was asked for last is added next as a rule."""
        if self._last[1] and self._last[0] == text:
            return self._last[1:]
        own = shingles(text)
        self._last = (text, own, _minhash(own))
        return self._last[1:]

    def _may_be_near(self, sketch: Any, key: str) -> bool:
        """Whether so many of the 128 numbers agree that the true overlap is worth counting."""
        agree = np.count_nonzero(sketch.hashvalues == self._sketches[key]) / NUM_HASHES
        return bool(agree >= self._near - SKETCH_ERROR)


class _Beginnings:
    """Texts that begin alike, so that those which share enough are found without trying each.

    Two share a prefix when the stem of one begins the other: a stem of an earlier text is looked
    up among the beginnings of the new one, the new one's stem among the earlier texts in order.
    """

    def __init__(self) -> None:
        self._sorted: list[tuple[str, str]] = []  # text, key
        self._lengths: list[int] = []
        self._by_stem: dict[bytes, list[str]] = defaultdict(list)

    def add(self, key: str, text: str, stem: str) -> None:
        """Remember a text and as much of its beginning as counts."""
        bisect.insort(self._sorted, (text, key))
        at = bisect.bisect_left(self._lengths, len(stem))
        if self._lengths[at : at + 1] != [len(stem)]:
            self._lengths.insert(at, len(stem))
        [digest] = _digests(stem, [len(stem)])
        self._by_stem[digest].append(key)

    def alike(self, text: str, stem: str) -> Iterator[str]:
        """Keys of texts whose stem begins this one, or which this one's stem begins."""
        upto = bisect.bisect_right(self._lengths, len(text))
        for digest in _digests(text, self._lengths[:upto]):
            yield from self._by_stem.get(digest, ())
        for at in range(bisect.bisect_left(self._sorted, (stem, "")), len(self._sorted)):
            other, key = self._sorted[at]
            if not other.startswith(stem):
                return
            yield key


def _digests(text: str, lengths: list[int]) -> Iterator[bytes]:
    """A hash of the text's beginning of each length, shorter ones first, in one pass."""
    hasher, at = hashlib.blake2b(digest_size=16), 0
    for length in lengths:
        hasher.update(text[at:length].encode("utf-8", "surrogatepass"))
        at = length
        yield length.to_bytes(8, "big") + hasher.digest()


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
