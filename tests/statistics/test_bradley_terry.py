"""Davidson's model, held against closed forms and another algorithm."""

import math

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from preceptor.statistics import comparisons_of_ranking, fit_davidson
from preceptor.statistics.bradley_terry import _negative_log_likelihood


def two_players(wins, losses, ties):
    return [("a", "b", 1)] * wins + [("a", "b", 0)] * losses + [("a", "b", 0.5)] * ties


def test_two_players_with_ties_have_a_closed_form():
    fit = fit_davidson(two_players(50, 20, 30), ridge=0)
    assert fit.converged
    assert fit.strengths["a"] - fit.strengths["b"] == pytest.approx(math.log(50 / 20), abs=1e-5)
    assert fit.tie == pytest.approx(30 / math.sqrt(50 * 20), abs=1e-5)
    assert fit.probabilities("a", "b") == pytest.approx((0.5, 0.3, 0.2), abs=1e-5)
    assert fit.probabilities("b", "a") == pytest.approx((0.2, 0.3, 0.5), abs=1e-5)


def test_two_players_without_ties():
    fit = fit_davidson(two_players(30, 10, 0), ridge=0)
    assert fit.tie == 0
    assert fit.probabilities("a", "b") == pytest.approx((0.75, 0, 0.25), abs=1e-5)


def tournament(seed=0, num=4):
    generator = np.random.default_rng(seed)
    comparisons = []
    for _ in range(400):
        a, b = (int(x) for x in generator.choice(num, size=2, replace=False))
        comparisons.append((a, b, float(generator.random() < 1 / (1 + np.exp((a - b) / 2)))))
    return comparisons


def test_without_ties_equals_the_minorization_of_hunter():
    """p_i = wins_i / sum over games of 1 / (p_i + p_j), repeated: no gradient, no logarithm."""
    comparisons = tournament()
    p = np.ones(4)
    for _ in range(3000):
        wins, games = np.zeros(4), np.zeros(4)
        for a, b, outcome in comparisons:
            wins[a if outcome else b] += 1
            games[[a, b]] += 1 / (p[a] + p[b])
        p = wins / games
        p /= p.prod() ** 0.25
        if np.abs(p - wins / games).max() < 1e-12:
            break
    fit = fit_davidson(comparisons, ridge=0)
    assert [fit.strengths[i] for i in range(4)] == pytest.approx(np.log(p).tolist(), abs=1e-4)


def test_gradient_by_finite_differences():
    generator = np.random.default_rng(0)
    first, second = np.array([0, 1, 2, 0, 1]), np.array([1, 2, 0, 2, 0])
    outcome, weight = np.array([1, 0.5, 0, 0, 0.5]), generator.random(5)
    point = generator.normal(size=4)

    def value(parameters):
        return _negative_log_likelihood(parameters, first, second, outcome, weight, 0.1, True)[0]

    gradient = _negative_log_likelihood(point, first, second, outcome, weight, 0.1, True)[1]
    assert gradient == pytest.approx(approx_fprime(point, value, 1e-7), abs=1e-5)


def test_order_of_rows_and_of_sides_changes_nothing():
    comparisons = tournament()
    fit = fit_davidson(comparisons)
    turned = fit_davidson([(b, a, 1 - outcome) for a, b, outcome in reversed(comparisons)])
    assert turned.strengths == pytest.approx(fit.strengths, abs=1e-6)


def test_strengths_sum_to_zero():
    assert sum(fit_davidson(tournament()).strengths.values()) == pytest.approx(0, abs=1e-9)


def test_who_never_lost_is_best_and_finite():
    fit = fit_davidson([("champion", "other", 1)] * 10)
    assert 0 < fit.strengths["champion"] < 10
    assert fit.converged


def test_strangers_are_not_comparable():
    fit = fit_davidson([("a", "b", 1), ("b", "a", 1), ("c", "d", 1), ("d", "e", 0.5)])
    assert fit.probabilities("a", "c") is None
    assert fit.probabilities("c", "e") is not None
    assert fit.strengths["a"] + fit.strengths["b"] == pytest.approx(0, abs=1e-9)


def test_a_later_comparison_joins_two_groups():
    fit = fit_davidson([("a", "b", 1), ("c", "d", 1), ("b", "c", 0.5)])
    assert fit.probabilities("a", "d") is not None
    assert fit.strengths["a"] > fit.strengths["d"]


def test_weights_are_repetitions():
    weighted = fit_davidson([("a", "b", 1), ("a", "b", 0), ("a", "b", 0.5)], [5, 2, 3])
    repeated = fit_davidson(two_players(5, 2, 3))
    assert weighted.strengths == pytest.approx(repeated.strengths, abs=1e-5)
    assert weighted.tie == pytest.approx(repeated.tie, abs=1e-5)


def test_ranking_is_one_judgement_in_all():
    comparisons, weights = comparisons_of_ranking(["a", "b", "c"], [1, 2, 2])
    assert comparisons == [("a", "b", 1.0), ("a", "c", 1.0), ("b", "c", 0.5)]
    assert sum(weights) == pytest.approx(1)
    assert comparisons_of_ranking(["a"], [1]) == ([], [])


def test_no_comparisons_no_models():
    assert fit_davidson([]).strengths == {}


def test_impossible_input_is_refused():
    with pytest.raises(ValueError, match="two different models"):
        fit_davidson([("a", "a", 1)])
    with pytest.raises(ValueError, match="1, 0.5 or 0"):
        fit_davidson([("a", "b", 0.7)])
    with pytest.raises(ValueError, match="1 comparisons and 2 weights"):
        fit_davidson([("a", "b", 1)], [1, 2])
