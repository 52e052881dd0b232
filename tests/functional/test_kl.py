"""Schulman's estimators, held against exact enumeration."""

import pytest
import torch

from preceptor.functional import adapt_kl_coef, kl_k1, kl_k2, kl_k3

ESTIMATORS = [kl_k1, kl_k2, kl_k3]


def random_distribution(size: int, seed: int):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(size, generator=generator, dtype=torch.float64).softmax(dim=0)


def random_logprobs(seed: int, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return -torch.rand(400, generator=generator, dtype=dtype).abs() * 5


def test_ref_kl_estimators_are_unbiased():
    """Averaged exactly over a small vocabulary, k1 and k3 are the KL divergence itself."""
    policy, ref = random_distribution(9, seed=1), random_distribution(9, seed=2)
    true_kl = (policy * (policy / ref).log()).sum()
    for estimator in (kl_k1, kl_k3):
        mean = (policy * estimator(policy.log(), ref.log())).sum()
        torch.testing.assert_close(mean, true_kl)


def test_k2_is_biased_but_meets_the_kl_of_close_distributions():
    policy = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    far = torch.tensor([0.3, 0.3, 0.4], dtype=torch.float64)

    def relative_error(distance: float) -> float:
        ref = (1 - distance) * policy + distance * far
        true_kl = (policy * (policy / ref).log()).sum()
        return abs((policy * kl_k2(policy.log(), ref.log())).sum() / true_kl - 1).item()

    assert relative_error(1.0) > 0.02
    assert relative_error(0.001) < 0.001


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_equal_distributions_have_none(estimator):
    logprobs = random_logprobs(0)
    assert (estimator(logprobs, logprobs) == 0).all()


@pytest.mark.parametrize("scale", [1.0, 1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("estimator", [kl_k2, kl_k3])
def test_never_negative_in_float32(estimator, scale):
    logprobs = random_logprobs(0)
    assert (estimator(logprobs, logprobs + scale * random_logprobs(1)) >= 0).all()
    assert (estimator(logprobs, logprobs - scale * random_logprobs(1)) >= 0).all()


def test_k1_changes_sign_with_its_arguments():
    a, b = random_logprobs(0), random_logprobs(1)
    assert torch.equal(kl_k1(a, b), -kl_k1(b, a))
    assert kl_k1(torch.tensor([-1.0]), torch.tensor([-3.0])).item() == 2.0


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_gradient(estimator):
    a = random_logprobs(0, torch.float64)[:6].requires_grad_()
    b = random_logprobs(1, torch.float64)[:6].requires_grad_()
    assert torch.autograd.gradcheck(estimator, (a, b))


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_bf16_gives_float32(estimator):
    a = random_logprobs(0).to(torch.bfloat16)
    assert estimator(a, a).dtype == torch.float32


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_broadcasting_is_refused_and_both_shapes_are_named(estimator, without_shape_checks):
    with pytest.raises(ValueError, match=r"logprobs.*\(2, 3\).*ref_logprobs.*\(2, 1\)"):
        estimator(torch.zeros(2, 3), torch.zeros(2, 1))


def test_an_adaptive_coefficient_moves_as_ziegler_et_al_tell():
    """Their section 2.2: at most a fifth of K_beta a batch, K_beta = episodes / horizon."""
    options = {"target": 6.0, "num_episodes": 512, "horizon": 5120.0}
    assert adapt_kl_coef(0.15, 6.0, **options) == 0.15
    assert adapt_kl_coef(0.15, 6.6, **options) == pytest.approx(0.15 * 1.01)
    assert adapt_kl_coef(0.15, 600.0, **options) == pytest.approx(0.15 * 1.02)  # clipped
    assert adapt_kl_coef(0.15, -3.0, **options) == pytest.approx(0.15 * 0.98)


def test_an_adaptive_coefficient_settles_where_the_kl_is_the_target():
    """Against a policy whose KL falls as the coefficient rises, from either side."""
    for kl_coef in (0.001, 10.0):
        for _ in range(4000):
            kl_coef = adapt_kl_coef(
                kl_coef, 1 / kl_coef, target=4.0, num_episodes=100, horizon=1000.0
            )
        assert kl_coef == pytest.approx(0.25, rel=1e-3)


def test_an_adaptive_coefficient_refuses_what_could_turn_it_negative():
    with pytest.raises(ValueError, match="512 episodes"):
        adapt_kl_coef(0.1, 1.0, target=6.0, num_episodes=512, horizon=100.0)
    with pytest.raises(ValueError, match="must be positive"):
        adapt_kl_coef(0.1, 1.0, target=0.0, num_episodes=1, horizon=100.0)
