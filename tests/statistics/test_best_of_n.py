"""Best-of-n against every subset counted one by one, and its KL against the integral."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from preceptor.statistics import best_of_n_kl, best_of_n_mean


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.floats(-1, 1)), min_size=1, max_size=7), st.data())
def test_the_mean_is_that_over_all_subsets(drawn, data):
    """Ties included: by symmetry a subset's tied best are worth what they are worth on average."""
    n = data.draw(st.integers(1, len(drawn)))

    def best(subset):
        top = max(score for score, _ in subset)
        return np.mean([value for score, value in subset if score == top])

    scores, values = zip(*drawn, strict=True)
    expected = np.mean([best(subset) for subset in itertools.combinations(drawn, n)])
    assert best_of_n_mean(scores, values, n) == pytest.approx(expected, abs=1e-12)


def test_all_scores_equal_choose_nothing():
    assert best_of_n_mean([2, 2, 2], [0.0, 1.0, 5.0], 3) == pytest.approx(2.0)


@pytest.mark.parametrize("n", [1, 2, 4, 16, 64])
def test_the_kl_is_the_integral(n):
    """The best of n uniform numbers has density n u^(n-1) against 1."""

    def integrand(u):
        density = n * u ** (n - 1)
        return density * math.log(density) if density > 0 else 0.0

    assert best_of_n_kl(n) == pytest.approx(quad(integrand, 0, 1)[0], abs=1e-6)


def test_what_is_not_defined_is_refused():
    with pytest.raises(ValueError, match="best of 0"):
        best_of_n_kl(0)
    for scores, values, n in (([1.0], [1.0], 2), ([1.0, 2.0], [1.0], 1), ([1.0], [1.0], 0)):
        with pytest.raises(ValueError, match=f"best of {n} from"):
            best_of_n_mean(scores, values, n)
