"""Agreement on rare labels, held against published examples and counts by hand."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preceptor.statistics import cohen_kappa, flag_agreement
from preceptor.statistics.flags import flag_agreement_of_counts


def table(both, first, second, neither):
    units = [[True, True]] * both + [[True, False]] * first + [[False, True]] * second
    return units + [[False, False]] * neither


def test_a_rare_flag_has_a_low_kappa_and_a_high_ac1():
    """Gwet (2008), 125 units: 118 yes by both, 5 and 2 by one: AC1 0.941, kappa -0.023."""
    units = table(118, 5, 2, 0)
    found = flag_agreement(units)
    assert found.raw.mean == pytest.approx(118 / 125)
    assert found.ac1.mean == pytest.approx(0.9408, abs=5e-5)
    kappa = cohen_kappa([a for a, _ in units], [b for _, b in units])
    assert kappa.mean == pytest.approx(-0.0234, abs=5e-5)
    assert found.ac1.low < found.ac1.mean < found.ac1.high <= 1


def test_positive_agreement_by_hand():
    found = flag_agreement(table(20, 5, 10, 15))
    assert found.positive.mean == pytest.approx(2 * 20 / (2 * 20 + 5 + 10))
    assert found.base_rate.mean == pytest.approx((25 + 30) / 100)
    assert found.raw.mean == pytest.approx(35 / 50)
    pi = 0.55
    chance = 2 * pi * (1 - pi)
    assert found.ac1.mean == pytest.approx((0.7 - chance) / (1 - chance))


labels = st.sampled_from([True, False, None])
units = st.lists(st.lists(labels, min_size=3, max_size=3), min_size=1, max_size=15)


@settings(max_examples=80, deadline=None)
@given(units)
def test_any_number_of_labelers_by_counting_pairs(units):
    """Each unit's ordered pairs of labels count 1 / (m - 1), as alpha's coincidences do."""
    agreed = total = met = yes = 0.0
    for unit in units:
        given_labels = [x for x in unit if x is not None]
        for a, b in itertools.permutations(given_labels, 2):
            worth = 1 / (len(given_labels) - 1)
            total += worth
            agreed += worth * (a == b)
            if a:
                yes += worth
                met += worth * b
    found = flag_agreement(units)
    assert found.raw.mean == (pytest.approx(agreed / total) if total else None)
    assert found.positive.mean == (pytest.approx(met / yes) if yes else None)
    for estimate in (found.raw, found.positive, found.base_rate, found.ac1, found.alpha):
        assert estimate.mean is None or np.isfinite(estimate.mean)
        assert estimate.mean is not None or estimate.reason


def test_many_units_are_quick_and_near_the_truth():
    draws = np.random.default_rng(0)
    true = draws.random(4000) < 0.03
    units = [[bool(x ^ (draws.random() < 0.01)) for _ in range(2)] for x in true]
    found = flag_agreement(units)
    expected = 0.99**2 + 0.01**2
    assert found.raw.low < expected < found.raw.high
    assert found.ac1.method == "normal, cluster-robust"
    # A yes meets a yes: both saw it right, or both wrong.
    yes = 0.03 * 0.99 + 0.97 * 0.01
    meets = (0.03 * 0.99**2 + 0.97 * 0.01**2) / yes
    assert found.positive.low < meets < found.positive.high


@pytest.mark.parametrize("resample", [True, False])
def test_no_interval_goes_beyond_full_agreement(resample):
    """A normal interval would, of a few units and of many: AC1 0.98 and alpha 0.95 of 1."""
    for copies in (1, 4):
        yes = np.repeat([2.0, 1.0, 0.0], [18 * copies, copies, 18 * copies])
        found = flag_agreement_of_counts(yes, 2 - yes, np.arange(len(yes)), resample=resample)
        for estimate in (found.ac1, found.alpha):
            assert 0.8 < estimate.low < estimate.mean < estimate.high <= 1


def test_nobody_gave_it():
    found = flag_agreement([[False, False]] * 40)
    assert found.positive.reason == "nobody gave this flag"
    assert found.raw.mean == 1.0 and found.ac1.mean == 1.0
    assert "same label" in found.alpha.reason
    assert "two labels" in flag_agreement([[True]]).raw.reason
    with pytest.raises(ValueError, match="1 units and 2 cluster keys"):
        flag_agreement([[True]], ["a", "b"])
