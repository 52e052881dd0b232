"""Generalized advantage estimation.

Axes: B responses, T response positions.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from preceptor.functional.arguments import require_same_shape, working_dtype, zero_masked


def gae(
    rewards: Float[Tensor, "B T"],
    values: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    gamma: float,
    gae_lambda: float,
) -> tuple[Float[Tensor, "B T"], Float[Tensor, "B T"]]:
    """How much better each token was than the value model expected, and what it should expect.

        delta_t     = r_t + gamma * V_{t+1} - V_t
        advantage_t = delta_t + gamma * gae_lambda * advantage_{t+1}
        return_t    = advantage_t + V_t

    Schulman et al. (arXiv:1506.02438), eq. 11 to 16. InstructGPT does not discount: gamma is 1
    (arXiv:2203.02155, appendix C.4). Its gamma in eq. 2 is another thing, our `ptx_coef`.
    Each row is a finished episode: V and the advantage after the last valid token are 0. t + 1
    means the next *valid* token; a hole in the mask is stepped over.

    Args:
        rewards: per token, in the score's unit.
        values: what the value model expected before each token, in the score's unit.
        mask: True on response tokens, the end token included.
        gamma: discount per token, 0 to 1.
        gae_lambda: 0 trusts the values, 1 the rewards alone.

    Returns:
        (advantages, returns), un-whitened, 0 where mask is False, and without gradient: both are
        targets. float64 if rewards or values are float64, float32 otherwise.

    Raises:
        ValueError: two inputs differ in shape.
    """
    require_same_shape(rewards=rewards, values=values, mask=mask)
    dtype = working_dtype(rewards, values)
    rewards = zero_masked(rewards.detach(), mask, dtype)
    values = zero_masked(values.detach(), mask, dtype)

    advantages = torch.zeros_like(rewards)
    next_value = next_advantage = rewards.new_zeros(rewards.shape[0])
    for t in reversed(range(rewards.shape[1])):
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        advantage = delta + gamma * gae_lambda * next_advantage
        valid = mask[:, t]
        advantages[:, t] = torch.where(valid, advantage, 0.0)
        next_advantage = torch.where(valid, advantage, next_advantage)
        next_value = torch.where(valid, values[:, t], next_value)
    return advantages, advantages + values
