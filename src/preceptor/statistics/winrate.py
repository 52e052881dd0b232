"""How often one model's responses are preferred to another's; a tie is half a win."""

import math
from collections.abc import Hashable, Sequence
from statistics import NormalDist
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from preceptor.statistics.bootstrap import Values, cluster_bootstrap
from preceptor.statistics.clusters import two_way_error, two_way_mean
from preceptor.statistics.estimate import Estimate

FEWEST_FOR_LENGTH_CONTROL = 100
Floats = NDArray[np.float64]
Model = TypeVar("Model", bound=Hashable)


def win_rate(
    outcomes: Values,
    clusters: Sequence[Hashable] | None = None,
    *,
    seed: int = 0,
    level: float = 0.95,
) -> Estimate:
    """(wins + ties / 2) / n, where an outcome is 1 (won), 0.5 (tied) or 0 (lost)."""
    _require_outcomes(outcomes)
    return cluster_bootstrap(outcomes, clusters, seed=seed, level=level)


def outcomes_from_scores(a: Values, b: Values, tie_margin: float = 1e-9) -> NDArray[np.float64]:
    """1 where a scores more than b, 0 where less, 0.5 where they are `tie_margin` apart or less."""
    if len(a) != len(b):
        raise ValueError(f"a has {len(a)} scores and b has {len(b)}; they must be paired.")
    difference = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    if not np.isfinite(difference).all():
        raise ValueError("a score is not a finite number; leave out the pairs that lack one.")
    decided = np.where(difference > 0, 1.0, 0.0)
    return np.where(np.abs(difference) <= tie_margin, 0.5, decided)


def count_outcomes(outcomes: Values) -> dict[str, int]:
    """Wins, ties and losses as `results.json` shows them beside the rate."""
    return {
        "wins": sum(bool(outcome > 0.5) for outcome in outcomes),
        "ties": sum(bool(outcome == 0.5) for outcome in outcomes),
        "losses": sum(bool(outcome < 0.5) for outcome in outcomes),
    }


SHARES = ("win", "tie", "both_bad", "loss")


def shares_against(
    baseline: Model,
    models: Sequence[Model],
    ranks: Values,
    unacceptable: Sequence[bool] | None = None,
) -> dict[Model, dict[str, float]]:
    """Of one K-way ranking, for each model but the baseline, what a win rate hides.

    The shares of its pairs with the baseline that it won, tied, lost, or tied because both are
    unacceptable: one of them is 1 unless either has several responses. Empty where the baseline was
    not among them. Its outcome is win + (tie + both_bad) / 2.

    Raises:
        ValueError: there is not one rank, and one word on acceptance, for each model.
    """
    bad = [False] * len(models) if unacceptable is None else list(unacceptable)
    if not len(models) == len(ranks) == len(bad):
        raise ValueError(
            f"there are {len(models)} models, {len(ranks)} ranks and {len(bad)} words on "
            "acceptance; pair them."
        )
    own: dict[Model, list[tuple[float, bool]]] = {}
    for model, rank, is_bad in zip(models, ranks, bad, strict=True):
        own.setdefault(model, []).append((float(rank), is_bad))
    others = own.pop(baseline, [])
    found = {}
    for model, mine in own.items():
        if others:
            pairs = [_outcome(*one, *other) for one in mine for other in others]
            found[model] = {name: pairs.count(name) / len(pairs) for name in SHARES}
    return found


def _outcome(rank: float, is_bad: bool, other: float, other_is_bad: bool) -> str:
    if rank != other:
        return "win" if rank < other else "loss"
    return "both_bad" if is_bad and other_is_bad else "tie"


def length_controlled_win_rate(
    outcomes: Values,
    length_differences: Values,
    clusters: Sequence[Hashable] | None = None,
    *,
    labelers: Sequence[Hashable] | None = None,
    level: float = 0.95,
) -> Estimate:
    """The win rate to expect between responses of equal length, by logistic regression.

    logit P(win) = theta + phi * tanh(D / sd D), D = own length minus the other's; the rate is
    sigmoid(theta), its interval from the cluster-robust standard error of theta, in two ways where
    labelers are given. Undefined, with
    the reason, where the data cannot separate length from quality.
    """
    _require_outcomes(outcomes)
    if len(outcomes) != len(length_differences):
        raise ValueError(
            f"there are {len(outcomes)} outcomes and {len(length_differences)} length differences; "
            "each outcome needs one."
        )
    y = np.asarray(outcomes, dtype=np.float64)
    difference = np.asarray(length_differences, dtype=np.float64)
    spread = float(difference.std())
    x = np.tanh(difference / spread) if spread > 0 else difference
    return _rate_at_zero(y, difference, x, clusters, level, labelers)


def win_rate_at_equal_length(
    outcomes: Values,
    lengths: Values,
    other_lengths: Values,
    clusters: Sequence[Hashable] | None = None,
    *,
    level: float = 0.95,
) -> Estimate:
    """The win rate read at a length ratio of 1 (Stiennon et al. 2020, appendix F).

    logit P(win) = theta + phi * log(length / other length), lengths in any one unit; the rate is
    sigmoid(theta), its interval from the cluster-robust standard error of theta. A tie is half a
    win. Undefined, with the reason, for fewer than 100 outcomes and where the data cannot part
    length from quality.

    Raises:
        ValueError: a length is not above 0, or there is not one pair of lengths for each outcome.
    """
    _require_outcomes(outcomes)
    if not len(outcomes) == len(lengths) == len(other_lengths):
        raise ValueError(
            f"there are {len(outcomes)} outcomes, {len(lengths)} lengths and {len(other_lengths)} "
            "of the other's; each outcome needs one of both."
        )
    own, other = (np.asarray(side, dtype=np.float64) for side in (lengths, other_lengths))
    if not ((own > 0) & (other > 0)).all():
        raise ValueError(
            "a length is not above 0; count the end token, and an empty response has 1."
        )
    ratio = np.log(own / other)
    return _rate_at_zero(np.asarray(outcomes, dtype=np.float64), ratio, ratio, clusters, level)


def _rate_at_zero(
    y: Floats,
    difference: Floats,
    x: Floats,
    clusters: Sequence[Hashable] | None,
    level: float,
    labelers: Sequence[Hashable] | None = None,
) -> Estimate:
    """sigmoid(theta) of logit P(win) = theta + phi * x; x [n] is a function of `difference` [n]."""
    n = len(y)
    if n < FEWEST_FOR_LENGTH_CONTROL:
        return Estimate.undefined(f"{n} outcomes; length control needs at least 100", n)
    groups = list(range(n)) if clusters is None else list(clusters)
    if not difference.any():
        if labelers is not None:
            return two_way_mean(y, groups, labelers)
        return cluster_bootstrap(y, clusters, level=level)
    if abs(difference.mean()) > 2 * difference.std():
        return Estimate.undefined("one model is always longer: lengths do not overlap", n)
    if _separable(x, y):
        return Estimate.undefined("length, or nothing at all, decides every outcome", n)

    design = np.stack([np.ones(n), x], axis=1)
    fitted = _fit_logistic(design, y)
    if fitted is None:
        return Estimate.undefined("the logistic regression did not converge", n)
    error = _robust_standard_error(design, y, fitted, groups, labelers)
    z = NormalDist().inv_cdf(0.5 + level / 2)
    low, middle, high = (_sigmoid(float(fitted[0]) + k * z * error) for k in (-1, 0, 1))
    return Estimate(middle, low, high, n, len(set(groups)), "logistic, cluster-robust")


def _require_outcomes(outcomes: Values) -> None:
    for position, outcome in enumerate(outcomes):
        if not 0 <= outcome <= 1:
            raise ValueError(
                f"outcome {position} is {outcome}; a win is 1, a tie 0.5 and a loss 0."
            )


def _separable(x: Floats, y: Floats) -> bool:
    """Whether a threshold on x parts all wins from all losses, so that the fit runs to infinity."""
    won, lost = x[y > 0], x[y < 1]
    if not len(won) or not len(lost):
        return True
    return bool(won.min() >= lost.max() or won.max() <= lost.min())


def _fit_logistic(design: Floats, y: Floats) -> Floats | None:
    """Newton's method on a concave likelihood of two parameters, with steps cut when they fail."""
    coefficients = np.zeros(design.shape[1])
    for _ in range(100):
        p = _sigmoids(design @ coefficients)
        gradient = design.T @ (y - p)
        hessian = (design * (p * (1 - p))[:, None]).T @ design
        try:
            step = np.linalg.solve(hessian, gradient)
        except np.linalg.LinAlgError:
            return None
        coefficients = coefficients + step * min(1.0, 2.0 / float(np.abs(step).max() + 1e-300))
        if np.abs(step).max() < 1e-10:
            return coefficients
    return None


def _robust_standard_error(
    design: Floats,
    y: Floats,
    coefficients: Floats,
    groups: Sequence[Hashable],
    labelers: Sequence[Hashable] | None,
) -> float:
    """Of theta, by the sandwich formula with the scores summed within each cluster."""
    p = _sigmoids(design @ coefficients)
    bread = np.linalg.inv((design * (p * (1 - p))[:, None]).T @ design)
    return two_way_error((design * (y - p)[:, None]) @ bread[0], groups, labelers)


def _sigmoids(x: Floats) -> Floats:
    return np.asarray(0.5 * (1 + np.tanh(x / 2)), dtype=np.float64)


def _sigmoid(x: float) -> float:
    return 0.5 * (1 + math.tanh(x / 2))
