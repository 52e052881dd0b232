"""Texts as numbers: sets of millions of prompts, compared in eight bytes each."""

import hashlib
import json
from array import array
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from preceptor.data.records import Messages, messages_of

Hashes = npt.NDArray[np.uint64]


def text_hash(text: str) -> int:
    """A number of 64 bits. Of 10 million different texts two share one in 1 of 370,000 cases."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest()[:8], "big")


def hashes(texts: Iterable[str]) -> Hashes:
    """The number of each text, in their order."""
    found = array("Q")
    for text in texts:
        found.append(text_hash(text))
    return np.frombuffer(found, dtype=np.uint64)


def different(numbers: Hashes) -> Hashes:
    """What `np.unique` gives, in a third of its memory."""
    found = np.sort(numbers)
    return np.compress(are_first(found), found)


def are_first(ordered: Hashes) -> npt.NDArray[np.bool_]:
    """Which of sorted numbers differ from the one before."""
    return np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)]


def are_among(numbers: Hashes, others: Hashes) -> npt.NDArray[np.bool_]:
    """What `np.isin` gives, in memory for the numbers' places alone."""
    if not len(others):
        return np.zeros(len(numbers), dtype=bool)
    known = np.sort(others)
    places = np.searchsorted(known, numbers)
    np.minimum(places, len(known) - 1, out=places)  # what is larger than all is not the largest
    return np.equal(known[places], numbers)


def numbered(numbers: Hashes) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Equal numbers as groups, counted in the order in which they are met first.

    Returns:
        [N] the group of each number; [G] the place where each group is met first.
    """
    order = np.argsort(numbers, kind="stable")
    starts = np.flatnonzero(are_first(numbers[order]))
    first = order[starts]  # the sort is stable, so it is the earliest of its equals
    met = np.argsort(first)
    rank = np.empty_like(met)
    rank[met] = np.arange(len(met))
    groups = np.empty_like(order)
    groups[order] = np.repeat(rank, np.diff(np.append(starts, len(order))))
    return groups, first[met]


def prompt_keys(prompts: Iterable[str | Messages]) -> npt.NDArray[np.void]:
    """What a prompt's random draws are named by: its content, and how many equal ones came before.

    Not its place among the others: one more in front changes none of them. 16 bytes a prompt;
    `tolist()` makes pairs of numbers of them.
    """
    drawn = array("Q")
    for prompt in prompts:
        text = json.dumps(messages_of(prompt), sort_keys=True).encode()
        drawn.append(int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big"))
    found = np.empty(len(drawn), dtype=[("content", np.uint64), ("nth", np.uint64)])
    found["content"] = drawn
    # Equal ones stand together once they are sorted, and in their order.
    order = np.argsort(found["content"], kind="stable")
    first = np.flatnonzero(are_first(found["content"][order]))
    counts = np.diff(np.append(first, len(order)))
    found["nth"][order] = np.arange(len(order)) - np.repeat(first, counts)
    return found
