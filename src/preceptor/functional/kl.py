"""Schulman's three estimators of KL(policy || ref), per token.

J. Schulman, "Approximating KL Divergence" (2020). All are for tokens drawn from the *policy*: the
first argument is the log-probability under the distribution that did the drawing. None takes a
mask: each number is made from its own place alone, so what is garbage there stays there. Average
with `masked_mean`. Nothing is clamped.
"""

from jaxtyping import Float
from torch import Tensor

from preceptor.functional.arguments import require_same_shape, working_dtype


def kl_k1(
    logprobs: Float[Tensor, "*shape"], ref_logprobs: Float[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    """The log-ratio itself: unbiased, of high variance, negative for single tokens.

        d = logprobs - ref_logprobs

    The one inside the reward of InstructGPT eq. 2 (arXiv:2203.02155): log(pi_RL / pi_SFT).

    Args:
        logprobs: nats, of tokens drawn from the policy, under the policy.
        ref_logprobs: nats, of the same tokens, under ref_policy.

    Returns:
        Nats per token, any sign; float64 if an argument is float64, float32 otherwise.

    Raises:
        ValueError: the two differ in shape.
    """
    return _log_ratio(logprobs, ref_logprobs)


def kl_k2(
    logprobs: Float[Tensor, "*shape"], ref_logprobs: Float[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    """Half the squared log-ratio: biased, of low variance, never negative.

        d^2 / 2,  d = logprobs - ref_logprobs

    Schulman's k2; Ziegler et al. (arXiv:1909.08593) watch their updates with it. Near the true KL
    only while the two distributions are close.

    Args:
        logprobs: nats, of tokens drawn from the policy, under the policy.
        ref_logprobs: nats, of the same tokens, under ref_policy.

    Returns:
        Nats per token, at least 0; float64 if an argument is float64, float32 otherwise.

    Raises:
        ValueError: the two differ in shape.
    """
    return 0.5 * _log_ratio(logprobs, ref_logprobs) ** 2


def kl_k3(
    logprobs: Float[Tensor, "*shape"], ref_logprobs: Float[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    """The log-ratio with a control variate: unbiased, of low variance, never negative.

        (exp(-d) - 1) + d,  d = logprobs - ref_logprobs

    Schulman's k3, for watching; the reward uses k1. Note that it grows exponentially where
    the reference likes a token much better than the policy.

    Args:
        logprobs: nats, of tokens drawn from the policy, under the policy.
        ref_logprobs: nats, of the same tokens, under ref_policy.

    Returns:
        Nats per token, at least 0; float64 if an argument is float64, float32 otherwise.

    Raises:
        ValueError: the two differ in shape.
    """
    difference = _log_ratio(logprobs, ref_logprobs)
    # expm1, since exp(-d) - 1 loses every digit of a small d.
    return (-difference).expm1() + difference


def adapt_kl_coef(
    kl_coef: float, ref_kl: float, *, target: float, num_episodes: int, horizon: float
) -> float:
    """The next KL coefficient: larger where the policy is farther from the reference than wished.

        e = clip(ref_kl / target - 1, -0.2, 0.2)
        next kl_coef = kl_coef * (1 + e * num_episodes / horizon)

    Ziegler et al. (arXiv:1909.08593), section 2.2 and code; InstructGPT keeps it fixed.

    Args:
        kl_coef: of the batch that was just seen, score per nat.
        ref_kl: mean KL of whole responses to the reference in that batch, nats.
        target: the KL that is wished for, nats.
        num_episodes: responses in the batch.
        horizon: episodes in which the coefficient changes by a fifth at most.

    Returns:
        Score per nat, never negative.

    Raises:
        ValueError: the target or the horizon is not positive, or a step would exceed the horizon.
    """
    if target <= 0 or horizon <= 0 or num_episodes > horizon:
        raise ValueError(
            f"target {target} and horizon {horizon} must be positive, and the horizon at least the "
            f"{num_episodes} episodes of a batch."
        )
    error = min(0.2, max(-0.2, ref_kl / target - 1))
    return kl_coef * (1 + error * num_episodes / horizon)


def _log_ratio(
    logprobs: Float[Tensor, "*shape"], ref_logprobs: Float[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    require_same_shape(logprobs=logprobs, ref_logprobs=ref_logprobs)
    dtype = working_dtype(logprobs, ref_logprobs)
    return logprobs.to(dtype) - ref_logprobs.to(dtype)
