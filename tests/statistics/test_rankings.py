"""Places, tau-b over labelers, and a labeler beside the others' consensus."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau, rankdata

from preceptor.statistics import (
    consensus_agreement,
    mean_tau_b,
    midranks,
    pairwise_agreement,
    pairwise_agreement_with_ties,
    rank_shares,
)
from preceptor.statistics.rankings import midranks_of_rows, pair_counts

rankings_of_four = st.lists(st.integers(1, 4), min_size=4, max_size=4)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-3, 9), min_size=2, max_size=9))
def test_midranks_are_scipys(ranks):
    assert midranks(ranks) == rankdata(ranks).tolist()
    assert midranks_of_rows(np.array([ranks, ranks], dtype=float)).tolist() == [midranks(ranks)] * 2


def test_shares_run_from_best_to_worst_for_any_k():
    assert rank_shares([1, 2]) == [0, 1]
    assert rank_shares([1, 2, 2, 4]) == pytest.approx([0, 0.5, 0.5, 1])
    assert rank_shares([7, 7, 7]) == [0.5] * 3
    with pytest.raises(ValueError, match="at least two"):
        rank_shares([1])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(rankings_of_four, rankings_of_four), min_size=1, max_size=8))
def test_pairs_counted_row_by_row_are_those_of_the_agreement(pairs):
    a, b = (np.array([pair[side] for pair in pairs], dtype=float) for side in (0, 1))
    counts = pair_counts(a, b)
    rows = [(i, name, ranks) for i, pair in enumerate(pairs) for name, ranks in enumerate(pair)]
    strict, loose = pairwise_agreement(rows), pairwise_agreement_with_ties(rows)
    assert counts.strict.sum() == (strict.n if strict.mean is not None else 0)
    if strict.mean is not None:
        assert counts.strict_agreed.sum() / counts.strict.sum() == pytest.approx(strict.mean)
    assert counts.all_agreed.sum() / counts.all.sum() == pytest.approx(loose.mean)


def test_pairs_of_other_shape_are_refused():
    with pytest.raises(ValueError, match="pair them"):
        pair_counts(np.ones((1, 2)), np.ones((1, 3)))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(rankings_of_four, rankings_of_four, rankings_of_four), max_size=6))
def test_mean_tau_is_that_of_scipys_taus(tasks):
    rows = [(i, name, r) for i, task in enumerate(tasks) for name, r in enumerate(task)]
    taus = [kendalltau(a, b).statistic for t in tasks for a, b in itertools.combinations(t, 2)]
    found, undefined = mean_tau_b(rows)
    defined = [tau for tau in taus if not np.isnan(tau)]
    assert found.mean == (pytest.approx(np.mean(defined)) if defined else None)
    assert undefined == (pytest.approx(1 - len(defined) / len(taus)) if taus else None)
    if found.low is not None:
        assert found.low <= found.mean + 1e-9 and found.mean - 1e-9 <= found.high


def test_tau_of_the_worked_example():
    found, undefined = mean_tau_b([("t", "ann", [1, 2, 2, 4]), ("t", "bob", [1, 1, 3, 4])])
    assert (found.mean, undefined) == (pytest.approx(0.80), 0.0)


def test_consensus_never_holds_ones_own_ranking():
    """Ann is alone against two: with her own vote in it the consensus would lean to her."""
    rows = [("t", "ann", [2, 1]), ("t", "bob", [1, 2]), ("t", "cyd", [1, 2])]
    found = consensus_agreement(rows)
    assert {name: e.mean for name, e in found.items()} == {"ann": 0.0, "bob": None, "cyd": None}
    assert found["bob"].reason  # of bob's peers one says this and one that: no strict consensus
    assert consensus_agreement([("t", "ann", [1, 2])]) == {}


def test_a_labeler_who_draws_lots_is_far_from_the_consensus():
    draws = np.random.default_rng(0)
    rows = []
    for task in range(150):
        quality = draws.normal(size=4)
        for name in ("ann", "bob", "cyd"):
            rows.append((task, name, rankdata(-(quality + 0.4 * draws.normal(size=4))).tolist()))
        rows.append((task, "lots", draws.permutation(4).tolist()))
    found = consensus_agreement(rows)
    assert found["lots"].low < 0.5 < found["lots"].high
    assert min(found[name].low for name in ("ann", "bob", "cyd")) > 0.7


def test_names_of_labelers_and_order_of_rows_change_nothing():
    draws = np.random.default_rng(1)
    rows = [(t, n, draws.integers(1, 4, size=3).tolist()) for t in range(30) for n in "abc"]
    renamed = [(t, {"a": "z", "b": "x", "c": "y"}[n], r) for t, n, r in reversed(rows)]
    straight, other = consensus_agreement(rows), consensus_agreement(renamed)
    assert straight["a"] == other["z"] and straight["c"] == other["y"]
    assert mean_tau_b(rows)[0].mean == pytest.approx(mean_tau_b(renamed)[0].mean)


def test_other_responses_under_one_item_are_refused():
    with pytest.raises(ValueError, match="'bob' ranked 3 responses and 'ann' 2"):
        consensus_agreement([("t", "ann", [1, 2]), ("t", "bob", [1, 2, 3])])
