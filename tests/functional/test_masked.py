"""Means over what counts."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from preceptor.functional import masked_mean, whiten


def random_numbers(seed: int, *shape: int, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=dtype)


def random_mask(seed: int, *shape: int):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) < 0.6


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_mean_is_that_of_the_selected_numbers(seed):
    x, mask = random_numbers(seed, 3, 5), random_mask(seed + 1, 3, 5)
    mask[0, 0] = True
    selected = [x[i, j].item() for i in range(3) for j in range(5) if mask[i, j]]
    assert masked_mean(x, mask).item() == pytest.approx(sum(selected) / len(selected))


def test_empty_mask_gives_zero_and_a_zero_gradient():
    x = torch.full((2, 3), float("nan"), requires_grad=True)
    mean = masked_mean(x, torch.zeros(2, 3, dtype=torch.bool))
    assert mean.item() == 0
    mean.backward()
    assert (x.grad == 0).all()


def test_microbatch_means_with_the_batch_count_add_up():
    x, mask = random_numbers(0, 6, 7), random_mask(1, 6, 7)
    total = int(mask.sum())
    parts = [masked_mean(x[i:j], mask[i:j], denominator=total) for i, j in [(0, 1), (1, 4), (4, 6)]]
    torch.testing.assert_close(sum(parts), masked_mean(x, mask))


def test_bf16_is_summed_in_float32():
    """A bf16 sum of 1,000 ones stops at 256."""
    x = torch.ones(1, 1000, dtype=torch.bfloat16)
    mean = masked_mean(x, torch.ones(1, 1000, dtype=torch.bool), denominator=1)
    assert mean.dtype == torch.float32
    assert mean.item() == 1000


@pytest.mark.parametrize("denominator", [0, -3.0, float("nan")])
def test_impossible_denominator_is_refused(denominator):
    with pytest.raises(ValueError, match="above 0"):
        masked_mean(torch.ones(2), torch.ones(2, dtype=torch.bool), denominator=denominator)


@pytest.mark.parametrize("function", [masked_mean, whiten])
def test_broadcasting_is_refused_and_both_shapes_are_named(function, without_shape_checks):
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(1, 3\)"):
        function(torch.ones(2, 3), torch.ones(1, 3, dtype=torch.bool))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_whitened_numbers_have_mean_zero_and_population_std_one(seed):
    x, mask = 3 + 5 * random_numbers(seed, 4, 6), random_mask(seed + 1, 4, 6)
    mask[0, :2] = True
    white = whiten(x, mask)
    assert white[mask].mean().item() == pytest.approx(0, abs=1e-9)
    assert white[mask].std(correction=0).item() == pytest.approx(1, abs=1e-6)
    assert (white[~mask] == 0).all()


def test_whitening_forgets_scale_and_shift():
    x, mask = random_numbers(0, 4, 6), random_mask(1, 4, 6)
    torch.testing.assert_close(whiten(3.7 * x - 11, mask), whiten(x, mask), atol=1e-6, rtol=0)


def test_whitening_keeps_order_and_sign():
    x, mask = random_numbers(2, 1, 9), torch.ones(1, 9, dtype=torch.bool)
    assert torch.equal(whiten(x, mask).argsort(), x.argsort())


@pytest.mark.parametrize("value", [0.1, 1000.1, -1e6])
def test_equal_numbers_whiten_to_zero_in_float32(value):
    """The mean of 999 times 1000.1 is not 1000.1 in float32, and eps is small."""
    white = whiten(torch.full((1, 999), value), torch.ones(1, 999, dtype=torch.bool))
    assert white.abs().max().item() < 1e-2


def test_whitening_nothing_is_finite():
    white = whiten(torch.full((2, 2), float("nan")), torch.zeros(2, 2, dtype=torch.bool))
    assert (white == 0).all()


def test_whiten_gradient():
    x, mask = random_numbers(4, 2, 4).requires_grad_(), random_mask(7, 2, 4)
    assert torch.autograd.gradcheck(lambda x: whiten(x, mask), (x,))
