"""Running moments against numpy on all numbers at once."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from preceptor.functional import Moments, add_to_moments

NUMBERS = st.lists(
    st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=9), min_size=1, max_size=6
)


@settings(deadline=None)
@given(NUMBERS)
def test_batches_give_the_moments_of_all_numbers(batches):
    moments = Moments()
    for batch in batches:
        moments = add_to_moments(moments, torch.tensor(batch))
    everything = np.concatenate([np.asarray(batch, dtype=np.float64) for batch in batches])
    assert moments.count == len(everything)
    assert moments.mean == pytest.approx(everything.mean(), abs=1e-9)
    assert moments.std == pytest.approx(everything.std(), rel=1e-6, abs=1e-6)


def test_a_small_spread_far_from_zero_keeps_its_digits():
    moments = Moments()
    for start in range(0, 1000, 10):
        moments = add_to_moments(
            moments, 1e6 + torch.arange(start, start + 10, dtype=torch.float64) % 2
        )
    assert moments.std == pytest.approx(0.5, rel=1e-9)


def test_nothing_gives_nothing_and_what_is_not_finite_is_refused():
    assert Moments().std == 0.0
    assert add_to_moments(Moments(), torch.zeros(0)) == Moments()
    with pytest.raises(ValueError, match="not finite"):
        add_to_moments(Moments(), torch.tensor([1.0, float("nan")]))
