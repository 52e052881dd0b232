"""Generalized advantage estimation, held against sums written out."""

import pytest
import torch

from preceptor.functional import gae

B, T = 4, 7
LENGTHS = [7, 1, 4, 5]


def random_case(seed: int = 0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    rewards = torch.randn(B, T, generator=generator, dtype=dtype)
    values = torch.randn(B, T, generator=generator, dtype=dtype)
    return rewards, values, torch.arange(T) < torch.tensor(LENGTHS)[:, None]


def double_sum(rewards, values, length, gamma, gae_lambda):
    """A_t = sum over k of (gamma lambda)^k delta_{t+k}, in Python floats."""
    padded = [*values[:length].tolist(), 0.0]
    deltas = [rewards[t].item() + gamma * padded[t + 1] - padded[t] for t in range(length)]
    return [
        sum((gamma * gae_lambda) ** k * deltas[t + k] for k in range(length - t))
        for t in range(length)
    ]


@pytest.mark.parametrize(("gamma", "gae_lambda"), [(1.0, 0.95), (0.9, 0.8), (0.5, 1.0)])
def test_equals_the_double_sum(gamma, gae_lambda):
    rewards, values, mask = random_case()
    advantages, _ = gae(rewards, values, mask, gamma=gamma, gae_lambda=gae_lambda)
    for row, length in enumerate(LENGTHS):
        expected = double_sum(rewards[row], values[row], length, gamma, gae_lambda)
        assert advantages[row, :length].tolist() == pytest.approx(expected)
        assert (advantages[row, length:] == 0).all()


def test_lambda_one_is_reward_to_go_minus_value():
    rewards, values, mask = random_case()
    advantages, returns = gae(rewards, values, mask, gamma=1.0, gae_lambda=1.0)
    for row, length in enumerate(LENGTHS):
        for t in range(length):
            to_go = rewards[row, t:length].sum()
            assert advantages[row, t].item() == pytest.approx((to_go - values[row, t]).item())
            assert returns[row, t].item() == pytest.approx(to_go.item())


def test_lambda_zero_is_the_td_error():
    rewards, values, mask = random_case()
    advantages, _ = gae(rewards, values, mask, gamma=0.9, gae_lambda=0.0)
    assert advantages[0, 2].item() == pytest.approx(
        (rewards[0, 2] + 0.9 * values[0, 3] - values[0, 2]).item()
    )
    # Nothing is expected after the last token.
    assert advantages[1, 0].item() == pytest.approx((rewards[1, 0] - values[1, 0]).item())


def test_linear_in_rewards_and_values_together():
    (r1, v1, mask), (r2, v2, _) = random_case(0), random_case(1)
    settings = {"gamma": 0.97, "gae_lambda": 0.9}
    first, second = gae(r1, v1, mask, **settings)[0], gae(r2, v2, mask, **settings)[0]
    both = gae(2 * r1 - 3 * r2, 2 * v1 - 3 * v2, mask, **settings)[0]
    torch.testing.assert_close(both, 2 * first - 3 * second)


def test_returns_are_advantages_plus_values():
    rewards, values, mask = random_case()
    advantages, returns = gae(rewards, values, mask, gamma=0.97, gae_lambda=0.9)
    torch.testing.assert_close(returns[mask], (advantages + values)[mask])
    assert (returns[~mask] == 0).all()


def test_padding_on_either_side_changes_nothing():
    rewards, values, mask = random_case()
    settings = {"gamma": 0.97, "gae_lambda": 0.9}
    advantages, returns = gae(rewards, values, mask, **settings)
    nan, no = torch.full((B, 2), float("nan"), dtype=torch.float64), torch.zeros(B, 2).bool()
    padded = gae(
        torch.cat([nan, rewards, nan], dim=1),
        torch.cat([nan, values, nan], dim=1),
        torch.cat([no, mask, no], dim=1),
        **settings,
    )
    assert torch.equal(padded[0][:, 2:-2], advantages)
    assert torch.equal(padded[1][:, 2:-2], returns)


def test_a_permuted_batch_gives_the_permuted_result():
    rewards, values, mask = random_case()
    order = torch.tensor([2, 0, 3, 1])
    settings = {"gamma": 0.97, "gae_lambda": 0.9}
    whole = gae(rewards, values, mask, **settings)
    permuted = gae(rewards[order], values[order], mask[order], **settings)
    assert torch.equal(permuted[0], whole[0][order])
    assert torch.equal(permuted[1], whole[1][order])


def test_targets_carry_no_gradient():
    rewards, values, mask = random_case()
    advantages, returns = gae(
        rewards.requires_grad_(), values.requires_grad_(), mask, gamma=1.0, gae_lambda=0.95
    )
    assert not advantages.requires_grad
    assert not returns.requires_grad


def test_bf16_values_give_float32():
    rewards, values, mask = random_case()
    advantages, returns = gae(
        rewards.float(), values.to(torch.bfloat16), mask, gamma=1.0, gae_lambda=0.95
    )
    assert advantages.dtype == returns.dtype == torch.float32


def test_broadcasting_is_refused_and_both_shapes_are_named(without_shape_checks):
    rewards, values, mask = random_case()
    with pytest.raises(ValueError, match=r"rewards.*\(4, 7\).*values.*\(4, 1\)"):
        gae(rewards, values[:, :1], mask, gamma=1.0, gae_lambda=0.95)
