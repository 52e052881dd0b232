"""A labeler's record: what honest and dishonest ones look like in it."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from preceptor.statistics import paces, proportion, straight_lining, wilson_interval


def test_straight_lines_of_one_k_have_the_binomial_chance():
    rankings = [[1, 2, 3]] * 6 + [[2, 1, 3]] * 14
    found = straight_lining(rankings)
    assert (found.observed, found.n) == (6, 20)
    assert found.expected == pytest.approx(20 / 6)
    assert found.p == pytest.approx(binomtest(6, 20, 1 / 6, alternative="greater").pvalue)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 5), st.integers(0, 4), st.integers(0, 9))
def test_chance_with_k_mixed_is_the_sum_over_all_outcomes(pairs, triples, observed):
    """Each ranking is straight or not: every subset, one by one."""
    n = pairs + triples
    observed = min(observed, n)
    rankings = [[1, 2]] * pairs + [[1, 2, 3]] * triples
    rankings = rankings[:observed] + [list(reversed(r)) for r in rankings[observed:]]
    if not rankings:
        return
    law = np.ones(1)
    for k in [2] * pairs + [3] * triples:
        law = np.convolve(law, [1 - 1 / math.factorial(k), 1 / math.factorial(k)])
    assert straight_lining(rankings).p == pytest.approx(law[observed:].sum(), abs=1e-9)


def test_ties_and_lone_responses_are_no_straight_lines():
    found = straight_lining([[1, 1, 3], [1], [3, 2, 1]])
    assert (found.observed, found.n) == (0, 2) and found.p == 1.0
    assert straight_lining([]).p is None


def test_the_straight_liner_is_seen_and_the_honest_are_not():
    draws = np.random.default_rng(0)
    assert straight_lining([[1, 2, 3, 4]] * 10).p < 1e-9
    ps = [straight_lining([draws.permutation(4).tolist() for _ in range(50)]).p for _ in range(300)]
    assert np.mean(np.array(ps) < 0.01) < 0.03


def worked(seed=0, num=200):
    """Three honest labelers and one who spends a tenth of the time; long tasks take longer."""
    draws = np.random.default_rng(seed)
    rows = []
    for name, pace in (("ann", 1.0), ("bob", 1.3), ("cyd", 0.8), ("speeder", 0.1)):
        for _ in range(num):
            chars = float(draws.integers(200, 8000))
            seconds = pace * 0.3 * chars**0.8 * math.exp(0.35 * draws.normal())
            rows.append((name, seconds, chars))
    return [list(column) for column in zip(*rows, strict=True)]


def test_the_speeder_is_hasty_and_nobody_else():
    found = paces(*worked())
    assert {name for name, pace in found.items() if pace.is_hasty} == {"speeder"}
    assert found["speeder"].hasty > 0.5 and found["ann"].hasty < 0.02
    assert found["ann"].n == 200


def test_who_gets_short_tasks_is_not_hasty():
    names, seconds, chars = worked()
    rows = [
        (name, time, length)
        for name, time, length in zip(names, seconds, chars, strict=True)
        if name != "speeder" and (name != "cyd" or length < 600)
    ]
    found = paces(*zip(*rows, strict=True))
    assert not any(pace.is_hasty for pace in found.values())
    assert abs(found["cyd"].z) < 1.5


def test_times_in_another_unit_and_rows_in_another_order_change_nothing():
    names, seconds, chars = worked(num=40)
    order = np.random.default_rng(0).permutation(len(names))
    moved = paces(
        [names[i] for i in order], [60 * seconds[i] for i in order], [chars[i] for i in order]
    )
    for name, pace in paces(names, seconds, chars).items():
        assert moved[name].z == pytest.approx(pace.z, abs=1e-9)


def test_unknown_times_are_left_out():
    found = paces(["ann", "ann", "bob"], [10.0, float("nan"), float("nan")], [5, 5, 5])
    assert list(found) == ["ann"] and found["ann"].n == 1 and found["ann"].z == 0
    assert paces(["ann"], [float("nan")], [3]) == {}
    with pytest.raises(ValueError, match="1 labelers, 2 times and 1 lengths"):
        paces(["ann"], [1.0, 2.0], [3])


def test_proportion_is_wilsons():
    found = proportion(3, 40)
    assert (found.low, found.high) == wilson_interval(3 / 40, 40)
    assert proportion(0, 0).reason == "there are no labels"
