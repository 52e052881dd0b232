"""Rankings with ties: places, midranks, and how much two orders are alike."""

import itertools
import math
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preceptor.statistics.agreement import kendall_tau_b
from preceptor.statistics.bootstrap import Values, cluster_bootstrap
from preceptor.statistics.clusters import mean_of_clusters
from preceptor.statistics.estimate import Estimate

Floats = NDArray[np.float64]
Ranking = tuple[Hashable, Hashable, Values]
"""(item, labeler, ranks): of the same responses in the same order for all who ranked the item."""


@dataclass(frozen=True)
class PairCounts:
    """Of the response pairs of two rankings, row by row [N].

    strict         both order the pair
    strict_agreed  and in the same way
    all            pairs, K (K - 1) / 2
    all_agreed     judged alike, a tie being a judgement
    untied         that the first orders, and that the second does, [N, 2]
    """

    strict: Floats
    strict_agreed: Floats
    all: Floats
    all_agreed: Floats
    untied: Floats

    def tau_b(self) -> Floats:
        """Kendall's tau-b of each row [N]; nan where one of the two ties everything."""
        size = np.sqrt(self.untied.prod(axis=1))
        balance = 2 * self.strict_agreed - self.strict  # concordant less discordant
        found: Floats = np.where(size > 0, balance / np.maximum(size, 1.0), np.nan)
        return found


def midranks(ranks: Values) -> list[float]:
    """Tied places share their mean: 1, 2, 2, 4 becomes 1, 2.5, 2.5, 4; any numbers go in."""
    return [
        1 + sum(other < rank for other in ranks) + (sum(other == rank for other in ranks) - 1) / 2
        for rank in ranks
    ]


def midranks_of_rows(ranks: Floats) -> Floats:
    """The same for each row of [N, K]."""
    below = (ranks[:, None, :] < ranks[:, :, None]).sum(axis=2)
    equal = (ranks[:, None, :] == ranks[:, :, None]).sum(axis=2)
    found: Floats = 1 + below + (equal - 1) / 2
    return found


def rank_shares(ranks: Values) -> list[float]:
    """(midrank - 1) / (K - 1): 0 the best of any K, 1 the worst; for alpha with K mixed."""
    if len(ranks) < 2:
        raise ValueError(f"{len(ranks)} response: a place among others needs at least two.")
    return [(midrank - 1) / (len(ranks) - 1) for midrank in midranks(ranks)]


def pair_counts(a: NDArray[Any], b: NDArray[Any]) -> PairCounts:
    """Compare rankings row by row; both are [N, K] ranks of the same responses.

    Any numbers that can be subtracted; signed bytes are quickest.
    """
    if a.shape != b.shape:
        raise ValueError(f"rankings of shape {a.shape} and {b.shape}; pair them.")
    first, second = np.triu_indices(a.shape[1], 1)
    sign_a, sign_b = np.sign(a[:, second] - a[:, first]), np.sign(b[:, second] - b[:, first])
    strict, same = (sign_a != 0) & (sign_b != 0), sign_a == sign_b
    return PairCounts(
        strict=strict.sum(axis=1).astype(np.float64),
        strict_agreed=(strict & same).sum(axis=1).astype(np.float64),
        all=np.full(len(a), float(len(first))),
        all_agreed=same.sum(axis=1).astype(np.float64),
        untied=np.stack([np.abs(sign_a).sum(axis=1), np.abs(sign_b).sum(axis=1)], axis=1).astype(
            np.float64
        ),
    )


def mean_tau_b(rankings: Sequence[Ranking], *, seed: int = 0) -> tuple[Estimate, float | None]:
    """Kendall's tau-b over all pairs of labelers of an item, clustered by item.

    And the share of such pairs that have none, because one of the two tied everything.
    """
    values: list[float] = []
    items: list[Hashable] = []
    undefined = 0
    for item, of_item in _by_item(rankings).items():
        for (labeler_a, a), (labeler_b, b) in itertools.combinations(of_item, 2):
            if labeler_a == labeler_b:
                continue
            tau = kendall_tau_b(a, b)
            if tau is None:
                undefined += 1
            else:
                values.append(tau)
                items.append(item)
    total = undefined + len(values)
    if not values:
        why = "every ranking ties everything" if total else "no item has two labelers"
        return Estimate.undefined(why), 1.0 if total else None
    # From -1 to 1: moved by a constant, so that no value is taken for an outcome of 0 to 1.
    moved = cluster_bootstrap([value - 2 for value in values], items, seed=seed)
    low, high = (None if x is None else x + 2 for x in (moved.low, moved.high))
    assert moved.mean is not None
    found = Estimate(moved.mean + 2, low, high, moved.n, moved.clusters, moved.method, moved.reason)
    return found, undefined / total


def consensus_agreement(rankings: Sequence[Ranking], *, seed: int = 0) -> dict[Hashable, Estimate]:
    """For each labeler: of the pairs that they and the others' consensus order, the share alike.

    The consensus is the mean midrank of all others who ranked the item: never one's own ranking.
    """
    sums: dict[Hashable, list[tuple[float, float]]] = defaultdict(list)
    for of_item in _by_item(rankings).values():
        places = [(labeler, np.array(midranks(ranks))) for labeler, ranks in of_item]
        for labeler in {labeler for labeler, _ in places}:
            own = [place for name, place in places if name == labeler]
            others = [place for name, place in places if name != labeler]
            if not others:
                continue
            consensus = np.mean(others, axis=0).round(9)[None]
            counted = [pair_counts(place[None], consensus) for place in own]
            agreed = math.fsum(float(c.strict_agreed[0]) for c in counted)
            sums[labeler].append((agreed, math.fsum(float(c.strict[0]) for c in counted)))
    return {
        labeler: mean_of_clusters([s for s, _ in rows], [n for _, n in rows], seed=seed)
        for labeler, rows in sums.items()
    }


def _by_item(rankings: Sequence[Ranking]) -> dict[Hashable, list[tuple[Hashable, Values]]]:
    found: dict[Hashable, list[tuple[Hashable, Values]]] = defaultdict(list)
    for item, labeler, ranks in rankings:
        if found[item] and len(found[item][0][1]) != len(ranks):
            raise ValueError(
                f"item {item!r}: {labeler!r} ranked {len(ranks)} responses and "
                f"{found[item][0][0]!r} {len(found[item][0][1])}; they must be the same ones."
            )
        found[item].append((labeler, ranks))
    return found
