"""Whether where a response stood on the page moved its rank.

The display order was drawn at random for each task and labeler, so without a bias every response
of a ranking is as likely to stand in any position: the permutations within tasks are the exact law
of chance, whatever the responses are worth.
"""

import itertools
import math
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preceptor.statistics.bootstrap import Values, wilson_interval
from preceptor.statistics.clusters import estimate_of_sums
from preceptor.statistics.estimate import Estimate
from preceptor.statistics.rankings import midranks_of_rows

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PositionBias:
    """By position, the first one first.

    observed   first places that the position got (g tied for first: 1/g each)
    expected   what it would get without a bias: the sum of 1/K
    midrank    mean midrank of what stood there, less (K + 1) / 2: below 0 is better than average
    statistic  sum of (O - E)^2 / E
    p          how often permuting positions within tasks gives as much, or more
    """

    observed: tuple[float, ...]
    expected: tuple[float, ...]
    midrank: tuple[Estimate, ...]
    statistic: float
    p: float | None
    n: int


def position_bias(
    rankings: Sequence[Values], *, seed: int = 0, num_permutations: int = 10_000
) -> PositionBias:
    """`rankings` holds ranks by display position, one ranking of one labeler each; K may differ."""
    groups: dict[int, list[Values]] = defaultdict(list)
    for ranks in rankings:
        if len(ranks) > 1:
            groups[len(ranks)].append(ranks)
    tables = [np.array(groups[k], dtype=np.float64) for k in sorted(groups)]
    return position_bias_of_tables(tables, seed=seed, num_permutations=num_permutations)


def position_bias_of_tables(
    tables: Sequence[Floats], *, seed: int = 0, num_permutations: int = 10_000
) -> PositionBias:
    """The same from one table [N, K] of ranks by position for each K."""
    tables = [table for table in tables if len(table)]
    observed, expected, statistic, p = first_places(
        tables, seed=seed, num_permutations=num_permutations
    )
    return PositionBias(
        observed=tuple(observed.tolist()),
        expected=tuple(expected.tolist()),
        midrank=tuple(_midrank(tables, position, seed) for position in range(len(observed))),
        statistic=statistic,
        p=p,
        n=sum(len(table) for table in tables),
    )


def first_places(
    tables: Sequence[Floats], *, seed: int = 0, num_permutations: int = 10_000
) -> tuple[Floats, Floats, float, float | None]:
    """First places by position, what chance gives, their distance, and its p."""
    tables = [table for table in tables if len(table)]
    width = max((table.shape[1] for table in tables), default=0)
    observed, expected = np.zeros(width), np.zeros(width)
    drawn = np.zeros((num_permutations, width))
    generator = np.random.default_rng(seed)
    for table in tables:
        k = table.shape[1]
        first = table == table.min(axis=1, keepdims=True)
        tied = first.sum(axis=1)
        observed[:k] += (first / tied[:, None]).sum(axis=0)
        expected[:k] += len(table) / k
        # Permuted, g first places fall on any g of K positions alike: rankings need not be moved
        # one by one, only shared out among those subsets.
        for g in range(1, k):
            if num := int((tied == g).sum()):
                subsets = list(itertools.combinations(range(k), g))
                hits = np.zeros((len(subsets), k))
                for row, subset in enumerate(subsets):
                    hits[row, list(subset)] = 1 / g
                shares = np.full(len(subsets), 1 / len(subsets))
                drawn[:, :k] += generator.multinomial(num, shares, num_permutations) @ hits
        drawn[:, :k] += float((tied == k).sum()) / k
    if not width or not any((table != table[:, :1]).any() for table in tables):
        return observed, expected, 0.0, None
    statistic = float(_distance(observed[None], expected)[0])
    as_far = int((_distance(drawn, expected) >= statistic - 1e-9).sum())
    return observed, expected, statistic, (1 + as_far) / (1 + num_permutations)


def left_win_rate(left_won: Values, clusters: Sequence[Hashable] | None = None) -> Estimate:
    """For two sides: how often the left one won; a tie is one half. Wilson on the effective n.

    Without `clusters` each comparison stands alone.
    """
    if not len(left_won):
        return Estimate.undefined("there are no comparisons")
    keys = range(len(left_won)) if clusters is None else clusters
    sums: dict[Hashable, float] = defaultdict(float)
    counts: dict[Hashable, int] = defaultdict(int)
    for won, key in zip(left_won, keys, strict=True):
        if won not in (0, 0.5, 1):
            raise ValueError(f"an outcome is {won}; the left side won (1), tied (0.5) or lost (0).")
        sums[key] += won
        counts[key] += 1
    n, num = len(left_won), len(counts)
    share = math.fsum(sums.values()) / n
    squares = math.fsum((sums[key] - share * counts[key]) ** 2 for key in counts)
    variance = num / (num - 1) * squares / n**2 if num > 1 else 0.0
    # Ties spread less than wins and losses do, but never count as more than one outcome each.
    effective = min(n, share * (1 - share) / variance) if variance > 0 else num
    low, high = wilson_interval(share, max(float(effective), min(num, n)))
    return Estimate(share, low, high, n, num, "wilson on the effective n")


def _midrank(tables: Sequence[Floats], position: int, seed: int) -> Estimate:
    values = np.concatenate(
        [
            midranks_of_rows(table)[:, position] - (table.shape[1] + 1) / 2
            for table in tables
            if table.shape[1] > position
        ]
    )
    vectors = np.stack([values, np.ones(len(values))], axis=1)
    return estimate_of_sums(lambda s: float(s[0] / s[1]), vectors, n=len(values), seed=seed)


def _distance(counts: Floats, expected: Floats) -> Floats:
    found: Floats = ((counts - expected) ** 2 / expected).sum(axis=1)
    return found
