"""Position bias: found where planted, quiet where not, its chance that of permuting by hand."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preceptor.statistics import left_win_rate, position_bias, wilson_interval


def ranked(num, k, lead, seed=0):
    """Ranks by position of labelers who like what stands first by `lead`."""
    draws = np.random.default_rng(seed)
    worth = draws.normal(size=(num, k))
    worth[:, 0] += lead
    return (np.argsort(np.argsort(-worth, axis=1), axis=1) + 1).tolist()


def test_planted_bias_is_found():
    found = position_bias(ranked(300, 4, lead=0.8))
    assert found.p < 0.001
    assert found.observed[0] > 1.5 * found.expected[0]
    assert found.midrank[0].high < 0 < found.midrank[1].high
    assert sum(found.observed) == pytest.approx(300)
    assert found.expected == pytest.approx((75,) * 4)


def test_without_a_bias_p_is_uniform():
    ps = [position_bias(ranked(60, 4, 0.0, seed), num_permutations=200).p for seed in range(200)]
    for level in (0.1, 0.3, 0.5, 0.7):
        assert np.mean(np.array(ps) <= level) == pytest.approx(level, abs=0.1)


def test_the_chance_is_that_of_all_permutations():
    """Two rankings of three, one with two tied for the first place: all 36 ways, one by one."""
    tasks = [[1, 2, 3], [1, 1, 3]]
    expected = np.full(3, 2 / 3)

    def distance(rankings):
        credit = np.zeros(3)
        for ranks in rankings:
            first = np.array(ranks) == min(ranks)
            credit += first / first.sum()
        return float(((credit - expected) ** 2 / expected).sum())

    ways = itertools.product(*(list(itertools.permutations(task)) for task in tasks))
    seen = distance(tasks)
    exact = np.mean([distance(way) >= seen - 1e-9 for way in ways])
    found = position_bias(tasks, num_permutations=40_000)
    assert found.statistic == pytest.approx(seen)
    assert found.p == pytest.approx(exact, abs=0.01)


def test_k_may_differ_and_ties_are_shared_out():
    found = position_bias([[1, 1, 3], [2, 1], [5, 5]])
    assert found.observed == pytest.approx((0.5 + 0 + 0.5, 0.5 + 1 + 0.5, 0.0))
    assert found.expected == pytest.approx((1 / 3 + 1, 1 / 3 + 1, 1 / 3))
    assert [m.n for m in found.midrank] == [3, 3, 1]


def test_all_tied_or_nothing_has_no_chance():
    assert position_bias([[1, 1, 1]] * 9).p is None
    assert position_bias([]).n == 0 and position_bias([[1]]).p is None


@settings(max_examples=20, deadline=None)
@given(st.lists(st.lists(st.integers(1, 3), min_size=3, max_size=3), min_size=1), st.randoms())
def test_order_of_rankings_changes_nothing(rankings, draws):
    straight = position_bias(rankings, num_permutations=200)
    mixed = position_bias(draws.sample(rankings, len(rankings)), num_permutations=200)
    assert (mixed.observed, mixed.p) == (pytest.approx(straight.observed), straight.p)


def test_left_side():
    found = left_win_rate([1, 1, 0.5, 0] * 10)
    assert found.mean == 0.625 and found.low < 0.625 < found.high
    even = left_win_rate([1.0, 0.0] * 50)
    assert (even.low, even.high) == pytest.approx(wilson_interval(0.5, 100), abs=0.002)
    always = left_win_rate([1.0] * 8, [1, 1, 2, 2, 3, 3, 4, 4])
    assert (always.low, always.clusters) == (wilson_interval(1.0, 4)[0], 4)
    assert left_win_rate([]).mean is None
    with pytest.raises(ValueError, match="won .1., tied"):
        left_win_rate([0.3])
