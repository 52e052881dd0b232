"""One strength per model from comparisons of two, ties included: Davidson's Bradley-Terry model.

P(i beats j) = e^a / Z and P(tie) = nu e^((a + b) / 2) / Z, with a and b the strengths of i and j
and Z = e^a + e^b + nu e^((a + b) / 2).
"""

import itertools
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preceptor.statistics.clusters import times_drawn
from preceptor.statistics.estimate import Estimate

Floats = NDArray[np.float64]
LARGEST = 30.0  # e^30 to 1 is as good as certain, and keeps the search finite


@dataclass(frozen=True)
class DavidsonFit:
    """Strengths that sum to 0 in each component of the comparison graph, and how likely ties are.

    Models in different components were never compared, not even by way of others. `lead` is what
    standing first on the page is worth, in the unit of strengths; 0 where it was not asked for.
    """

    strengths: dict[Hashable, float]
    tie: float
    component: dict[Hashable, int]
    converged: bool
    lead: float = 0.0

    def probabilities(self, a: Hashable, b: Hashable) -> tuple[float, float, float] | None:
        """(a wins, tie, b wins); None where the two are not comparable."""
        if self.component[a] != self.component[b]:
            return None
        half = (self.strengths[a] - self.strengths[b]) / 2
        win, loss = float(np.exp(half)), float(np.exp(-half))
        total = win + loss + self.tie
        return win / total, self.tie / total, loss / total


def fit_davidson(
    comparisons: Sequence[tuple[Hashable, Hashable, float]],
    weights: Sequence[float] | None = None,
    *,
    ridge: float = 0.01,
    shown_first: Sequence[float] | None = None,
) -> DavidsonFit:
    """The strengths that make the comparisons most likely, less ridge / 2 times their squares.

    A comparison is (a, b, outcome): 1 if a won, 0.5 for a tie, 0 if b won. The ridge keeps models
    that never lost, or never won, at a finite strength. `shown_first` is 1 where a stood before b,
    -1 where after, 0 where that is unknown: the strengths are then those at equal places.
    """
    if shown_first is not None and len(shown_first) != len(comparisons):
        raise ValueError(
            f"{len(comparisons)} comparisons and {len(shown_first)} places; pair them."
        )
    weight = np.ones(len(comparisons)) if weights is None else np.array(weights, dtype=np.float64)
    if len(weight) != len(comparisons):
        raise ValueError(f"{len(comparisons)} comparisons and {len(weight)} weights; pair them.")
    for a, b, result in comparisons:
        if a == b or result not in (0, 0.5, 1):
            raise ValueError(
                f"comparison {(a, b, result)}: two different models and 1, 0.5 or 0 are needed."
            )
    from scipy.optimize import minimize  # where it is needed: pages start without scipy

    if not len(comparisons):
        return DavidsonFit({}, 0.0, {}, converged=True)
    # Sorted by name, so that the order of rows cannot matter.
    models = sorted({m for a, b, _ in comparisons for m in (a, b)}, key=repr)
    index = {model: i for i, model in enumerate(models)}
    first = np.array([index[a] for a, _, _ in comparisons], dtype=np.int64)
    second = np.array([index[b] for _, b, _ in comparisons], dtype=np.int64)
    outcome = np.array([o for _, _, o in comparisons], dtype=np.float64)
    has_ties = bool((outcome == 0.5).any())
    component = _components(len(models), first, second)
    place = None if shown_first is None else np.array(shown_first, dtype=np.float64)

    def objective(parameters: Floats) -> tuple[float, Floats]:
        return _negative_log_likelihood(
            parameters, first, second, outcome, weight, ridge, has_ties, place
        )

    start = np.zeros(len(models) + has_ties + (place is not None))
    found = minimize(
        objective,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=[(-LARGEST, LARGEST)] * len(start),
        options={"maxiter": 2000, "ftol": 1e-15, "gtol": 1e-9},
    )
    strengths = np.array(found.x[: len(models)], dtype=np.float64)
    for c in np.unique(component):
        strengths[component == c] -= strengths[component == c].mean()
    return DavidsonFit(
        strengths=dict(zip(models, strengths.tolist(), strict=True)),
        tie=float(np.exp(found.x[len(models)])) if has_ties else 0.0,
        component=dict(zip(models, component.tolist(), strict=True)),
        converged=bool(np.abs(objective(found.x)[1]).max() < 1e-4 * (1 + weight.sum())),
        lead=0.0 if place is None else float(found.x[-1]),
    )


def davidson_strengths(
    comparisons: Sequence[tuple[Hashable, Hashable, float]],
    weights: Sequence[float] | None,
    clusters: Sequence[Hashable],
    *,
    labelers: Sequence[Hashable] | None = None,
    shown_first: Sequence[float] | None = None,
    ridge: float = 0.01,
    seed: int = 0,
    num_resamples: int = 200,
) -> dict[Hashable, Estimate]:
    """Each model's strength with its interval, the clusters (prompts, usually) drawn again.

    Where labelers are given they are drawn as well, and a comparison counts as often as both. With
    `shown_first` strengths are those at equal places (`fit_davidson`). They are known up to a
    constant in each component: the others in it make up the 0.
    """
    if len(clusters) != len(comparisons):
        raise ValueError(f"{len(comparisons)} comparisons and {len(clusters)} clusters; pair them.")
    weight = np.ones(len(comparisons)) if weights is None else np.array(weights, dtype=np.float64)
    shown = [0.0] * len(comparisons) if shown_first is None else shown_first
    fit = fit_davidson(comparisons, weight.tolist(), ridge=ridge, shown_first=shown)
    ways = [clusters] if labelers is None else [clusters, labelers]
    places = [{key: i for i, key in enumerate(sorted(set(way), key=repr))} for way in ways]
    rows = [
        np.array([place[key] for key in way], dtype=np.int64)
        for place, way in zip(places, ways, strict=True)
    ]
    place, row = places[0], rows[0]
    if not fit.converged or len(place) < 2:
        why = "the search did not converge" if not fit.converged else "one cluster has no spread"
        return {
            model: Estimate(value, None, None, len(row), len(place), "davidson", why)
            for model, value in fit.strengths.items()
        }
    # Equal comparisons are one with the sum of their weights: few kinds, however many rows.
    all_rows = list(zip(comparisons, shown, strict=True))
    index = {kind: i for i, kind in enumerate(sorted(set(all_rows), key=repr))}
    kind = np.array([index[one] for one in all_rows], dtype=np.int64)
    kinds, shown = zip(*index, strict=True)
    generator = np.random.default_rng(seed)
    drawn: dict[Hashable, list[float]] = {model: [] for model in fit.strengths}
    for _ in range(num_resamples):
        again_weight = weight
        for each, own in zip(places, rows, strict=True):
            again_weight = again_weight * times_drawn(len(each), generator)[own]
        total: Floats = np.bincount(kind, again_weight, minlength=len(kinds)).astype(np.float64)
        again = fit_davidson(kinds, total.tolist(), ridge=ridge, shown_first=shown)
        for model, value in again.strengths.items():
            drawn[model].append(value)
    found = {}
    for model, value in fit.strengths.items():
        low, high = np.quantile(drawn[model], [0.025, 0.975])
        method = "davidson, cluster bootstrap"
        found[model] = Estimate(value, float(low), float(high), len(row), len(place), method)
    return found


def comparisons_of_ranking(
    models: Sequence[Hashable], ranks: Sequence[float], positions: Sequence[int] | None = None
) -> tuple[list[tuple[Hashable, Hashable, float]], list[float], list[float]]:
    """A ranking's comparisons, their weights, which sum to 1, and who of each was shown first.

    A ranking is one judgement. `positions` are the places on the page; the last list is as
    `fit_davidson` takes it, 0 without them.
    """
    where = [0] * len(models) if positions is None else positions
    rows = zip(models, ranks, where, strict=True)
    comparisons, shown = [], []
    for (a, rank, place), (b, other, other_place) in itertools.combinations(rows, 2):
        if a != b:
            comparisons.append((a, b, 0.5 if rank == other else float(rank < other)))
            shown.append(float((place < other_place) - (place > other_place)))
    return comparisons, [1 / len(comparisons) for _ in comparisons], shown


def _negative_log_likelihood(
    parameters: Floats,
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    outcome: Floats,
    weight: Floats,
    ridge: float,
    has_ties: bool,
    place: Floats | None = None,
) -> tuple[float, Floats]:
    """And its gradient. After the strengths: log nu where there are ties, the lead if asked for."""
    num_models = len(parameters) - has_ties - (place is not None)
    strength = parameters[:num_models]
    a, b = strength[first], strength[second]
    if place is not None:  # half of the lead on either side leaves their mean, and ties, alone
        a, b = a + place * parameters[-1] / 2, b - place * parameters[-1] / 2
    tied = (a + b) / 2 + (parameters[num_models] if has_ties else -np.inf)
    log_z = np.logaddexp(np.logaddexp(a, b), tied)
    is_tie = outcome == 0.5
    log_p = np.where(is_tie, np.where(is_tie, tied, 0.0), np.where(outcome == 1, a, b)) - log_z
    p_tie = np.exp(tied - log_z)
    surplus = weight * (outcome - (np.exp(a - log_z) + p_tie / 2))

    gradient = np.zeros_like(parameters)
    np.add.at(gradient, first, surplus)
    np.add.at(gradient, second, -surplus)
    gradient[:num_models] -= ridge * strength
    if has_ties:
        gradient[num_models] = float(weight @ (is_tie - p_tie))
    if place is not None:
        gradient[-1] = float(surplus @ place)
    value = float(weight @ log_p) - ridge / 2 * float(strength @ strength)
    return -value, -gradient


def _components(
    num_models: int, first: NDArray[np.int64], second: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The smallest index among the models that each is joined to."""
    component = np.arange(num_models)
    for a, b in zip(first.tolist(), second.tolist(), strict=True):
        low, high = sorted((component[a], component[b]))
        component[component == high] = low
    return component
