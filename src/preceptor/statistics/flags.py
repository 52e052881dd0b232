"""Agreement on a yes-or-no label that is rarely given, where kappa and alpha alone mislead.

Two labelers who each flag another one of a hundred responses agree on 98 of them, and have a kappa
near 0. Beside it stand how often the flag is given, and how often the two agree where it is.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preceptor.statistics.alpha import alpha_of_counts
from preceptor.statistics.clusters import estimate_of_sums, mean_of_clusters, sum_by
from preceptor.statistics.estimate import Estimate

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class FlagAgreement:
    """How a flag is used.

    base_rate  share of labels that are yes
    raw        of two labels of a unit, how often they are the same
    positive   2a / (2a + b + c): of the yes in such pairs, the share that meets a yes
    ac1        Gwet's AC1: raw agreement beyond chance, where a rare flag makes chance small
    alpha      Krippendorff's, nominal
    """

    base_rate: Estimate
    raw: Estimate
    positive: Estimate
    ac1: Estimate
    alpha: Estimate


def flag_agreement(
    units: Sequence[Sequence[bool | None]],
    clusters: Sequence[Hashable] | None = None,
    *,
    seed: int = 0,
) -> FlagAgreement:
    """From the labels that each unit got, None for one that was not given."""
    keys = list(range(len(units)) if clusters is None else clusters)
    if len(keys) != len(units):
        raise ValueError(f"there are {len(units)} units and {len(keys)} cluster keys; pair them.")
    place: dict[Hashable, int] = {}
    cluster = np.array([place.setdefault(key, len(place)) for key in keys], dtype=np.int64)
    yes = np.array([float(sum(label is True for label in unit)) for unit in units])
    no = np.array([float(sum(label is False for label in unit)) for unit in units])
    return flag_agreement_of_counts(yes, no, cluster, seed=seed)


def flag_agreement_of_counts(
    yes: Floats, no: Floats, clusters: NDArray[np.int64], *, seed: int = 0, resample: bool = True
) -> FlagAgreement:
    """The same from counts: unit u got `yes[u]` yes and `no[u]` no; all three are [U].

    Without `resample` no interval is drawn, for a page with dozens of them.
    """
    size = yes + no
    labeled = size > 0
    yes, no, size, clusters = yes[labeled], no[labeled], size[labeled], clusters[labeled]
    used, cluster = np.unique(clusters, return_inverse=True)

    def by_cluster(values: Floats, num: int = len(used)) -> Floats:
        return sum_by(cluster, values, num)

    paired = size > 1
    divisor = np.where(paired, size * (size - 1), 1.0)
    both = np.where(paired, yes * (yes - 1), 0.0)
    neither = np.where(paired, no * (no - 1), 0.0)
    # Ordered pairs of labels of one unit, each unit's worth what its number of labels is.
    weight = np.where(paired, size / divisor, 0.0)
    agreed, pairs = (both + neither) * weight, np.where(paired, size, 0.0)
    mixed = yes * no * weight  # of the yes those that meet a no
    num_pairs = int(np.where(paired, size * (size - 1) / 2, 0.0).sum())
    vectors = np.stack(
        [
            by_cluster((both + neither) / divisor),
            by_cluster(paired.astype(np.float64)),
            by_cluster(yes / size),
            by_cluster(np.ones(len(size))),
        ],
        axis=1,
    )
    two = "no unit has two labels"
    how: Any = {"seed": seed, "resample": resample}
    set_pairs, met = both * weight + mixed, both * weight
    return FlagAgreement(
        base_rate=mean_of_clusters(by_cluster(yes), by_cluster(size), **how),
        raw=mean_of_clusters(by_cluster(agreed), by_cluster(pairs), **how)
        if num_pairs
        else Estimate.undefined(two),
        positive=mean_of_clusters(by_cluster(met), by_cluster(set_pairs), **how)
        if set_pairs.any()
        else Estimate.undefined("nobody gave this flag" if num_pairs else two, num_pairs),
        ac1=estimate_of_sums(_ac1, vectors, n=int(size.sum()), undefined=two, most=1.0, **how),
        alpha=alpha_of_counts(
            np.stack([no, yes], axis=1), np.array([0.0, 1.0]), "nominal", clusters=cluster, **how
        ),
    )


def _ac1(sums: Floats) -> float | None:
    """(p_a - p_e) / (1 - p_e) with p_e = 2 pi (1 - pi): Gwet (2008), two labels."""
    agreed, paired, share, units = (float(x) for x in sums)
    if paired <= 0:
        return None
    pi = share / units
    chance = 2 * pi * (1 - pi)
    return (agreed / paired - chance) / (1 - chance)
