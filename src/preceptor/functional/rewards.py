"""The reward that PPO sees, token by token.

Axes: B responses, T response positions.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from preceptor.functional.arguments import require_same_shape, working_dtype, zero_masked
from preceptor.functional.kl import kl_k1

SMALLEST_SCALE = 1e-6
"""Spread of scores below which they count as equal; the alarm `score_std` has the same bound."""


def shape_rewards(
    score: Float[Tensor, " B"],
    logprobs: Float[Tensor, "B T"],
    ref_logprobs: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    kl_coef: float,
) -> Float[Tensor, "B T"]:
    """Reward every response token for staying near the reference, and the last one for the score.

        r_t = -kl_coef * (logprobs_t - ref_logprobs_t) + (score if t is the last valid token else 0)

    InstructGPT eq. 2, first term (arXiv:2203.02155); kl_coef is its beta. The pretraining
    term is not here: it is a second loss, weighed by ptx_coef. A token that the policy likes less
    than the reference does earns a bonus; nothing is clamped.

    Args:
        score: one number per response, no unit, any range.
        logprobs: nats, of the sampled tokens, under the policy that drew them.
        ref_logprobs: nats, of the same tokens, under ref_policy.
        mask: True on response tokens, the end token included.
        kl_coef: score per nat.

    Returns:
        Rewards in the score's unit, 0 where mask is False; float64 if a float argument is float64,
        float32 otherwise. The score of a response without a valid token is dropped.

    Raises:
        ValueError: two inputs differ in shape; broadcasting would hide it.
    """
    require_same_shape(logprobs=logprobs, ref_logprobs=ref_logprobs, mask=mask)
    if score.shape != mask.shape[:1]:
        raise ValueError(
            f"score has shape {tuple(score.shape)} and mask has shape {tuple(mask.shape)}; "
            "there must be one score for each row of the mask."
        )
    dtype = working_dtype(score, logprobs, ref_logprobs)
    penalty = kl_coef * kl_k1(
        zero_masked(logprobs, mask, dtype), zero_masked(ref_logprobs, mask, dtype)
    )
    # The last valid token is the one after which no token of the row counts any more.
    is_last = mask & (mask.flip(1).cumsum(dim=1).flip(1) == 1)
    return torch.where(is_last, score.to(dtype).unsqueeze(1), 0.0) - penalty


def scale_scores(
    score: Float[Tensor, " B"], *, scale: float | None = None, clip: float | None = None
) -> Float[Tensor, " B"]:
    """Scores divided by `scale`, then held within plus and minus `clip`; both are optional.

    PPO-max (Zheng et al., arXiv:2307.04964), section 5.3.1: scaling by a running std keeps the
    balance of score and KL penalty when the reward model's spread is unknown. InstructGPT does
    neither. The mean is left alone: it belongs to the value model.

        clip(score / scale, -clip, clip)

    Args:
        score: one number per response, any range.
        scale: the running std. Below SMALLEST_SCALE the scores are all alike, as in a first batch
            in which nothing ended, and stay as they are: their spread says nothing yet.
        clip: bound of the scaled score, positive.

    Returns:
        Scores [B] in units of `scale`.

    Raises:
        ValueError: the clip is not positive.
    """
    if clip is not None and clip <= 0:
        raise ValueError(f"clip {clip} must be positive.")
    scaled = score if scale is None or scale < SMALLEST_SCALE else score / scale
    return scaled if clip is None else scaled.clamp(-clip, clip)
