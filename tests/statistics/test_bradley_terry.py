"""Davidson's model, held against closed forms and another algorithm."""

import math

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from preceptor.statistics import comparisons_of_ranking, davidson_strengths, fit_davidson
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


def test_gradient_with_places_by_finite_differences():
    generator = np.random.default_rng(1)
    first, second = np.array([0, 1, 2, 0, 1]), np.array([1, 2, 0, 2, 0])
    outcome, weight = np.array([1, 0.5, 0, 0, 0.5]), generator.random(5)
    place, point = np.array([1.0, -1.0, 1.0, 0.0, -1.0]), generator.normal(size=5)
    rest = (first, second, outcome, weight, 0.1, True, place)
    gradient = _negative_log_likelihood(point, *rest)[1]
    numeric = approx_fprime(point, lambda x: _negative_log_likelihood(x, *rest)[0], 1e-7)
    assert gradient == pytest.approx(numeric, abs=1e-5)


def test_a_lead_for_the_first_place_is_told_apart_from_strength():
    """a is shown first in nine of ten comparisons and is as good as b; place alone favors it."""
    generator = np.random.default_rng(0)
    comparisons, places = [], []
    for _ in range(4000):
        place = 1 if generator.random() < 0.9 else -1
        wins = generator.random() < 1 / (1 + math.exp(-0.8 * place))
        comparisons.append(("a", "b", float(wins)))
        places.append(place)
    plain, corrected = (fit_davidson(comparisons, shown_first=p) for p in (None, places))
    assert plain.strengths["a"] - plain.strengths["b"] > 0.5
    assert corrected.strengths["a"] - corrected.strengths["b"] == pytest.approx(0, abs=0.2)
    assert corrected.lead == pytest.approx(0.8, abs=0.15)
    assert plain.lead == 0.0


def test_unknown_places_are_no_places():
    comparisons = tournament()
    fit = fit_davidson(comparisons, shown_first=[0] * len(comparisons))
    assert fit.strengths == pytest.approx(fit_davidson(comparisons).strengths, abs=1e-5)
    with pytest.raises(ValueError, match="400 comparisons and 1 places"):
        fit_davidson(comparisons, shown_first=[1])


def test_intervals_of_strengths_hold_the_truth():
    """Six models, true strengths half a unit apart, three comparisons a prompt."""
    truth, covered = {m: m / 2 - 1.25 for m in range(6)}, 0
    for seed in range(6):
        generator = np.random.default_rng(seed)
        comparisons, prompts = [], []
        for row in range(600):
            a, b = (int(x) for x in generator.choice(6, size=2, replace=False))
            half = math.exp((truth[a] - truth[b]) / 2)
            weights = np.array([half, 0.5, 1 / half])
            outcome = generator.choice([1.0, 0.5, 0.0], p=weights / weights.sum())
            comparisons.append((a, b, float(outcome)))
            prompts.append(row // 3)
        found = davidson_strengths(comparisons, None, prompts, num_resamples=40, ridge=0)
        covered += sum(found[m].low <= truth[m] <= found[m].high for m in truth)
        assert found[0].clusters == 200
    assert covered >= 30  # of 36


def test_models_by_other_names_and_prompts_in_another_order_have_the_same_strengths():
    comparisons = tournament()
    prompts = [row // 4 for row in range(len(comparisons))]
    renamed = [(f"m{3 - a}", f"m{3 - b}", outcome) for a, b, outcome in comparisons]
    straight = davidson_strengths(comparisons, None, prompts, num_resamples=10)
    other = davidson_strengths(renamed[::-1], None, prompts[::-1], num_resamples=10)
    for model, found in straight.items():
        there = other[f"m{3 - model}"]
        assert (there.mean, there.low) == pytest.approx((found.mean, found.low), abs=1e-5)


def test_one_prompt_has_no_spread():
    found = davidson_strengths([("a", "b", 1)], None, ["p"])
    assert found["a"].mean > 0 and found["a"].low is None and "one cluster" in found["a"].reason
    assert davidson_strengths([], None, []) == {}
    with pytest.raises(ValueError, match="1 comparisons and 2 clusters"):
        davidson_strengths([("a", "b", 1)], None, ["p", "q"])


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
    comparisons, weights, shown = comparisons_of_ranking(["a", "b", "c"], [1, 2, 2])
    assert comparisons == [("a", "b", 1.0), ("a", "c", 1.0), ("b", "c", 0.5)]
    assert sum(weights) == pytest.approx(1)
    assert shown == [0, 0, 0]
    assert comparisons_of_ranking(["a", "b", "a"], [1, 2, 1], [2, 0, 1])[2] == [-1, 1]
    assert comparisons_of_ranking(["a"], [1]) == ([], [], [])


def test_no_comparisons_no_models():
    assert fit_davidson([]).strengths == {}


def test_impossible_input_is_refused():
    with pytest.raises(ValueError, match="two different models"):
        fit_davidson([("a", "a", 1)])
    with pytest.raises(ValueError, match="1, 0.5 or 0"):
        fit_davidson([("a", "b", 0.7)])
    with pytest.raises(ValueError, match="1 comparisons and 2 weights"):
        fit_davidson([("a", "b", 1)], [1, 2])
