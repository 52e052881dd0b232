"""Each alarm is provoked by its own fault and by nothing else."""

import pytest

from preceptor.training.alarms import (
    overoptimization_alarm,
    ppo_alarms,
    probe_alarms,
    ratio_alarm,
)

HEALTHY = {
    "ppo/ref_kl": 2.0,
    "ppo/truncated_fraction": 0.05,
    "ppo/score_std": 0.8,
    "ppo/clip_fraction": 0.1,
    "ppo/length_mean": 12.0,
}


def test_a_healthy_step_is_silent():
    assert ppo_alarms(HEALTHY, HEALTHY) == []
    assert ppo_alarms(HEALTHY | {"ppo/ref_kl": -0.2}, HEALTHY) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ref_kl", -1.5),
        ("truncated_fraction", 0.97),
        ("score_std", 0.0),
        ("clip_fraction", 0.6),
        ("length_mean", 25.0),
    ],
)
def test_each_fault_raises_its_own_alarm(key, value):
    alarms = ppo_alarms(HEALTHY | {f"ppo/{key}": value}, HEALTHY)
    assert [alarm.name for alarm in alarms] == [key]
    text = alarms[0].describe()
    assert f"{value:.3g}" in text and "Usual cause" in text


def test_a_policy_far_from_its_reference():
    assert ppo_alarms(HEALTHY | {"ppo/ref_kl": 23.9}, HEALTHY) == []
    alarms = ppo_alarms(HEALTHY | {"ppo/ref_kl": 25.2}, HEALTHY)  # of 12 tokens
    assert [(alarm.name, alarm.value) for alarm in alarms] == [("ref_kl_a_token", 2.1)]


def test_responses_that_are_nothing_but_their_end():
    empty = HEALTHY | {"ppo/length_mean": 1.0, "ppo/truncated_fraction": 0.0}
    assert [a.name for a in ppo_alarms(empty, HEALTHY)] == ["empty_responses"]
    cut = empty | {"ppo/truncated_fraction": 0.5}  # a limit of one token is the recipe's wish
    assert ppo_alarms(cut, HEALTHY) == []


def test_proxy_up_while_the_judge_falls():
    assert overoptimization_alarm([0.0, 1.0, 2.0], [0.5, 0.8, 0.7])[0].name == "held_out_fall"
    assert overoptimization_alarm([0.0, 1.0, 2.0], [0.5, 0.8, 0.78]) == []  # within noise
    assert overoptimization_alarm([0.0, 2.0, 1.0], [0.5, 0.8, 0.6]) == []  # both fell


@pytest.mark.parametrize("gap", [1e-3, float("nan")])
def test_ratio_not_one(gap):
    assert ratio_alarm(gap, 1e-5)[0].name == "first_ratio_gap"
    assert ratio_alarm(1e-6, 1e-5) == []


def test_a_probe_is_an_alarm_when_most_tampered_responses_score_higher():
    shares = {"repeated": 0.6, "flattery": 0.9, "filler": 0.5, "cut": 0.0, "empty": None}
    lows = {"repeated": 0.51, "flattery": 0.5, "filler": 0.45, "cut": 0.0, "empty": None}
    [alarm] = probe_alarms(shares, lows)
    assert (alarm.name, alarm.value, alarm.threshold) == ("probe_repeated", 0.6, 0.5)
