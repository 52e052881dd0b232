"""Estimates from sums of clusters, quick enough for a page over a hundred thousand labels.

A mean, an agreement, an alpha: each is a smooth function of sums over all clusters, and a cluster
adds its own vector to them. Few clusters are drawn again; of many only the slope counts, which
gives the same interval (a test holds the two together) at no cost.
"""

import math
from collections.abc import Callable, Hashable, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preceptor.statistics.bootstrap import (
    FEW_CLUSTERS,
    Values,
    bootstrap_statistic,
    wilson_interval,
)
from preceptor.statistics.estimate import Estimate

Floats = NDArray[np.float64]
MANY_CLUSTERS = 100
POWER = NormalDist().inv_cdf(0.975) + NormalDist().inv_cdf(0.8)
"""2.80: so many standard errors are found in 80 of 100 studies at a level of 5 %."""


def mean_of_clusters(
    sums: Values, counts: Values, *, seed: int = 0, resample: bool = True
) -> Estimate:
    """The mean of outcomes from 0 to 1, of which a cluster has `counts` with the sum `sums`.

    With many clusters, or where all outcomes are equal, the interval is Wilson's on the effective
    number: it stays within 0 to 1 and does not shrink to nothing. Without `resample` it always is,
    for a table of hundreds of figures.
    """
    vectors = _rows([np.asarray(sums, dtype=np.float64), np.asarray(counts, dtype=np.float64)])
    vectors = vectors[vectors[:, 1] > 0]
    if not len(vectors):
        return Estimate.undefined("there are no values")
    if (vectors[:, 0] < -1e-9).any() or (vectors[:, 0] > vectors[:, 1] + 1e-9).any():
        raise ValueError("a sum of outcomes lies outside 0 to their count.")
    total, n = vectors.sum(axis=0)
    mean = float(np.clip(total / n, 0, 1))
    are_equal = min(mean, 1 - mean) < 1e-12
    num = len(vectors)
    if resample and num <= MANY_CLUSTERS and not are_equal and n >= 30:
        return estimate_of_sums(lambda s: float(s[0] / s[1]), vectors, n=int(n), seed=seed)
    error = math.sqrt(_variance(vectors[:, 0] - mean * vectors[:, 1])) / n
    effective = num if are_equal or num < 2 else _worth(mean, error, n)
    low, high = wilson_interval(mean, float(np.clip(effective, min(num, n), n)))
    return Estimate(mean, low, high, int(n), num, "wilson on the effective n")


def estimate_of_sums(
    statistic: Callable[[Floats], float | None],
    vectors: Floats,
    *,
    n: int,
    undefined: str = "there are no values",
    seed: int = 0,
    num_resamples: int = 1000,
    resample: bool = True,
    most: float = math.inf,
) -> Estimate:
    """`statistic` of the sum of `vectors` [C, D], a row a cluster, with its 95 % interval.

    More than `MANY_CLUSTERS`, or not to be resampled: the delta method,
    SE^2 = C / (C - 1) sum_c (g (v_c - mean v))^2 with g the slope of the statistic at the sums.
    """
    vectors = vectors[np.lexsort(vectors.T[::-1])]  # the order of rows is to change nothing
    num = len(vectors)
    if num < 2 or (resample and num <= MANY_CLUSTERS):
        return bootstrap_statistic(
            lambda weights: statistic(weights @ vectors),
            num,
            n=n,
            undefined=undefined,
            seed=seed,
            num_resamples=num_resamples,
        )
    sums = vectors.sum(axis=0)
    value = statistic(sums)
    slope = None if value is None else slope_of(statistic, sums)
    if value is None or slope is None:
        return Estimate.undefined(undefined, n, num)
    return estimate_with_influence(value, vectors @ slope, n=n, most=most)


def estimate_with_influence(
    value: float, influence: Floats, *, n: int, most: float = math.inf
) -> Estimate:
    """A value with a normal interval; `influence` [C] is what each cluster adds to it, to a line.

    The value moves by sum_c (w_c - 1) influence_c when cluster c is drawn w_c times. The interval
    ends at the `most` that the statistic can be.
    """
    num = len(influence)
    error = math.sqrt(_variance(influence - influence.mean()))
    reach = NormalDist().inv_cdf(0.975) * error
    return Estimate(
        value, value - reach, min(value + reach, most), n, num, "normal, cluster-robust"
    )


def sum_by(place: NDArray[np.integer], values: NDArray[Any] | None, num: int = 0) -> Floats:
    """The sum of the values at each place 0, 1, .. [num, at least]; without values their count."""
    return np.bincount(place, values, num).astype(np.float64)


def slope_of(statistic: Callable[[Floats], float | None], at: Floats) -> Floats | None:
    """Central differences; None where the statistic is undefined beside the point."""
    slope = np.zeros(len(at))
    scale = float(np.abs(at).max()) or 1.0
    for i in range(len(at)):
        step = np.zeros(len(at))
        step[i] = 1e-6 * scale
        above, below = statistic(at + step), statistic(at - step)
        if above is None or below is None:
            return None
        slope[i] = (above - below) / (2e-6 * scale)
    return slope


def two_way_mean(
    values: Values,
    rows: Sequence[Hashable],
    columns: Sequence[Hashable],
    counts: Values | None = None,
    *,
    seed: int = 0,
    num_resamples: int = 1000,
) -> Estimate:
    """The mean of values that share two things: a prompt (row), and a labeler (column), usually.

    With `counts` a value is the sum of so many. The interval is for what labelers beside ours would
    give on prompts beside ours. Rows and columns are drawn anew, and a value counts (times its row
    was drawn) x (times its column was): wider than it need be rather than too narrow (Owen, 2007,
    "The pigeonhole bootstrap"). With more than `MANY_CLUSTERS` rows it is made from the two-way
    standard error (`two_way_error`), and outcomes from 0 to 1 have Wilson's on the number that they
    are worth by it, as have fewer than 30 of them and those that are all equal.
    """
    _require_pairs(values, rows, columns)
    if not len(values):
        return Estimate.undefined("there are no values")
    numbers = np.asarray(values, dtype=np.float64)
    row, column = _positions(rows), _positions(columns)
    num_rows, num_columns = int(row.max()) + 1, int(column.max()) + 1
    of_each = np.ones(len(numbers)) if counts is None else np.asarray(counts, dtype=np.float64)
    n = int(of_each.sum())
    mean, fewest = float(numbers.sum() / of_each.sum()), min(num_rows, num_columns)
    if fewest < 2:
        reason = "all values come from one row or one column, so there is no spread to judge by"
        return Estimate(mean, None, None, n, fewest, "two-way bootstrap", reason)
    few = f" (only {fewest} in one way)" if fewest < FEW_CLUSTERS else ""
    are_outcomes = bool((numbers >= 0).all() and (numbers <= of_each).all())
    are_equal = bool((numbers == mean * of_each).all())  # none, all, or tied throughout
    error = _two_way_error(numbers - mean * of_each, row, column) / n
    if are_outcomes and (are_equal or n < 30 or num_rows > MANY_CLUSTERS):
        effective = num_rows if are_equal else _worth(mean, error, n)
        low, high = wilson_interval(mean, float(np.clip(effective, 1, n)))
        return Estimate(mean, low, high, n, fewest, f"wilson on the effective n{few}")
    if num_rows > MANY_CLUSTERS:
        reach = NormalDist().inv_cdf(0.975) * error
        return Estimate(mean, mean - reach, mean + reach, n, fewest, f"normal, two ways{few}")
    generator = np.random.default_rng(seed)
    means = []
    for _ in range(num_resamples):
        weight = times_drawn(num_rows, generator)[row] * times_drawn(num_columns, generator)[column]
        total = float(weight @ of_each)
        if total > 0:  # all may miss each other where the table has few cells
            means.append(float(weight @ numbers) / total)
    low, high = np.quantile(means, [0.025, 0.975])
    return Estimate(mean, float(low), float(high), n, fewest, f"two-way bootstrap{few}")


def two_way_error(
    influence: Values, rows: Sequence[Hashable], columns: Sequence[Hashable] | None = None
) -> float:
    """The standard error of a sum of influences, of which those of one row, or column, go together.

    V = V_rows + V_columns - V_cells, and no less than either (Cameron, Gelbach and Miller, 2011,
    "Robust inference with multiway clustering"); without columns V_rows.
    """
    _require_pairs(influence, rows, rows if columns is None else columns)
    numbers = np.asarray(influence, dtype=np.float64)
    column = None if columns is None else _positions(columns)
    return _two_way_error(numbers, _positions(rows), column)


def _two_way_error(
    influence: Floats, row: NDArray[np.int64], column: NDArray[np.int64] | None
) -> float:
    of_rows = _variance(sum_by(row, influence))
    if column is None:
        return math.sqrt(of_rows)
    of_columns = _variance(sum_by(column, influence))
    _, cell = np.unique(row * (int(column.max()) + 1) + column, return_inverse=True)
    both = of_rows + of_columns - _variance(sum_by(cell, influence))
    return math.sqrt(max(both, of_rows, of_columns))


def _variance(influence: Floats) -> float:
    """C / (C - 1) sum_c influence_c^2, of what each cluster adds to a sum around its mean [C]."""
    return len(influence) / max(len(influence) - 1, 1) * float(influence @ influence)


def _worth(mean: float, error: float, n: float) -> float:
    """Of how many independent outcomes the mean has this standard error."""
    return mean * (1 - mean) / error**2 if error > 0 else n


def _require_pairs(values: Values, rows: Sequence[Hashable], columns: Sequence[Hashable]) -> None:
    if not len(values) == len(rows) == len(columns):
        raise ValueError(
            f"there are {len(values)} values, {len(rows)} rows and {len(columns)} columns; each "
            "value needs one of both."
        )


def times_drawn(num: int, generator: np.random.Generator) -> Floats:
    """How often each of `num` is drawn, in as many draws [num]: a multinomial, and a fast one."""
    return np.bincount(generator.integers(num, size=num), minlength=num).astype(np.float64)


def detectable_difference(
    values: Values,
    clusters: Sequence[Hashable] | None = None,
    labelers: Sequence[Hashable] | None = None,
) -> Estimate:
    """The smallest difference that data of this spread and size find in 80 of 100 studies.

    2.80 standard errors of the mean, clustered, in two ways where labelers are given (level 5 %,
    two-sided). For two independent groups of this size it is sqrt(2) times that.
    """
    keys = range(len(values)) if clusters is None else clusters
    position = _positions(keys)
    numbers = np.asarray(values, dtype=np.float64)
    if len(position) != len(numbers):
        raise ValueError(f"{len(numbers)} values and {len(position)} cluster keys; pair them.")
    num = int(position.max()) + 1 if len(position) else 0
    if num < 2:
        return Estimate.undefined("fewer than two clusters have no spread", len(numbers), num)
    error = two_way_error((numbers - numbers.mean()) / len(numbers), keys, labelers)
    return Estimate(
        POWER * error, None, None, len(numbers), num, "2.8 standard errors", "it has no interval"
    )


def _positions(keys: Sequence[Hashable]) -> NDArray[np.int64]:
    """0, 1, .. for each key, in an order that the order of rows does not change."""
    place = {key: i for i, key in enumerate(sorted(set(keys), key=repr))}
    return np.array([place[key] for key in keys], dtype=np.int64)


def _rows(columns: Sequence[NDArray[np.generic]]) -> Floats:
    return np.stack([np.asarray(c, dtype=np.float64) for c in columns], axis=1)
