"""Win rates, ties, and what is left of them at equal length."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from preceptor.statistics import (
    length_controlled_win_rate,
    outcomes_from_scores,
    shares_against,
    wilson_interval,
    win_rate,
    win_rate_at_equal_length,
)
from preceptor.statistics.winrate import count_outcomes


def test_tie_is_half_a_win():
    assert win_rate([1, 0.5, 0.5, 0], [1, 2, 3, 4]).mean == 0.5
    assert win_rate([1, 1, 0.5, 0.5], [1, 2, 3, 4]).mean == 0.75


def test_model_against_itself_is_one_half():
    scores = np.random.default_rng(0).normal(size=40)
    estimate = win_rate(outcomes_from_scores(scores, scores), range(40))
    assert estimate.mean == 0.5
    assert (estimate.low, estimate.high) == pytest.approx(wilson_interval(0.5, 40))


def test_exchanged_models_have_the_opposite_rate():
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=50).round(1), generator.normal(size=50).round(1)
    forth, back = (win_rate(outcomes_from_scores(*pair)) for pair in ((a, b), (b, a)))
    assert forth.mean == pytest.approx(1 - back.mean)
    assert forth.low == pytest.approx(1 - back.high, abs=0.02)


def test_outcomes_of_scores():
    outcomes = outcomes_from_scores([1.0, 2.0, 3.0, 0.3], [2.0, 2.0, 1.0, 0.1 + 0.2])
    assert outcomes.tolist() == [0.0, 0.5, 1.0, 0.5]
    assert outcomes_from_scores([1.0, 1.0], [1.5, 1.6], tie_margin=0.5).tolist() == [0.5, 0.0]


def test_counts_add_up():
    assert count_outcomes([1, 1, 0.5, 0]) == {"wins": 2, "ties": 1, "losses": 1}


@pytest.mark.parametrize("outcome", [2.0, -1.0, float("nan")])
def test_impossible_outcome_is_refused(outcome):
    with pytest.raises(ValueError, match="outcome 1 is"):
        win_rate([1.0, outcome])


def test_unpaired_or_missing_scores_are_refused():
    with pytest.raises(ValueError, match="1 scores and b has 2"):
        outcomes_from_scores([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="not a finite number"):
        outcomes_from_scores([1.0], [float("nan")])


def judged(preference_for_length, preference_for_model, num=6000, seed=0):
    generator = np.random.default_rng(seed)
    difference = generator.normal(80, 200, size=num)
    logit = preference_for_model + preference_for_length * np.tanh(difference / difference.std())
    outcomes = (generator.random(num) < 1 / (1 + np.exp(-logit))).astype(float)
    return outcomes, difference


def test_judge_that_only_likes_length_sees_no_better_model():
    outcomes, difference = judged(preference_for_length=3.0, preference_for_model=0.0)
    controlled = length_controlled_win_rate(outcomes, difference)
    assert win_rate(outcomes).low > 0.6
    assert controlled.low < 0.5 < controlled.high
    assert controlled.mean == pytest.approx(0.5, abs=0.03)


def test_better_model_stays_better_at_equal_length():
    outcomes, difference = judged(preference_for_length=3.0, preference_for_model=1.0)
    controlled = length_controlled_win_rate(outcomes, difference)
    assert controlled.mean == pytest.approx(1 / (1 + np.exp(-1.0)), abs=0.03)


def test_equal_lengths_leave_the_plain_rate():
    outcomes = [1.0] * 70 + [0.5] * 20 + [0.0] * 30
    assert length_controlled_win_rate(outcomes, [0.0] * 120).mean == win_rate(outcomes).mean


def test_length_without_influence_leaves_the_plain_rate():
    """Every outcome once with each of two opposite differences."""
    outcomes = ([1.0] * 70 + [0.5] * 20 + [0.0] * 30) * 2
    controlled = length_controlled_win_rate(outcomes, [50.0] * 120 + [-50.0] * 120)
    assert controlled.mean == pytest.approx(win_rate(outcomes).mean)


def test_length_controlled_interval_covers_at_its_level():
    truth, covered = 1 / (1 + np.exp(-0.5)), 0
    for seed in range(200):
        estimate = length_controlled_win_rate(*judged(1.0, 0.5, num=300, seed=seed))
        covered += estimate.low <= truth <= estimate.high
    assert 0.90 <= covered / 200 <= 0.99


def test_clusters_widen_the_length_controlled_interval():
    outcomes, difference = judged(1.0, 0.5, num=200)
    alone = length_controlled_win_rate(outcomes, difference)
    repeated = length_controlled_win_rate(
        np.tile(outcomes, 4), np.tile(difference, 4), [i % 200 for i in range(800)]
    )
    assert repeated.mean == pytest.approx(alone.mean)
    assert repeated.high - repeated.low == pytest.approx(alone.high - alone.low, rel=1e-6)
    assert (repeated.n, repeated.clusters) == (800, 200)


@pytest.mark.parametrize(
    ("outcomes", "differences", "reason"),
    [
        ([1.0, 0.0] * 20, [1.0, -1.0] * 20, "at least 100"),
        ([1.0, 0.0] * 60, [100.0, 101.0] * 60, "always longer"),
        ([1.0, 0.0] * 60, [5.0] * 120, "always longer"),
        ([1.0, 0.0] * 60, [3.0, -2.0] * 60, "decides every outcome"),
        ([1.0] * 120, [3.0, -2.0] * 60, "decides every outcome"),
    ],
)
def test_no_length_control_where_it_would_be_made_up(outcomes, differences, reason):
    estimate = length_controlled_win_rate(outcomes, differences)
    assert estimate.mean is None
    assert reason in estimate.reason


def judged_by_ratio(preference_for_length, preference_for_model, num=4000, seed=0):
    """Outcomes of a known law, with ties: each judgement is the mean of two throws."""
    generator = np.random.default_rng(seed)
    lengths, others = generator.integers(8, 60, size=num), generator.integers(4, 40, size=num)
    logit = preference_for_model + preference_for_length * np.log(lengths / others)
    throws = generator.random((2, num)) < 1 / (1 + np.exp(-logit))
    return throws.mean(axis=0), lengths, others


@pytest.mark.parametrize(("length", "model"), [(2.0, 0.0), (2.0, 1.0), (-1.5, 0.5), (0.0, -1.0)])
def test_the_model_s_own_effect_is_recovered_whatever_length_does(length, model):
    outcomes, lengths, others = judged_by_ratio(length, model)
    controlled = win_rate_at_equal_length(outcomes, lengths, others)
    truth = 1 / (1 + np.exp(-model))
    assert controlled.low < truth < controlled.high
    assert controlled.high - controlled.low < 0.06
    plain = win_rate(outcomes)
    assert length == 0 or not plain.low < truth < plain.high


def test_the_rate_at_equal_length_is_the_likeliest_one():
    """Against scipy's general optimizer on the same likelihood, ties as halves."""
    outcomes, lengths, others = judged_by_ratio(1.0, 0.3, num=300)
    ratio = np.log(lengths) - np.log(others)

    def surprise(coefficients):
        logit = coefficients[0] + coefficients[1] * ratio
        return float(np.sum(np.logaddexp(0, logit) - outcomes * logit))

    best = minimize(surprise, np.zeros(2), tol=1e-12)
    found = win_rate_at_equal_length(outcomes, lengths, others)
    assert found.mean == pytest.approx(1 / (1 + np.exp(-best.x[0])), abs=1e-5)


def test_without_a_difference_of_length_it_is_the_plain_rate():
    outcomes = [1.0] * 70 + [0.5] * 20 + [0.0] * 30
    controlled = win_rate_at_equal_length(outcomes, [7] * 120, [7] * 120)
    assert controlled == win_rate(outcomes)


def test_equal_length_has_no_unit_and_no_favorite():
    outcomes, lengths, others = judged_by_ratio(1.0, 0.5, num=400)
    found = win_rate_at_equal_length(outcomes, lengths, others)
    assert win_rate_at_equal_length(outcomes, 4.5 * lengths, 4.5 * others).mean == pytest.approx(
        found.mean
    )
    back = win_rate_at_equal_length(1 - outcomes, others, lengths)
    assert (back.mean, back.low) == pytest.approx((1 - found.mean, 1 - found.high))


@pytest.mark.parametrize(
    ("outcomes", "lengths", "others", "reason"),
    [
        ([1.0, 0.0] * 20, [1, 2] * 20, [2, 1] * 20, "at least 100"),
        ([1.0] * 120, [1, 2] * 60, [2, 1] * 60, "decides every outcome"),
        ([1.0, 0.0] * 60, [2, 1] * 60, [1, 2] * 60, "decides every outcome"),
        ([1.0, 0.0] * 60, [20, 30] * 60, [10, 10] * 60, "always longer"),
    ],
)
def test_no_rate_at_equal_length_where_it_would_be_made_up(outcomes, lengths, others, reason):
    estimate = win_rate_at_equal_length(outcomes, lengths, others)
    assert estimate.mean is None and reason in estimate.reason


def test_lengths_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="not above 0"):
        win_rate_at_equal_length([1.0], [0], [3])
    with pytest.raises(ValueError, match="1 outcomes, 2 lengths and 1"):
        win_rate_at_equal_length([1.0], [1, 2], [3])


def outcomes_of(shares):
    return {m: s["win"] + (s["tie"] + s["both_bad"]) / 2 for m, s in shares.items()}


def test_a_ranking_of_several_models_is_one_outcome_for_each_but_the_baseline():
    found = shares_against("sft", ["ppo", "sft", "gpt", "ppo_ptx"], [1, 2, 4, 2])
    assert outcomes_of(found) == {"ppo": 1.0, "gpt": 0.0, "ppo_ptx": 0.5}
    assert shares_against("sft", ["ppo", "gpt"], [1, 2]) == {}
    several = shares_against("sft", ["ppo", "ppo", "sft"], [1, 3, 2])
    assert several == {"ppo": {"win": 0.5, "tie": 0.0, "both_bad": 0.0, "loss": 0.5}}
    with pytest.raises(ValueError, match="1 models, 2 ranks and 1 words"):
        shares_against("sft", ["sft"], [1, 2])


def test_a_tie_of_two_unacceptable_responses_is_told_apart():
    models, bad = ["ppo", "sft", "gpt", "ppo_ptx"], [True, True, True, False]
    found = shares_against("sft", models, [2, 2, 3, 2], bad)
    assert {m: max(s, key=s.get) for m, s in found.items()} == {
        "ppo": "both_bad",
        "gpt": "loss",
        "ppo_ptx": "tie",
    }
    assert all(sum(share.values()) == pytest.approx(1) for share in found.values())


@settings(max_examples=20, deadline=None)
@given(st.permutations(["ppo", "sft", "gpt", "x"]), st.integers(0, 10**6))
def test_order_of_responses_changes_no_outcome(order, seed):
    models = ["ppo", "sft", "gpt", "x"]
    ranks = dict(zip(models, np.random.default_rng(seed).integers(1, 4, size=4), strict=True))
    straight = shares_against("sft", models, [ranks[m] for m in models])
    assert shares_against("sft", order, [ranks[m] for m in order]) == straight
