"""Random streams that a resumed run draws again exactly as the unbroken one would have.

A stream is named by the run's seed, a purpose and any indices (step, process, row). Nothing is
carried from draw to draw, so a checkpoint needs no generator state: the step number is enough.
"""

import hashlib
import random
from functools import lru_cache

import numpy as np
import numpy.typing as npt


def derived_seed(seed: int, purpose: str, *indices: int) -> int:
    """A 63-bit seed for one named stream; never `hash`, which changes between processes."""
    key = ":".join([str(seed), purpose, *map(str, indices)])
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big") >> 1


def numpy_generator(seed: int, purpose: str, *indices: int) -> np.random.Generator:
    """A numpy generator for one named stream."""
    return np.random.default_rng(derived_seed(seed, purpose, *indices))


def python_random(seed: int, purpose: str, *indices: int) -> random.Random:
    """A `random.Random` for one named stream."""
    return random.Random(derived_seed(seed, purpose, *indices))  # noqa: S311 - no secret


def batch_indices(
    num_items: int, batch_size: int, step: int, *, seed: int, purpose: str
) -> list[int]:
    """The items of batch number `step` (from 0) when epochs of fresh shuffles follow each other.

    This is the data cursor of every stage: a pure function of the step, so resuming at a step
    continues at the very next item. Batches may straddle two epochs; no item is left out.
    """
    if num_items < 1:
        raise ValueError(f"batch_indices needs at least one item for {purpose}, got {num_items}")
    start = step * batch_size
    indices: list[int] = []
    epoch, offset = divmod(start, num_items)
    while len(indices) < batch_size:
        order = _order(num_items, seed, purpose, epoch)
        indices += [int(i) for i in order[offset : offset + batch_size - len(indices)]]
        epoch, offset = epoch + 1, 0
    return indices


@lru_cache(maxsize=2)  # a stage draws from two sets in turn, its own and text that is mixed in
def _order(num_items: int, seed: int, purpose: str, epoch: int) -> npt.NDArray[np.int64]:
    """One epoch's shuffle, kept until two others are asked for: it takes as long as the set is."""
    order = numpy_generator(seed, f"order/{purpose}", epoch).permutation(num_items)
    order.setflags(write=False)
    return order
