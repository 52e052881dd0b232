"""How far people, or a model and people, agree."""

import itertools
import math
from collections import defaultdict
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from preceptor.statistics.alpha import SAME_LABEL
from preceptor.statistics.bootstrap import Values, bootstrap_statistic, cluster_bootstrap
from preceptor.statistics.estimate import Estimate

Ranks = Values
Floats = NDArray[np.float64]


def pairwise_agreement(
    rankings: Sequence[tuple[Hashable, Hashable, Ranks]], *, seed: int = 0
) -> Estimate:
    """Of the response pairs that two labelers both order strictly, the share ordered alike.

    `rankings` holds (item, labeler, ranks): ranks of the same responses in the same order for every
    labeler of an item, smaller is better. Clustered by item.
    """
    return _agreement(rankings, with_ties=False, seed=seed)


def pairwise_agreement_with_ties(
    rankings: Sequence[tuple[Hashable, Hashable, Ranks]], *, seed: int = 0
) -> Estimate:
    """Of all response pairs, the share that two labelers judge alike, a tie being a judgement."""
    return _agreement(rankings, with_ties=True, seed=seed)


def ranking_accuracy(scores: Ranks, ranks: Ranks) -> tuple[float, int]:
    """(correct, total) over the pairs that `ranks` orders strictly; equal scores are half right."""
    if len(scores) != len(ranks):
        raise ValueError(f"there are {len(scores)} scores and {len(ranks)} ranks; pair them.")
    correct, total = 0.0, 0
    for i, j in itertools.permutations(range(len(ranks)), 2):
        if ranks[i] < ranks[j]:
            total += 1
            correct += 1.0 if scores[i] > scores[j] else 0.5 if scores[i] == scores[j] else 0.0
    return correct, total


def kendall_tau_b(a: Ranks, b: Ranks) -> float | None:
    """Rank correlation of two rankings with ties, -1 to 1; None where one ties everything."""
    if len(a) != len(b):
        raise ValueError(f"one ranking has {len(a)} ranks and the other {len(b)}; pair them.")
    pairs = list(itertools.combinations(range(len(a)), 2))
    signs_a = [_sign(a[j] - a[i]) for i, j in pairs]
    signs_b = [_sign(b[j] - b[i]) for i, j in pairs]
    untied_a, untied_b = sum(map(abs, signs_a)), sum(map(abs, signs_b))
    if not untied_a or not untied_b:
        return None
    balance = sum(x * y for x, y in zip(signs_a, signs_b, strict=True))
    return balance / math.sqrt(untied_a * untied_b)


def cohen_kappa(
    a: Sequence[Hashable], b: Sequence[Hashable], *, seed: int = 0, num_resamples: int = 1000
) -> Estimate:
    """Cohen's kappa of two labelers who labeled the same units, in the same order."""
    if len(a) != len(b):
        raise ValueError(f"one labeler has {len(a)} labels and the other {len(b)}; pair them.")
    labels = {label: i for i, label in enumerate(dict.fromkeys([*a, *b]))}
    first = np.eye(len(labels))[[labels[x] for x in a]]
    second = np.eye(len(labels))[[labels[x] for x in b]]

    def kappa(weights: Floats) -> float | None:
        table = (first * weights[:, None]).T @ second / weights.sum()
        return _beyond_chance(float(table.trace()), float(table.sum(axis=1) @ table.sum(axis=0)))

    return bootstrap_statistic(
        kappa,
        len(a),
        n=len(a),
        undefined=SAME_LABEL if len(a) else "there are no labels",
        seed=seed,
        num_resamples=num_resamples,
    )


def fleiss_kappa(
    counts: Sequence[Sequence[int]], *, seed: int = 0, num_resamples: int = 1000
) -> Estimate:
    """Fleiss' kappa; `counts[i][j]` labelers gave unit i the label j, all units alike many."""
    table = np.array(counts if len(counts) else np.zeros((0, 1)), dtype=np.float64)
    sizes = set(table.sum(axis=1).tolist())
    if len(sizes) > 1 or (sizes and min(sizes) < 2):
        raise ValueError(
            f"units have {sorted(int(size) for size in sizes)} labels; Fleiss' kappa needs "
            "the same number for each, at least 2. Krippendorff's alpha takes any."
        )
    num_labelers = sizes.pop() if sizes else 2.0
    unit_agreement = ((table**2).sum(axis=1) - num_labelers) / (num_labelers * (num_labelers - 1))

    def kappa(weights: Floats) -> float | None:
        shares = weights @ table / (weights.sum() * num_labelers)
        agreement = float(weights @ unit_agreement / weights.sum())
        return _beyond_chance(agreement, float(shares @ shares))

    return bootstrap_statistic(
        kappa,
        len(table),
        n=int(table.sum()),
        undefined=SAME_LABEL if len(table) else "there are no labels",
        seed=seed,
        num_resamples=num_resamples,
    )


def _agreement(
    rankings: Sequence[tuple[Hashable, Hashable, Ranks]], *, with_ties: bool, seed: int
) -> Estimate:
    by_item: dict[Hashable, list[tuple[Hashable, Ranks]]] = defaultdict(list)
    for item, labeler, ranks in rankings:
        by_item[item].append((labeler, ranks))
    agreed: list[float] = []
    items: list[Hashable] = []
    for item, ranked in by_item.items():
        for (labeler_a, a), (labeler_b, b) in itertools.combinations(ranked, 2):
            if labeler_a == labeler_b:
                continue
            if len(a) != len(b):
                raise ValueError(
                    f"item {item!r}: {labeler_a!r} ranked {len(a)} responses and {labeler_b!r} "
                    f"{len(b)}; they must have ranked the same ones."
                )
            for i, j in itertools.combinations(range(len(a)), 2):
                sign_a, sign_b = _sign(a[j] - a[i]), _sign(b[j] - b[i])
                if with_ties or (sign_a and sign_b):
                    agreed.append(float(sign_a == sign_b))
                    items.append(item)
    if not agreed:
        return Estimate.undefined("no two labelers judged the same pair of responses")
    return cluster_bootstrap(agreed, items, seed=seed)


def _beyond_chance(observed: float, expected: float) -> float | None:
    return None if expected > 1 - 1e-12 else (observed - expected) / (1 - expected)


def _sign(x: float) -> int:
    return int(x > 0) - int(x < 0)
