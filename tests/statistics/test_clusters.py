"""Estimates from sums of clusters, held against the bootstrap, the formula and simulation."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preceptor.statistics import (
    cluster_bootstrap,
    clusters,
    detectable_difference,
    estimate_of_sums,
    mean_of_clusters,
    two_way_error,
    two_way_mean,
    wilson_interval,
)


def beta_clusters(seed, num, size=28):
    """Outcomes of clusters with rates of their own; the mean over all of them is 2/3."""
    draws = np.random.default_rng(seed)
    return draws.binomial(size, draws.beta(2, 1, size=num)).astype(float), np.full(num, float(size))


@pytest.mark.parametrize("num", [40, 1000])
def test_interval_covers_at_its_level(num):
    covered = 0
    for seed in range(200):
        found = mean_of_clusters(*beta_clusters(seed, num), seed=seed)
        covered += found.low <= 2 / 3 <= found.high
    assert 0.90 <= covered / 200 <= 0.985


def test_many_clusters_have_the_interval_of_the_bootstrap():
    sums, counts = beta_clusters(0, 1000)
    quick = mean_of_clusters(sums, counts)
    values = (np.arange(28)[None] < sums[:, None]).ravel().astype(float)
    slow = cluster_bootstrap(values, np.repeat(np.arange(1000), 28).tolist())
    assert quick.method == "wilson on the effective n"
    assert quick.mean == pytest.approx(slow.mean)
    assert (quick.low, quick.high) == pytest.approx((slow.low, slow.high), abs=0.003)
    assert (quick.n, quick.clusters) == (28_000, 1000)


def test_the_width_is_that_of_the_formula():
    """SE^2 = C / (C - 1) sum (s_c - W n_c)^2 / n^2, with clusters of different size."""
    draws = np.random.default_rng(1)
    counts = draws.integers(1, 40, size=900).astype(float)
    sums = draws.binomial(counts.astype(int), draws.beta(2, 2, size=900)).astype(float)
    w, n = sums.sum() / counts.sum(), counts.sum()
    squares = sum((s - w * c) ** 2 for s, c in zip(sums, counts, strict=True))
    error = math.sqrt(900 / 899 * squares / n**2)
    for found in (
        mean_of_clusters(sums, counts),
        estimate_of_sums(lambda s: s[0] / s[1], np.stack([sums, counts], 1), n=int(n)),
    ):
        assert (found.high - found.low) / (2 * 1.96) == pytest.approx(error, rel=0.02)


def test_equal_outcomes_of_many_clusters_are_not_certain():
    found = mean_of_clusters([4.0] * 500, [4.0] * 500)
    assert (found.mean, found.low, found.high) == (1.0, *wilson_interval(1.0, 500))
    assert mean_of_clusters([0.0] * 3, [2.0] * 3).high == pytest.approx(wilson_interval(0, 3)[1])


def test_no_clusters_and_impossible_sums():
    assert mean_of_clusters([], []).reason == "there are no values"
    assert mean_of_clusters([0.0], [0.0]).mean is None
    with pytest.raises(ValueError, match="outside 0 to their count"):
        mean_of_clusters([3.0], [2.0])


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(50)))
def test_order_of_clusters_changes_nothing(order):
    sums, counts = beta_clusters(5, 50)
    straight, mixed = mean_of_clusters(sums, counts), mean_of_clusters(sums[order], counts[order])
    assert straight == mixed


def test_the_slope_of_a_known_function():
    slope = clusters.slope_of(lambda s: float(s[0] / s[1]), np.array([3.0, 8.0]))
    assert slope == pytest.approx([1 / 8, -3 / 64], rel=1e-6)
    assert clusters.slope_of(lambda s: None, np.array([1.0])) is None


def crossed(seed, num_prompts=60, num_labelers=12):
    """Prompts and labelers with effects of their own, each labeler on a third of the prompts."""
    draws = np.random.default_rng(seed)
    prompt, labeler = draws.normal(size=num_prompts), draws.normal(size=num_labelers)
    rows, columns = np.nonzero(draws.random((num_prompts, num_labelers)) < 1 / 3)
    return prompt[rows] + labeler[columns] + draws.normal(size=len(rows)), rows, columns


def test_two_way_interval_covers_where_one_way_does_not():
    """The true mean is 0. Prompts alone take twelve labelers for all labelers."""
    covered = one_way = 0
    for seed in range(120):
        values, rows, columns = crossed(seed)
        both = two_way_mean(values, rows.tolist(), columns.tolist(), num_resamples=200)
        covered += both.low <= 0 <= both.high
        single = cluster_bootstrap(values, rows.tolist(), num_resamples=200)
        one_way += single.low <= 0 <= single.high
    assert covered / 120 > 0.88
    assert one_way / 120 < 0.75


def test_two_way_order_of_rows_changes_nothing_but_who_is_whose_matters():
    values, rows, columns = crossed(3)
    straight = two_way_mean(values, rows.tolist(), columns.tolist(), num_resamples=50)
    order = np.random.default_rng(0).permutation(len(values))
    mixed = two_way_mean(
        values[order], rows[order].tolist(), columns[order].tolist(), num_resamples=50
    )
    assert (mixed.low, mixed.high) == pytest.approx((straight.low, straight.high))
    assert straight.clusters == 12 and "only 12 in one way" in straight.method


def test_many_rows_have_the_two_way_standard_error():
    """The true mean is 0, of 150 prompts and 20 labelers; two labelers a prompt."""
    covered = 0
    for seed in range(200):
        draws = np.random.default_rng(seed)
        prompt, labeler = draws.normal(size=150), draws.normal(size=20)
        rows = np.repeat(np.arange(150), 2)
        columns = np.concatenate([draws.choice(20, 2, replace=False) for _ in range(150)])
        values = prompt[rows] + labeler[columns] + draws.normal(size=300)
        found = two_way_mean(values, rows.tolist(), columns.tolist())
        assert found.method.startswith("normal, two ways")
        covered += found.low <= 0 <= found.high
    assert 0.88 < covered / 200 < 0.99


def test_one_way_error_is_that_of_the_clusters_and_two_ways_no_less():
    values, rows, columns = crossed(0)
    influence = (values - values.mean()) / len(values)
    ones = two_way_error(influence, rows.tolist())
    sums = np.array([influence[rows == row].sum() for row in np.unique(rows)])
    assert ones == pytest.approx(math.sqrt(len(sums) / (len(sums) - 1) * (sums**2).sum()))
    assert two_way_error(influence, rows.tolist(), columns.tolist()) > ones
    nobody = ["one labeler"] * len(rows)
    assert two_way_error(influence, rows.tolist(), nobody) == pytest.approx(ones)


def test_outcomes_that_are_all_equal_or_few_have_wilsons_interval():
    none = two_way_mean([0.0] * 200, list(range(200)), [i % 5 for i in range(200)])
    assert (none.low, none.high) == pytest.approx(wilson_interval(0, 200))
    few = two_way_mean([1.0, 0.0, 1.0], ["p", "q", "r"], ["ann", "bob", "ann"])
    assert few.method.startswith("wilson") and few.low > 0 and few.high < 1


def test_two_ways_need_two_of_both():
    found = two_way_mean([1.0, 0.0], ["a", "b"], ["ann", "ann"])
    assert (found.mean, found.low) == (0.5, None) and "one column" in found.reason
    assert two_way_mean([], [], []).mean is None
    with pytest.raises(ValueError, match="1 values, 2 rows and 1 columns"):
        two_way_mean([1.0], ["a", "b"], ["ann"])


def test_detectable_difference_is_detected_in_eighty_of_a_hundred_studies():
    """A true effect of that size, tested at 5 %, over and over."""
    draws = np.random.default_rng(0)
    keys = np.repeat(np.arange(80), 5)
    spread = draws.normal(size=(80, 1)) + draws.normal(size=(80, 5))
    size = detectable_difference(spread.ravel(), keys.tolist()).mean
    found = 0
    for seed in range(600):
        draws = np.random.default_rng(seed + 1)
        values = (draws.normal(size=(80, 1)) + draws.normal(size=(80, 5)) + size).mean(axis=1)
        found += values.mean() / (values.std(ddof=1) / math.sqrt(80)) > 1.96
    assert 0.72 < found / 600 < 0.88


def test_detectable_difference_needs_a_spread():
    assert detectable_difference([1.0, 0.0], ["a", "a"]).mean is None
    assert detectable_difference([]).mean is None
    assert detectable_difference([1.0, 0.0]).mean == pytest.approx(2.80 * 0.5, abs=0.01)
    with pytest.raises(ValueError, match="1 values and 2 cluster keys"):
        detectable_difference([1.0], ["a", "b"])
