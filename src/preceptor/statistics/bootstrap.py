"""Intervals for means of values that come in clusters.

The pairs of one ranking, or the answers to one prompt, are not independent: an interval that takes
them as if they were is far too narrow. The independent thing is the cluster, so clusters are what
is drawn again.
"""

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from preceptor.statistics.estimate import Estimate

FEW_CLUSTERS = 20
FEW_PROPORTIONS = 30
RESAMPLES_AT_ONCE = 200
KEPT_DRAWS = 4_000_000
Floats = NDArray[np.float64]
Values = Sequence[float] | NDArray[np.float64]


def cluster_bootstrap(
    values: Values,
    clusters: Sequence[Hashable] | None = None,
    *,
    seed: int = 0,
    num_resamples: int = 2000,
    level: float = 0.95,
) -> Estimate:
    """The mean of `values`, with a percentile interval over resampled clusters.

    `clusters` holds one key a value (the prompt, usually); without it every value stands alone.
    Values that all lie in 0..1 are taken as outcomes: when they are all equal or fewer than 30,
    where a bootstrap is too sure of itself, the interval is Wilson's on the effective number.
    """
    sums, counts = _cluster_sums(values, clusters)
    if not len(values):
        return Estimate.undefined("there are no values")
    are_outcomes = all(0 <= value <= 1 for value in values)
    are_equal = min(values) == max(values)
    if are_outcomes and (are_equal or len(values) < FEW_PROPORTIONS):
        mean = min(1.0, max(0.0, float(sums.sum() / counts.sum())))
        low, high = wilson_interval(mean, _effective_n(mean, sums, counts, are_equal), level)
        return Estimate(mean, low, high, len(values), len(sums), "wilson on the effective n")
    return _bootstrap_mean(sums, counts, seed, num_resamples, level)


def paired_difference(
    a: Values,
    b: Values,
    clusters: Sequence[Hashable] | None = None,
    *,
    seed: int = 0,
    num_resamples: int = 2000,
    level: float = 0.95,
) -> Estimate:
    """The mean of a - b where both were measured on the same items, in the same order."""
    if len(a) != len(b):
        raise ValueError(f"a has {len(a)} values and b has {len(b)}; they must be paired.")
    differences = [float(x - y) for x, y in zip(a, b, strict=True)]
    sums, counts = _cluster_sums(differences, clusters)
    if not differences:
        return Estimate.undefined("there are no values")
    return _bootstrap_mean(sums, counts, seed, num_resamples, level)


def wilson_interval(proportion: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """Wilson's interval for a proportion seen in n independent trials; n need not be whole."""
    z = NormalDist().inv_cdf(0.5 + level / 2)
    center = proportion + z**2 / (2 * n)
    reach = z * math.sqrt(proportion * (1 - proportion) / n + z**2 / (4 * n**2))
    scale = 1 + z**2 / n
    # Rounding: no success at all must give 0, not 1e-18.
    low = 0.0 if proportion == 0 else max(0.0, (center - reach) / scale)
    high = 1.0 if proportion == 1 else min(1.0, (center + reach) / scale)
    return low, high


def bootstrap_statistic(
    statistic: Callable[[Floats], float | None],
    num_units: int,
    *,
    n: int,
    undefined: str,
    seed: int = 0,
    num_resamples: int = 1000,
    level: float = 0.95,
) -> Estimate:
    """Any statistic of weighted units (weight = how often a unit was drawn), with its interval.

    `statistic` gives None where it is undefined, and `undefined` is the reason then.
    """
    value = statistic(np.ones(num_units)) if num_units else None
    if value is None:
        return Estimate.undefined(undefined, n, num_units)
    drawn = [statistic(weights) for weights in _draws(num_units, seed, num_resamples)]
    defined = [x for x in drawn if x is not None]
    if len(defined) < 0.95 * num_resamples:
        reason = "too few units: the number is undefined in most of the resamples"
        return Estimate(value, None, None, n, num_units, "bootstrap", reason)
    low, high = _percentiles(np.array(defined), level)
    return Estimate(value, low, high, n, num_units, _method("bootstrap", num_units))


def _cluster_sums(values: Values, clusters: Sequence[Hashable] | None) -> tuple[Floats, Floats]:
    """Sum and count of each cluster, in an order that does not depend on the order of rows."""
    if clusters is None:
        clusters = range(len(values))
    if len(clusters) != len(values):
        raise ValueError(
            f"there are {len(values)} values and {len(clusters)} cluster keys; "
            "each value needs one."
        )
    members: dict[Hashable, list[float]] = {}
    for value, cluster in zip(values, clusters, strict=True):
        if not math.isfinite(value):
            raise ValueError(
                f"a value of cluster {cluster!r} is {value}; leave out what is missing."
            )
        members.setdefault(cluster, []).append(float(value))
    pairs = sorted((math.fsum(group), len(group)) for group in members.values())
    return np.array([s for s, _ in pairs]), np.array([float(n) for _, n in pairs])


def _bootstrap_mean(
    sums: Floats, counts: Floats, seed: int, num_resamples: int, level: float
) -> Estimate:
    n, num_clusters = int(counts.sum()), len(sums)
    mean = math.fsum(sums) / n
    if num_clusters == 1:
        reason = "all values come from one cluster, so there is no spread to judge by"
        return Estimate(mean, None, None, n, 1, "cluster bootstrap", reason)
    means = np.array(
        [
            weights @ sums / (weights @ counts)
            for weights in _draws(num_clusters, seed, num_resamples)
        ]
    )
    low, high = _percentiles(means, level)
    return Estimate(mean, low, high, n, num_clusters, _method("cluster bootstrap", num_clusters))


def _draws(num_units: int, seed: int, num_resamples: int) -> Iterator[Floats]:
    """How often each unit is drawn, once per resample."""
    if num_units * num_resamples <= KEPT_DRAWS:
        yield from _kept_draws(num_units, seed, num_resamples)
    else:
        yield from _new_draws(num_units, seed, num_resamples)


@lru_cache(maxsize=2)
def _kept_draws(num_units: int, seed: int, num_resamples: int) -> Floats:
    """The same once for all: a report has a hundred intervals over the same prompts."""
    drawn = np.array(list(_new_draws(num_units, seed, num_resamples)))
    drawn.setflags(write=False)  # it is handed out again and again
    return drawn


def _new_draws(num_units: int, seed: int, num_resamples: int) -> Iterator[Floats]:
    generator = np.random.default_rng(seed)
    shares = np.full(num_units, 1 / num_units)
    for start in range(0, num_resamples, RESAMPLES_AT_ONCE):
        size = min(RESAMPLES_AT_ONCE, num_resamples - start)
        yield from generator.multinomial(num_units, shares, size=size).astype(np.float64)


def _percentiles(drawn: Floats, level: float) -> tuple[float, float]:
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _effective_n(mean: float, sums: Floats, counts: Floats, are_equal: bool) -> float:
    """How many independent outcomes these are worth: between the clusters and the values."""
    n, num_clusters = float(counts.sum()), len(sums)
    if are_equal or num_clusters == 1:
        return float(num_clusters)
    squares = float(((sums - mean * counts) ** 2).sum())
    variance = num_clusters / (num_clusters - 1) * squares / n**2
    return float(np.clip(mean * (1 - mean) / variance if variance > 0 else n, num_clusters, n))


def _method(name: str, num_units: int) -> str:
    return f"{name} (only {num_units} clusters)" if num_units < FEW_CLUSTERS else name
