"""Predicted against observed."""

import numpy as np
import pytest

from preceptor.statistics import calibration_bins, expected_calibration_error


def test_bins_hold_equally_many_and_all():
    probabilities = np.random.default_rng(0).random(1000)
    bins = calibration_bins(probabilities, [0.0] * 1000)
    assert [b["n"] for b in bins] == [100] * 10
    predicted = [b["predicted"] for b in bins]
    assert predicted == sorted(predicted)
    assert np.mean(predicted) == pytest.approx(probabilities.mean())


def test_worked_out_by_hand():
    bins = calibration_bins([0.9, 0.1, 0.7, 0.3], [1, 0, 0, 0.5], num_bins=2)
    assert bins == [
        {"predicted": pytest.approx(0.2), "observed": 0.25, "n": 2},
        {"predicted": pytest.approx(0.8), "observed": 0.5, "n": 2},
    ]
    error = expected_calibration_error([0.9, 0.1, 0.7, 0.3], [1, 0, 0, 0.5], num_bins=2)
    assert error == pytest.approx((0.05 + 0.3) / 2)


def test_equal_probabilities_share_a_bin_whatever_their_order():
    probabilities, outcomes = [0.5] * 30 + [0.9] * 10, [1, 0, 0] * 10 + [1] * 10
    bins = calibration_bins(probabilities, outcomes)
    assert [(b["predicted"], b["n"]) for b in bins] == [(0.5, 30), (pytest.approx(0.9), 10)]
    order = np.random.default_rng(0).permutation(40)
    assert calibration_bins(np.array(probabilities)[order], np.array(outcomes)[order]) == [
        {key: pytest.approx(value) for key, value in b.items()} for b in bins
    ]


def test_three_heaps_make_three_bins():
    bins = calibration_bins([0.1] * 3 + [0.5] * 4 + [0.9] * 3, [0] * 10, num_bins=3)
    assert [b["n"] for b in bins] == [3, 4, 3]


def test_error_is_small_for_the_calibrated_and_known_for_the_sure():
    generator = np.random.default_rng(0)
    probabilities = generator.random(20_000)
    outcomes = (generator.random(20_000) < probabilities).astype(float)
    assert expected_calibration_error(probabilities, outcomes) < 0.02
    assert expected_calibration_error([1.0] * 10, [1.0] * 7 + [0.0] * 3) == pytest.approx(0.3)


def test_nothing_has_no_bins_and_no_error():
    assert calibration_bins([], []) == []
    assert expected_calibration_error([], []) is None


def test_impossible_input_is_refused():
    with pytest.raises(ValueError, match=r"probability is 1\.5"):
        calibration_bins([0.5, 1.5], [0, 1])
    with pytest.raises(ValueError, match="outcome is nan"):
        calibration_bins([0.5], [float("nan")])
    with pytest.raises(ValueError, match="1 probabilities and 2 outcomes"):
        calibration_bins([0.5], [0, 1])
