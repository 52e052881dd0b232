"""What a labeler's own record says: display order taken over, haste. It never decides."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preceptor.statistics.bootstrap import Values, wilson_interval
from preceptor.statistics.estimate import Estimate

Floats = NDArray[np.float64]
HASTY = -2.5
"""A robust z below this is quicker than 99.4 % of labels on tasks of that length."""


@dataclass(frozen=True)
class StraightLining:
    """How many rankings are the display order from first to last, beside 1 / K! by chance.

    `p` is the chance of so many, or more, from somebody who reads: the order was random.
    """

    observed: int
    expected: float
    n: int
    p: float | None


@dataclass(frozen=True)
class Pace:
    """A labeler's speed beside everybody's on tasks of that length.

    z      median of the labels' robust z; below -2.5 is hasty
    hasty  the share of labels with a z below -2.5
    n      labels with a known time
    """

    z: float
    hasty: float
    n: int

    @property
    def is_hasty(self) -> bool:
        return self.z < HASTY


def proportion(count: int, n: int) -> Estimate:
    """Of a labeler's n independent labels, the share with something: Wilson's interval."""
    if not n:
        return Estimate.undefined("there are no labels")
    low, high = wilson_interval(count / n, n)
    return Estimate(count / n, low, high, n, n, "wilson")


def student_mean(values: Values) -> Estimate:
    """The mean of a few independent numbers on a scale, with Student's interval."""
    n = len(values)
    if not n:
        return Estimate.undefined("there are no values")
    mean = math.fsum(values) / n
    if n == 1:
        return Estimate(mean, None, None, 1, 1, "student", "one value has no spread")
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1))
    from scipy.special import stdtrit  # where it is needed: pages start without scipy

    reach = float(stdtrit(n - 1, 0.975)) * spread / math.sqrt(n)
    return Estimate(mean, mean - reach, mean + reach, n, n, "student")


def straight_lining(rankings: Sequence[Values]) -> StraightLining:
    """`rankings` holds ranks by display position; ties are no straight line."""
    sizes: dict[int, int] = {}
    observed = 0
    for ranks in rankings:
        if len(ranks) > 1:
            sizes[len(ranks)] = sizes.get(len(ranks), 0) + 1
            observed += all(a < b for a, b in zip(ranks, ranks[1:], strict=False))
    return straight_lining_of_counts(observed, sizes)


def straight_lining_of_counts(observed: int, sizes: dict[int, int]) -> StraightLining:
    """The same from how many are straight, and how many rankings have K positions, by K."""
    n = sum(sizes.values())
    if observed > n:
        raise ValueError(f"{observed} straight rankings of {n}: there cannot be more than all.")
    expected = math.fsum(num / math.factorial(k) for k, num in sizes.items())
    if not n:
        return StraightLining(0, 0.0, 0, None)
    if not observed:
        return StraightLining(0, expected, n, 1.0)
    # The law of a sum of binomials, one for each K, up to what was seen.
    below = np.ones(1)
    for k, num in sorted(sizes.items()):
        below = np.convolve(below, _binomial(observed, num, 1 / math.factorial(k)))[:observed]
    return StraightLining(observed, expected, n, float(np.clip(1 - below.sum(), 0.0, 1.0)))


def _binomial(stop: int, n: int, p: float) -> Floats:
    """The chances of 0, 1, .. stop - 1 of n."""
    from scipy.special import gammaln, xlog1py, xlogy

    k = np.arange(min(stop, n + 1))
    ways = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    found: Floats = np.exp(ways + xlogy(k, p) + xlog1py(n - k, -p))
    return found


def paces(
    labelers: Sequence[Hashable], active_seconds: Values, num_chars: Values
) -> dict[Hashable, Pace]:
    """Everybody's pace, from log seconds less what the length of the task accounts for.

    log seconds = a + b log(characters), least squares over all labels; the residual's robust z is
    its distance from the median in units of 1.4826 median absolute deviations. Labels without a
    time (nan) are left out; times below a second count as one.
    """
    if not len(labelers) == len(active_seconds) == len(num_chars):
        raise ValueError(
            f"{len(labelers)} labelers, {len(active_seconds)} times and {len(num_chars)} lengths; "
            "each label needs one of each."
        )
    seconds = np.asarray(active_seconds, dtype=np.float64)
    known = np.isfinite(seconds)
    if not known.any():
        return {}
    x = np.log(np.maximum(np.asarray(num_chars, dtype=np.float64)[known], 1.0))
    y = np.log(np.maximum(seconds[known], 1.0))
    spread = x - x.mean()
    slope = float(spread @ y) / float(spread @ spread) if (spread != 0).any() else 0.0
    residual = y - slope * x
    residual -= np.median(residual)
    scale = 1.4826 * float(np.median(np.abs(residual)))
    z = residual / scale if scale > 0 else np.zeros(len(residual))
    place = {name: i for i, name in enumerate(dict.fromkeys(labelers))}
    row = np.fromiter(map(place.__getitem__, labelers), dtype=np.int64, count=len(labelers))[known]
    order = np.argsort(row, kind="stable")
    parts = np.split(z[order], np.cumsum(np.bincount(row, minlength=len(place)))[:-1])
    return {
        name: Pace(float(np.median(own)), float((own < HASTY).mean()), len(own))
        for name, own in zip(place, parts, strict=True)
        if len(own)
    }
