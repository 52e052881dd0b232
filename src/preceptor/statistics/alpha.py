"""Krippendorff's alpha: agreement beyond chance for any number of labelers, labels missing or not.

alpha = 1 - (n - 1) sum o_ck d_ck / sum n_c n_k d_ck, with o the coincidences: over units, each
ordered pair of labels (c, k) counts 1 / (m - 1), m the labels of the unit; n_c = sum_k o_ck, and
n = sum n_c. d_ck is the squared difference: [c != k] nominal, (c - k)^2 interval, and ordinal
(sum of n_g from c to k - (n_c + n_k) / 2)^2. Krippendorff, Content Analysis (2004), chapter 11.
"""

import itertools
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from preceptor.statistics.bootstrap import bootstrap_statistic
from preceptor.statistics.clusters import (
    MANY_CLUSTERS,
    estimate_with_influence,
    slope_of,
    sum_by,
)
from preceptor.statistics.estimate import Estimate

Floats = NDArray[np.float64]
Level = Literal["nominal", "ordinal", "interval"]
SAME_LABEL = "everyone gave the same label, so agreement by chance is certain"


def krippendorff_alpha(
    units: Sequence[Sequence[Any]],
    level: Level = "nominal",
    *,
    clusters: Sequence[Hashable] | None = None,
    seed: int = 0,
    num_resamples: int = 1000,
) -> Estimate:
    """1 is full agreement, 0 what chance gives, below 0 is disagreement.

    Each unit lists the labels it got, None for a labeler who gave none; units with fewer than two
    labels drop out. Labels are numbers unless the level is nominal. `clusters` has a key for each
    unit: responses to one prompt are judged together, and the interval resamples prompts.
    """
    keys = list(range(len(units)) if clusters is None else clusters)
    if len(keys) != len(units):
        raise ValueError(f"there are {len(units)} units and {len(keys)} cluster keys; pair them.")
    given = [[label for label in unit if label is not None] for unit in units]
    labels = list(dict.fromkeys(itertools.chain.from_iterable(u for u in given if len(u) > 1)))
    if level != "nominal":
        labels.sort()
    position = {label: i for i, label in enumerate(labels)}
    counts = np.zeros((len(given), len(labels)))
    for row, unit in enumerate(given):
        for label in unit if len(unit) > 1 else ():
            counts[row, position[label]] += 1
    numbers = np.zeros(len(labels)) if level == "nominal" else np.array(labels, dtype=np.float64)
    place: dict[Hashable, int] = {}
    cluster = np.array([place.setdefault(key, len(place)) for key in keys], dtype=np.int64)
    return alpha_of_counts(
        counts, numbers, level, clusters=cluster, seed=seed, num_resamples=num_resamples
    )


def alpha_of_counts(
    counts: Floats,
    numbers: Floats,
    level: Level,
    *,
    clusters: NDArray[np.int64] | None = None,
    seed: int = 0,
    num_resamples: int = 1000,
    resample: bool = True,
) -> Estimate:
    """The same from a table: `counts` [U, V] labelers gave unit u the label v.

    `numbers` [V] are the labels in rising order (of no meaning where the level is nominal),
    `clusters` [U] whole numbers.
    """
    if level not in ("nominal", "ordinal", "interval"):
        raise ValueError(f"level is {level!r}; it must be nominal, ordinal or interval.")
    cluster = np.arange(len(counts)) if clusters is None else clusters
    usable = counts.sum(axis=1) > 1
    counts, cluster = counts[usable], cluster[usable]
    n = int(counts.sum())
    if not len(counts):
        return Estimate.undefined("no unit has two labels", n, 0)
    used, cluster = np.unique(cluster, return_inverse=True)
    num = len(used)
    share = counts / (counts.sum(axis=1) - 1)[:, None]

    def alpha(coincidences: Floats) -> float | None:
        return _alpha(coincidences.reshape(len(numbers), len(numbers)), numbers, level)

    def coincidences(unit_weights: Floats) -> Floats:
        weighted = share * unit_weights[:, None]
        table: Floats = weighted.T @ counts - np.diag(weighted.sum(axis=0))
        return table

    if num < 2 or (resample and num <= MANY_CLUSTERS):
        return bootstrap_statistic(
            lambda weights: alpha(coincidences(weights[cluster])),
            num,
            n=n,
            undefined=SAME_LABEL,
            seed=seed,
            num_resamples=num_resamples,
        )
    whole = coincidences(np.ones(len(counts)))
    value = alpha(whole)
    slope = None if value is None else _slope(alpha, whole)
    if value is None or slope is None:
        return Estimate.undefined(SAME_LABEL, n, num)
    # What a unit adds to the coincidences, times the slope at each of them.
    of_unit = ((share @ slope) * counts).sum(axis=1) - share @ np.diag(slope)
    return estimate_with_influence(value, sum_by(cluster, of_unit, num), n=n, most=1.0)


def _alpha(observed: Floats, numbers: Floats, level: Level) -> float | None:
    """1 minus observed over expected disagreement, from the matrix of coincidences."""
    totals = observed.sum(axis=1)
    n = totals.sum()
    if level == "nominal":
        distance = 1.0 - np.eye(len(totals))
    elif level == "interval":
        distance = (numbers[:, None] - numbers[None, :]) ** 2
    else:
        # The values between c and k, both halved: midranks on the whole of the labels.
        midranks = totals.cumsum() - totals / 2
        distance = (midranks[:, None] - midranks[None, :]) ** 2
    expected = float(totals @ distance @ totals)
    if expected <= 1e-12 * float(n * n * distance.max(initial=0.0)):
        return None
    return 1.0 - float((n - 1) * (observed * distance).sum()) / expected


def _slope(alpha: Callable[[Floats], float | None], at: Floats) -> Floats | None:
    """By the coincidences [V, V], which always come in pairs (c, k) and (k, c)."""
    slope = slope_of(alpha, at.ravel())
    if slope is None:
        return None
    slope = slope.reshape(at.shape)
    symmetric: Floats = (slope + slope.T) / 2
    return symmetric
