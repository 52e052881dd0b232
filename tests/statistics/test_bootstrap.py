"""Intervals, held against simulation and scipy."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from preceptor.statistics import (
    Estimate,
    bootstrap,
    bootstrap_statistic,
    cluster_bootstrap,
    paired_difference,
    wilson_interval,
)

PAIRS_OF_EIGHT = 28


def correlated_outcomes(generator, num_clusters):
    """28 outcomes a cluster, each cluster with a rate of its own; the true mean is 2/3."""
    rates = generator.beta(2, 1, size=num_clusters)
    outcomes = generator.random((num_clusters, PAIRS_OF_EIGHT)) < rates[:, None]
    return outcomes.ravel().astype(float), np.repeat(np.arange(num_clusters), PAIRS_OF_EIGHT)


def test_interval_covers_at_its_level_where_the_naive_one_fails():
    covered = naive = 0
    for trial in range(500):
        outcomes, clusters = correlated_outcomes(np.random.default_rng(trial), 60)
        estimate = cluster_bootstrap(outcomes, clusters.tolist(), seed=trial, num_resamples=400)
        low, high = wilson_interval(estimate.mean, estimate.n)
        covered += estimate.low <= 2 / 3 <= estimate.high
        naive += low <= 2 / 3 <= high
    assert 0.92 <= covered / 500 <= 0.97
    assert naive / 500 < 0.6


def test_width_agrees_with_the_analytic_standard_error():
    outcomes, clusters = correlated_outcomes(np.random.default_rng(0), 200)
    estimate = cluster_bootstrap(outcomes, clusters.tolist())
    means = outcomes.reshape(200, PAIRS_OF_EIGHT).mean(axis=1)
    error = means.std(ddof=1) / math.sqrt(200)
    assert (estimate.high - estimate.low) / (2 * 1.96) == pytest.approx(error, rel=0.1)


def test_higher_level_is_wider():
    values = np.random.default_rng(0).normal(size=100)
    narrow, wide = (cluster_bootstrap(values, level=level) for level in (0.8, 0.99))
    assert wide.low < narrow.low < narrow.mean < narrow.high < wide.high


def test_mean_weighs_values_not_clusters():
    estimate = cluster_bootstrap([3.0, 3.0, 3.0, 7.0], ["a", "a", "a", "b"])
    assert estimate.mean == 4
    assert (estimate.n, estimate.clusters) == (4, 2)


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(40)))
def test_order_of_rows_changes_nothing(order):
    generator = np.random.default_rng(3)
    values, clusters = generator.normal(size=40), generator.integers(0, 9, size=40)
    straight = cluster_bootstrap(values, clusters.tolist(), num_resamples=50)
    shuffled = cluster_bootstrap(values[order], clusters[order].tolist(), num_resamples=50)
    assert straight == shuffled


def test_same_seed_same_interval():
    values = np.random.default_rng(0).normal(size=50)
    assert cluster_bootstrap(values, seed=1) == cluster_bootstrap(values, seed=1)
    assert cluster_bootstrap(values, seed=1) != cluster_bootstrap(values, seed=2)


def test_wilson_is_scipys():
    for wins, n in [(70, 100), (0, 12), (12, 12), (1, 3)]:
        reference = binomtest(wins, n).proportion_ci(method="wilson")
        assert wilson_interval(wins / n, n) == pytest.approx((reference.low, reference.high))
    assert wilson_interval(0.7, 100) == pytest.approx((0.6042, 0.7811), abs=5e-5)


def test_few_independent_outcomes_fall_back_to_wilson():
    estimate = cluster_bootstrap([1.0] * 7 + [0.0] * 3)
    assert (estimate.low, estimate.high) == pytest.approx(wilson_interval(0.7, 10), abs=0.02)


def test_equal_outcomes_are_not_certain():
    """A bootstrap of 50 wins out of 50 would say 1 to 1. Two clusters of 25 are worth two wins."""
    alone = cluster_bootstrap([1.0] * 50)
    assert (alone.low, alone.high) == pytest.approx(wilson_interval(1.0, 50))
    clustered = cluster_bootstrap([1.0] * 50, [i % 2 for i in range(50)])
    assert (clustered.low, clustered.high) == pytest.approx(wilson_interval(1.0, 2))


def test_few_outcomes_in_perfect_clusters_count_as_their_clusters():
    """Five prompts, four equal outcomes each: twenty outcomes worth about five."""
    outcomes, clusters = [1.0] * 12 + [0.0] * 8, [i // 4 for i in range(20)]
    estimate = cluster_bootstrap(outcomes, clusters)
    assert (estimate.low, estimate.high) == pytest.approx(wilson_interval(0.6, 5))


def test_no_values_and_one_cluster_have_a_reason():
    assert cluster_bootstrap([]) == Estimate.undefined("there are no values")
    assert paired_difference([], []).mean is None
    lonely = cluster_bootstrap([3.0, 5.0], ["a", "a"])
    assert (lonely.mean, lonely.low, lonely.high) == (4, None, None)
    assert "one cluster" in lonely.as_dict()["reason"]


def test_few_clusters_are_said_to_be_few():
    assert "only 4 clusters" in cluster_bootstrap([2.0, 3.0, 5.0, 9.0]).method
    assert cluster_bootstrap(np.arange(50.0)).method == "cluster bootstrap"


def test_pairing_sees_what_two_separate_intervals_cannot():
    generator = np.random.default_rng(0)
    prompt_difficulty = generator.normal(size=80)
    a = prompt_difficulty + 0.1 + 0.05 * generator.normal(size=80)
    estimate = paired_difference(a, prompt_difficulty)
    assert 0 < estimate.low < 0.1 < estimate.high
    alone = cluster_bootstrap(a)
    assert estimate.high - estimate.low < 0.1 * (alone.high - alone.low)
    backwards = paired_difference(prompt_difficulty, a)
    assert backwards.mean == pytest.approx(-estimate.mean)


def test_small_differences_are_not_taken_for_outcomes():
    assert "wilson" not in paired_difference([0.5, 0.9, 0.4], [0.4, 0.2, 0.4]).method


def test_mean_as_a_weighted_statistic_is_the_bootstrap_of_the_mean():
    values = np.sort(np.random.default_rng(0).normal(size=60))
    general = bootstrap_statistic(
        lambda w: float(w @ values / w.sum()), 60, n=60, undefined="", num_resamples=2000
    )
    special = cluster_bootstrap(values)
    assert (general.low, general.high) == pytest.approx((special.low, special.high))


def test_statistic_that_is_mostly_undefined_has_no_interval():
    def only_of_the_whole(weights):
        return 1.0 if (weights == 1).all() else None

    estimate = bootstrap_statistic(only_of_the_whole, 9, n=9, undefined="")
    assert (estimate.mean, estimate.low) == (1.0, None)
    assert "too few units" in estimate.reason


def test_impossible_input_is_refused():
    with pytest.raises(ValueError, match="2 values and 1 cluster keys"):
        cluster_bootstrap([1.0, 2.0], ["a"])
    with pytest.raises(ValueError, match="'b' is nan"):
        cluster_bootstrap([1.0, math.nan], ["a", "b"])
    with pytest.raises(ValueError, match="a has 1 values and b has 2"):
        paired_difference([1.0], [1.0, 2.0])


def test_draws_that_are_kept_are_those_made_anew(monkeypatch):
    values = np.random.default_rng(3).random(60).tolist()
    kept = [cluster_bootstrap(values, seed=seed) for seed in (0, 1, 0)]
    monkeypatch.setattr(bootstrap, "KEPT_DRAWS", 0)
    anew = [cluster_bootstrap(values, seed=seed) for seed in (0, 1, 0)]
    assert kept == anew
    assert kept[0] != kept[1]
