"""A pretraining corpus out of several sets of documents, each with its weight (GPT-3, Table 2.2).

The weight is how often a pass over the corpus meets a set: 2 has each of its documents twice, 0.25
a quarter of its titles. So a large dictionary does not drown what is better to read.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from preceptor.data.attribution import attribution_of
from preceptor.data.catalogue import CATALOGUE, side_of, with_terms
from preceptor.data.heldout import title_hash
from preceptor.data.records import Document
from preceptor.randomness import python_random

_PLACES = 2**64  # of title_hash


@dataclass(frozen=True)
class Mixture:
    """The documents of a mixture in the order of training, and the held-out ones in like shares."""

    train: list[Document]
    valid: list[Document]

    def notes(self) -> list[str]:
        """What each set gave, a line for each, for people."""
        chars = Counter[str]()
        for document in self.train:
            chars[document.source] += len(document.text)
        whole = sum(chars.values())
        return [
            f"{name}: {count / 1e6:.2f} million characters, {count / whole:.0%} of the corpus"
            for name, count in chars.most_common()
        ]

    def attribution(self) -> str:
        """ATTRIBUTION.md of the packages that it was made from."""
        every = [*self.train, *self.valid]
        return attribution_of({}, Counter(str(document.meta["package"]) for document in every))


def make_mixture(weights: Mapping[Any, float], seed: int) -> Mixture:
    """The corpus of these sets; the same titles are held out in every mixture and in every set.

    Raises:
        DataError: a package cannot be had.
    """
    sides: dict[str, list[Document]] = {"train": [], "heldout": []}
    for name, weight in weights.items():
        for document in CATALOGUE[name].files["documents"]():
            own = with_terms(document, name)
            # Held-out text is met once at most: twice would only weigh its loss.
            side = side_of(own)
            times = weight if side == "train" else min(1.0, weight)
            sides[side] += repeated(own, times)
    for side, documents in sides.items():
        python_random(seed, f"mixture/{side}").shuffle(documents)
    return Mixture(sides["train"], sides["heldout"])


def repeated(document: Document, weight: float) -> Iterator[Document]:
    """The document as often as its weight says; the part below 1 is a draw of its title's own.

    So a larger weight adds documents and takes none away.
    """
    whole = int(weight)
    draw = title_hash(f"mixture {document.meta['title']}") / _PLACES
    for _ in range(whole + (draw < weight - whole)):
        yield document
