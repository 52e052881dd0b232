"""Alpha, held against its definition as a double loop, and its two intervals against each other."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preceptor.statistics import alpha as alpha_module
from preceptor.statistics import krippendorff_alpha

labels = st.one_of(st.none(), st.integers(1, 5))
tables = st.lists(st.lists(labels, min_size=3, max_size=3), min_size=2, max_size=12)


def by_definition(units, level):
    """Observed over expected disagreement as in the book: over pairs of values, not of counts."""
    units = [[x for x in unit if x is not None] for unit in units]
    units = [unit for unit in units if len(unit) > 1]
    values = list(itertools.chain.from_iterable(units))

    def distance(c, k):
        if level == "nominal":
            return float(c != k)
        if level == "interval":
            return float(c - k) ** 2
        low, high = min(c, k), max(c, k)
        between = sum(values.count(g) for g in range(low, high + 1))
        return (between - (values.count(c) + values.count(k)) / 2) ** 2 if c != k else 0.0

    observed = sum(
        distance(c, k) / (len(unit) - 1)
        for unit in units
        for c, k in itertools.permutations(unit, 2)
    )
    expected = sum(distance(c, k) for c, k in itertools.permutations(values, 2))
    if not expected:
        return None
    return 1 - (len(values) - 1) * observed / expected


@settings(max_examples=60, deadline=None)
@given(tables, st.sampled_from(["nominal", "ordinal", "interval"]))
def test_alpha_is_the_one_of_the_definition(units, level):
    found = krippendorff_alpha(units, level, num_resamples=20).mean
    assert found == (None if (by := by_definition(units, level)) is None else pytest.approx(by))


@settings(max_examples=20, deadline=None)
@given(tables, st.randoms(use_true_random=False))
def test_order_of_units_and_of_labelers_changes_nothing(units, draws):
    shuffled = [draws.sample(unit, len(unit)) for unit in draws.sample(units, len(units))]
    straight, mixed = (
        krippendorff_alpha(u, "ordinal", num_resamples=20) for u in (units, shuffled)
    )
    assert mixed.mean == (None if straight.mean is None else pytest.approx(straight.mean))


def judged_together(num_prompts, seed=0):
    """Two labelers, four responses a prompt; prompts differ in how clear they are."""
    draws = np.random.default_rng(seed)
    units, prompts = [], []
    for prompt in range(num_prompts):
        noise = draws.choice([0.2, 3.0])
        for _ in range(4):
            true = draws.integers(1, 8)
            seen = np.clip(np.round(true + noise * draws.normal(size=2)), 1, 7).astype(int)
            units.append(seen.tolist())
            prompts.append(prompt)
    return units, prompts


def test_the_quick_interval_of_many_clusters_is_that_of_the_bootstrap(monkeypatch):
    units, prompts = judged_together(400)
    quick = krippendorff_alpha(units, "ordinal", clusters=prompts)
    assert quick.method == "normal, cluster-robust"
    monkeypatch.setattr(alpha_module, "MANY_CLUSTERS", 10**9)
    slow = krippendorff_alpha(units, "ordinal", clusters=prompts, num_resamples=2000)
    assert quick.mean == slow.mean
    assert (quick.low, quick.high) == pytest.approx((slow.low, slow.high), abs=0.006)
    assert (quick.n, quick.clusters) == (3200, 400)


def test_copies_of_a_unit_in_its_cluster_are_worth_one_unit():
    """Each unit four times: as if alone the interval would be half as wide."""
    units = judged_together(15)[0]
    copies, clusters = units * 4, list(range(60)) * 4
    once = krippendorff_alpha(units, "interval")
    together = krippendorff_alpha(copies, "interval", clusters=clusters)
    alone = krippendorff_alpha(copies, "interval")
    assert together.mean == alone.mean == pytest.approx(once.mean, abs=0.01)
    assert together.high - together.low == pytest.approx(once.high - once.low, rel=0.03)
    assert alone.high - alone.low == pytest.approx((once.high - once.low) / 2, rel=0.1)


@pytest.mark.parametrize("num_prompts", [50, 250])
def test_the_interval_covers_at_its_level(num_prompts):
    truth = krippendorff_alpha(*unclustered(judged_together(10_000, seed=99))).mean
    covered = 0
    for seed in range(60):
        units, prompts = judged_together(num_prompts, seed)
        found = krippendorff_alpha(units, "interval", clusters=prompts, num_resamples=150)
        covered += found.low <= truth <= found.high
    assert covered >= 51


def unclustered(judged):
    return judged[0], "interval"


def test_unpaired_clusters_are_refused():
    with pytest.raises(ValueError, match="2 units and 1 cluster keys"):
        krippendorff_alpha([[1, 1], [2, 2]], clusters=["a"])
